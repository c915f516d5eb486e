//! The world: a heap of events in time order, a network that delays, loses, reorders and is cut,
//! and faults. Nothing here is decided by anything but the seed.

use std::collections::BTreeMap;
use std::fmt;

use artdag_core::identity::{ActionId, Origin};
use artdag_core::lease::Epoch;
use artdag_core::records::{SigningKey, Write};

use super::dice::Dice;
use super::liar;
use super::node::{Disk, Node};
use super::oracle::{Id, Oracle, Seen};
use super::plan::{DETECT_MS, END_MS, Fault, HEAL_MS, Plan, QUIET_MS};
use super::wire::{Effect, Packet, Stream};

/// How often the liar lies.
const LIE_MS: u64 = 4_000;
/// No simulation of ours comes near; a loop in virtual time does.
const MAX_EVENTS: u64 = 3_000_000;

enum Event {
    Deliver {
        from: usize,
        to: usize,
        packet: Packet,
    },
    Wake {
        node: usize,
        life: u64,
    },
    Finish {
        node: usize,
        life: u64,
        action: ActionId,
        epoch: Epoch,
    },
    /// Compare what a node sees with what is.
    Look {
        node: usize,
        peer: usize,
    },
    Fault(Fault),
    Want {
        node: usize,
        action: u32,
    },
    Lie,
}

/// What a seed came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    pub events: u64,
    pub executions: u64,
    pub crashes: u64,
    pub lies: u64,
    pub disowned: u64,
    /// Tells two runs of one seed apart.
    pub digest: u64,
}

impl Report {
    /// Adds the numbers of another seed.
    pub fn add(&mut self, other: &Report) {
        self.events += other.events;
        self.executions += other.executions;
        self.crashes += other.crashes;
        self.lies += other.lies;
        self.disowned += other.disowned;
        self.digest ^= other.digest;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { events, executions, crashes, lies, disowned, digest } = self;
        write!(f, "{events} events, {executions} executions, {crashes} crashes, {lies} lies, ")?;
        write!(f, "{disowned} logs disowned, digest {digest:016x}")
    }
}

pub struct World {
    plan: Plan,
    dice: Dice,
    now_ms: u64,
    heap: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    nodes: Vec<Node>,
    /// The earliest wake that is in the heap.
    wakes: Vec<Option<u64>>,
    sides: Vec<u8>,
    paused_until: Vec<u64>,
    /// When the last message of a stream arrives: streams keep their order.
    streams: BTreeMap<(Stream, usize), u64>,
    oracle: Oracle,
    report: Report,
}

type Verdict = Result<(), String>;

/// The action that a number stands for.
pub fn action_id(number: u32) -> ActionId {
    let mut id = [0xaa; 32];
    id[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    ActionId(id)
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let plan = Plan::new(&mut dice);
        let keys: Vec<SigningKey> = (0..plan.nodes).map(|_| signing_key(&mut dice)).collect();
        let origins: Vec<Origin> = keys.iter().map(|key| Origin(key.verifying_key().to_bytes())).collect();
        let nodes = keys.into_iter().enumerate().map(|(index, key)| {
            let own_dice = Dice::new(dice.next());
            Node::new(index, &origins, key, plan.skew_ms[index], plan.reproducible, own_dice)
        });
        let nodes: Vec<Node> = nodes.collect();
        let plain: Vec<Id> = origins.iter().map(|origin| origin.0).collect();
        World {
            oracle: Oracle::new(plain, &plan),
            now_ms: 0,
            heap: BTreeMap::new(),
            sequence: 0,
            wakes: vec![None; plan.nodes],
            sides: vec![0; plan.nodes],
            paused_until: vec![0; plan.nodes],
            streams: BTreeMap::new(),
            report: Report::default(),
            nodes,
            dice,
            plan,
        }
    }

    /// Lives through the plan and asks the oracle.
    pub fn run(mut self) -> Result<Report, String> {
        self.begin();
        while let Some(((at_ms, _), event)) = self.heap.pop_first() {
            if at_ms > END_MS {
                break;
            }
            self.now_ms = at_ms;
            self.report.events += 1;
            self.report.digest = self.report.digest.rotate_left(5) ^ at_ms.wrapping_mul(31) ^ event.weight();
            if self.report.events > MAX_EVENTS {
                return Err("more events than any plan has".into());
            }
            self.handle(event).map_err(|why| format!("at {at_ms} ms: {why}"))?;
        }
        self.report.executions = self.oracle.executions;
        let honest = self.nodes.iter().filter(|node| Some(node.index) != self.plan.liar);
        let views: Vec<_> = honest.map(|node| (node.index, node.view())).collect();
        self.report.disowned = views[0].1.disowned.len() as u64;
        self.oracle.judge(&views)?;
        Ok(self.report)
    }

    fn begin(&mut self) {
        for node in 0..self.plan.nodes {
            self.nodes[node].start(0);
            self.schedule_wake(node);
        }
        self.reachability_changed();
        for (at_ms, fault) in std::mem::take(&mut self.plan.faults) {
            self.schedule(at_ms, Event::Fault(fault));
        }
        for (at_ms, node, action) in std::mem::take(&mut self.plan.wants) {
            self.schedule(at_ms, Event::Want { node, action });
        }
        if self.plan.liar.is_some() {
            self.schedule(LIE_MS, Event::Lie);
        }
    }

    fn handle(&mut self, event: Event) -> Verdict {
        match event {
            Event::Deliver { from, to, packet } => {
                // What was sent before a crash may still arrive.
                if self.sides[from] != self.sides[to] || !self.runs(to) {
                    return Ok(());
                }
                let effects = self.nodes[to].receive(self.now_ms, from, packet);
                self.perform(to, effects)
            }
            Event::Wake { node, life } => {
                if self.nodes[node].life != life || self.nodes[node].memory.is_none() {
                    return Ok(());
                }
                if self.paused_until[node] > self.now_ms {
                    // It finishes what it was about to do before it looks at the clock again.
                    self.schedule(self.paused_until[node] + 1, Event::Wake { node, life });
                    return Ok(());
                }
                self.wakes[node] = None;
                let effects = self.nodes[node].wake(self.now_ms);
                self.perform(node, effects)
            }
            Event::Finish { node, life, action, epoch } => {
                if self.nodes[node].life != life || self.nodes[node].memory.is_none() {
                    return Ok(());
                }
                if self.paused_until[node] > self.now_ms {
                    let at_ms = self.paused_until[node];
                    self.schedule(at_ms, Event::Finish { node, life, action, epoch });
                    return Ok(());
                }
                let effects = self.nodes[node].finish(self.now_ms, action, epoch);
                self.perform(node, effects)
            }
            Event::Look { node, peer } => {
                let reachable = self.reaches(peer, node);
                self.nodes[node].see_peer(self.now_ms, peer, reachable);
                self.schedule_wake(node);
                Ok(())
            }
            Event::Fault(fault) => {
                self.fault(fault);
                Ok(())
            }
            Event::Want { node, action } => {
                self.nodes[node].want(self.now_ms, action_id(action));
                self.schedule_wake(node);
                Ok(())
            }
            Event::Lie => self.lie(),
        }
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Partition(sides) => {
                self.sides = sides;
                self.oracle.out_of_sight(self.now_ms);
            }
            Fault::Crash(node) => self.crash(node),
            Fault::LoseDisk(node) => {
                self.crash(node);
                let incarnation = self.nodes[node].disk.incarnation + 1;
                self.nodes[node].disk = Disk { incarnation, ..Disk::default() };
                self.oracle.disk_lost(node);
            }
            Fault::Restart(node) => {
                if self.nodes[node].memory.is_some() {
                    return;
                }
                self.nodes[node].start(self.now_ms);
                self.wakes[node] = None;
                self.schedule_wake(node);
            }
            Fault::Pause(node, until_ms) => {
                self.oracle.out_of_sight(self.now_ms);
                self.paused_until[node] = until_ms.max(self.paused_until[node]);
            }
            // The time says it; everyone looks again.
            Fault::Resume => self.oracle.out_of_sight(self.now_ms),
            Fault::SetClock(node, skew_ms) => {
                self.nodes[node].skew_ms = skew_ms;
                return;
            }
        }
        self.reachability_changed();
    }

    fn crash(&mut self, node: usize) {
        if self.nodes[node].memory.take().is_some() {
            self.report.crashes += 1;
        }
        self.oracle.crashed(node);
    }

    fn runs(&self, node: usize) -> bool {
        self.nodes[node].memory.is_some() && self.paused_until[node] <= self.now_ms
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.runs(from) && self.runs(to) && self.sides[from] == self.sides[to]
    }

    /// Tells the oracle, and lets every node find out in its own time.
    fn reachability_changed(&mut self) {
        let sides = (0..self.plan.nodes).map(|node| {
            let present = self.runs(node);
            let alone = u8::try_from(100 + node).expect("few nodes");
            if present { self.sides[node] } else { alone }
        });
        let sides = sides.collect();
        self.oracle.sides(self.now_ms, sides);
        for node in 0..self.plan.nodes {
            for peer in (0..self.plan.nodes).filter(|peer| *peer != node) {
                let at_ms = self.now_ms + self.dice.range(200, DETECT_MS);
                self.schedule(at_ms, Event::Look { node, peer });
            }
        }
    }

    /// Does what a node asked for, in order; the node may crash between any two.
    fn perform(&mut self, node: usize, effects: Vec<Effect>) -> Verdict {
        let life = self.nodes[node].life;
        for effect in effects {
            if self.crashes_before(node, &effect) {
                self.crash(node);
                self.reachability_changed();
                let back = (self.now_ms + self.dice.range(50, 10_000)).min(HEAL_MS);
                self.schedule(back, Event::Fault(Fault::Restart(node)));
                return Ok(());
            }
            match effect {
                Effect::Persist(writes) => {
                    for write in writes {
                        self.oracle.persisted(node, &write.key.to_bytes(), &write.bytes)?;
                        self.nodes[node].disk.batches.insert(write.key, write.bytes);
                    }
                }
                Effect::Send { to, packet } => self.send(node, to, packet),
                Effect::Gossip(bytes) => self.gossip(node, &bytes),
                Effect::Tell(seen) => self.oracle.see(self.now_ms, node, life, seen)?,
                Effect::FinishAfter { ms, action, epoch } => {
                    self.schedule(self.now_ms + ms, Event::Finish { node, life, action, epoch });
                    self.perhaps_freeze(node, ms);
                }
            }
        }
        self.schedule_wake(node);
        Ok(())
    }

    /// Sometimes a process stands still from just after it began to run until after it would have
    /// ended: it hands its work in as if no time had passed.
    fn perhaps_freeze(&mut self, node: usize, ms: u64) {
        let until_ms = self.now_ms + ms + self.dice.range(2_000, 15_000);
        if until_ms < HEAL_MS && self.dice.permille(30) {
            self.schedule(self.now_ms + 1, Event::Fault(Fault::Pause(node, until_ms)));
            self.schedule(until_ms, Event::Fault(Fault::Resume));
        }
    }

    /// Most crashes hit where they hurt: around the persisting and telling of an own batch.
    fn crashes_before(&mut self, node: usize, effect: &Effect) -> bool {
        let own = |write: &Write| write.key.log.origin == self.nodes[node].origin;
        let delicate = match effect {
            Effect::Persist(writes) => writes.iter().any(own),
            Effect::Gossip(_) | Effect::Tell(Seen::Acknowledged { .. }) => true,
            _ => false,
        };
        let rarely = delicate || self.dice.permille(5);
        self.now_ms < HEAL_MS && rarely && self.dice.permille(self.plan.crash_between)
    }

    fn gossip(&mut self, node: usize, bytes: &[u8]) {
        let Some(memory) = &self.nodes[node].memory else { return };
        let view: Vec<usize> = memory.view.iter().copied().collect();
        for to in view {
            if !self.dice.permille(self.plan.gossip_loss) {
                self.post(node, to, Packet::Gossip(bytes.to_vec()));
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, packet: Packet) {
        let stream = match &packet {
            Packet::Reconcile { stream, .. } => Some(*stream),
            _ => None,
        };
        if let Some(stream) = stream {
            let earliest = self.streams.get(&(stream, to)).copied().unwrap_or(0);
            let at_ms = (self.now_ms + self.delay_ms()).max(earliest);
            self.streams.insert((stream, to), at_ms);
            self.schedule(at_ms, Event::Deliver { from, to, packet });
        } else if self.now_ms >= HEAL_MS || !self.dice.permille(self.plan.call_loss) {
            self.post(from, to, packet);
        }
    }

    fn post(&mut self, from: usize, to: usize, packet: Packet) {
        let mut delay_ms = self.delay_ms();
        // Now and then something lies in a queue for much longer than a lease.
        if self.now_ms < HEAL_MS && !self.plan.reliable_calls && self.dice.permille(5) {
            delay_ms += self.dice.range(5_000, 40_000);
        }
        self.schedule(self.now_ms + delay_ms, Event::Deliver { from, to, packet });
    }

    fn delay_ms(&mut self) -> u64 {
        1 + self.dice.range(0, self.plan.delay_ms)
    }

    fn lie(&mut self) -> Verdict {
        let Some(liar) = self.plan.liar else { return Ok(()) };
        if self.now_ms + LIE_MS < QUIET_MS {
            self.schedule(self.now_ms + LIE_MS, Event::Lie);
        }
        for lie in liar::lies(&self.nodes[liar], self.now_ms, &mut self.dice) {
            self.report.lies += 1;
            self.oracle.made_up(lie.action.0, lie.cid.to_bytes());
            for to in (0..self.plan.nodes).filter(|to| *to != liar) {
                if self.dice.permille(500) {
                    self.post(liar, to, Packet::Gossip(lie.bytes.clone()));
                }
            }
        }
        Ok(())
    }

    fn schedule(&mut self, at_ms: u64, event: Event) {
        self.sequence += 1;
        self.heap.insert((at_ms.max(self.now_ms), self.sequence), event);
    }

    fn schedule_wake(&mut self, node: usize) {
        let Some(at_ms) = self.nodes[node].next_wake_ms().filter(|at| *at < u64::MAX) else { return };
        let at_ms = at_ms.max(self.now_ms);
        if self.wakes[node].is_some_and(|planned| planned <= at_ms && planned >= self.now_ms) {
            return;
        }
        self.wakes[node] = Some(at_ms);
        let life = self.nodes[node].life;
        self.schedule(at_ms, Event::Wake { node, life });
    }
}

impl Event {
    fn weight(&self) -> u64 {
        match self {
            Event::Deliver { from, to, .. } => 1 + (*from as u64) * 100 + (*to as u64) * 10_000,
            Event::Wake { node, .. } => 2 + *node as u64,
            Event::Finish { node, .. } => 3 + *node as u64,
            Event::Look { node, peer } => 4 + (*node as u64) * 100 + *peer as u64,
            Event::Fault(_) => 5,
            Event::Want { node, action } => 6 + *node as u64 + u64::from(*action),
            Event::Lie => 7,
        }
    }
}

fn signing_key(dice: &mut Dice) -> SigningKey {
    let mut secret = [0; 32];
    for part in secret.chunks_mut(8) {
        part.copy_from_slice(&dice.next().to_le_bytes());
    }
    SigningKey::from_bytes(&secret)
}

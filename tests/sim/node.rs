//! One simulated node: the driver around records and leases that the real node has, with a map
//! for a disk and effects for deeds.
//!
//! What always holds: effects come in the order persist, then tell. What is in `Memory` is lost
//! in a crash; `Disk` is not.

use std::collections::{BTreeMap, BTreeSet};

use artdag_core::identity::{ActionId, CacheId, Origin, RunId};
use artdag_core::lease::{Answer, Arbiter, Ask, Epoch, Holder, Released, Renewed, Start, rendezvous};
use artdag_core::records::reconcile::{Message, Send, Session};
use artdag_core::records::{
    AppendError, BatchKey, MemberRecord, Outbox, OwnLog, Record, Records, ResultRecord, RunRecord, RunState, SigningKey,
};
use cid::Cid;

use super::dice::Dice;
use super::oracle::{Fact, Seen, View};
use super::plan::QUIET_MS;
use super::wire::{Effect, Packet, Stream};

/// The wall clock of second 0.
const EPOCH_MS: i64 = 1_800_000_000_000;
/// A call without an answer is made again.
const CALL_TIMEOUT_MS: u64 = 1_000;
/// How often a member publishes itself.
const MEMBER_MS: u64 = 6_000;

/// What survives a crash.
#[derive(Debug, Default)]
pub struct Disk {
    pub batches: BTreeMap<BatchKey, Vec<u8>>,
    pub incarnation: u64,
}

/// One node.
pub struct Node {
    pub index: usize,
    pub key: SigningKey,
    pub origin: Origin,
    pub disk: Disk,
    pub skew_ms: i64,
    /// Counts starts.
    pub life: u64,
    /// What it is to get; outlives it, because the user asks again.
    pub wanted: BTreeSet<ActionId>,
    pub memory: Option<Memory>,
    directory: Vec<Origin>,
    reproducible: bool,
    dice: Dice,
}

/// What a crash takes.
pub struct Memory {
    pub records: Records,
    pub view: BTreeSet<usize>,
    outbox: Outbox,
    arbiter: Arbiter,
    holder: Holder,
    wants: BTreeMap<ActionId, Want>,
    running: BTreeMap<ActionId, Running>,
    streams: BTreeMap<Stream, Session>,
    next_stream: u64,
    next_reconcile_ms: u64,
    next_member_ms: u64,
}

enum Want {
    Idle { at_ms: u64 },
    Asking { asked_ms: u64 },
}

struct Running {
    epoch: Epoch,
    result: Option<Cid>,
    release_at_ms: u64,
}

impl Node {
    pub fn new(
        index: usize,
        directory: &[Origin],
        key: SigningKey,
        skew_ms: i64,
        reproducible: bool,
        dice: Dice,
    ) -> Node {
        Node {
            index,
            origin: directory[index],
            key,
            disk: Disk { incarnation: 1, ..Disk::default() },
            skew_ms,
            life: 0,
            wanted: BTreeSet::new(),
            memory: None,
            directory: directory.to_vec(),
            reproducible,
            dice,
        }
    }

    /// Starts the process from its disk.
    pub fn start(&mut self, now_ms: u64) {
        self.life += 1;
        let mut records = Records::new(self.origin, self.disk.incarnation);
        let stored = self.disk.batches.iter();
        let found = records.restore(stored.map(|(key, bytes)| (key.to_bytes().to_vec(), bytes.clone())));
        if found.own == OwnLog::Doubtful {
            self.disk.incarnation += 1;
            records.start_incarnation(self.disk.incarnation);
        }
        self.memory = Some(Memory {
            records,
            view: BTreeSet::new(),
            outbox: Outbox::default(),
            arbiter: Arbiter::new(now_ms, self.origin, self.life, Start::Joining),
            holder: Holder::default(),
            wants: self.wanted.iter().map(|action| (*action, Want::Idle { at_ms: now_ms })).collect(),
            running: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: now_ms,
            next_reconcile_ms: now_ms + self.dice.range(100, 2_000),
            next_member_ms: now_ms + self.dice.range(100, 2_000),
        });
    }

    pub fn wall_ms(&self, now_ms: u64) -> u64 {
        let now = i64::try_from(now_ms).expect("a short simulation");
        u64::try_from(EPOCH_MS + now + self.skew_ms).expect("long after 1970")
    }

    /// Somebody here wants a result.
    pub fn want(&mut self, now_ms: u64, action: ActionId) {
        self.wanted.insert(action);
        let Some(memory) = &mut self.memory else { return };
        if !memory.running.contains_key(&action) {
            memory.wants.entry(action).or_insert(Want::Idle { at_ms: now_ms });
        }
    }

    /// Another node came into reach, or went out of it.
    pub fn see_peer(&mut self, now_ms: u64, peer: usize, reachable: bool) {
        let origin = self.directory[peer];
        let Some(memory) = &mut self.memory else { return };
        let changed = if reachable {
            memory.arbiter.member_joined(now_ms, origin);
            memory.view.insert(peer)
        } else {
            memory.arbiter.member_left(now_ms, origin);
            memory.view.remove(&peer)
        };
        if changed {
            memory.holder.members_changed(now_ms);
        }
    }

    /// When to wake it next.
    pub fn next_wake_ms(&self) -> Option<u64> {
        let memory = self.memory.as_ref()?;
        let wants = memory.wants.values().map(|want| match want {
            Want::Idle { at_ms } => *at_ms,
            Want::Asking { asked_ms } => asked_ms + CALL_TIMEOUT_MS,
        });
        let releases = memory.running.values().filter(|run| run.result.is_some()).map(|run| run.release_at_ms);
        let timers = [memory.next_reconcile_ms, memory.next_member_ms];
        let optional = [memory.outbox.due_at(), memory.holder.next_at()];
        wants.chain(releases).chain(timers).chain(optional.into_iter().flatten()).min()
    }

    /// Everything that is due.
    pub fn wake(&mut self, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.keep_leases(now_ms, &mut effects);
        self.ask(now_ms, &mut effects);
        self.release(now_ms, &mut effects);
        self.publish_member(now_ms, &mut effects);
        self.open_stream(now_ms, &mut effects);
        self.flush(now_ms, &mut effects);
        effects
    }

    /// An execution ended.
    pub fn finish(&mut self, now_ms: u64, action: ActionId, epoch: Epoch) -> Vec<Effect> {
        let cid = self.output_of(&action);
        let mut effects = Vec::new();
        let memory = self.memory.as_mut().expect("a node that is down finishes nothing");
        if let Some(run) = memory.running.get_mut(&action).filter(|run| run.epoch == epoch) {
            run.result = Some(cid);
            run.release_at_ms = now_ms;
            effects.push(Effect::Tell(Seen::Produced { action: action.0, cid: cid.to_bytes() }));
            self.release(now_ms, &mut effects);
        }
        effects
    }

    pub fn receive(&mut self, now_ms: u64, from: usize, packet: Packet) -> Vec<Effect> {
        let mut effects = Vec::new();
        let who = self.directory[from];
        match packet {
            Packet::Gossip(bytes) => self.take(now_ms, &bytes, &mut effects),
            Packet::Reconcile { stream, bytes } => self.reconcile(now_ms, from, stream, &bytes, &mut effects),
            Packet::Acquire { asked_ms, action } => {
                let answer = self.arbitrate(now_ms, action, who, &mut effects);
                effects.push(Effect::Send { to: from, packet: Packet::Answer { asked_ms, action, answer } });
            }
            Packet::Answer { asked_ms, action, answer } => {
                self.answered(now_ms, asked_ms, action, answer, &mut effects);
            }
            Packet::Renew { asked_ms, action, epoch } => {
                let renewed = self.mind().arbiter.renew(now_ms, action, who, epoch);
                effects.push(Effect::Send { to: from, packet: Packet::Renewed { asked_ms, action, epoch, renewed } });
            }
            Packet::Renewed { asked_ms, action, epoch, renewed } => {
                self.renewed(now_ms, asked_ms, action, epoch, renewed, &mut effects);
            }
            Packet::Release { action, epoch, cid } => {
                let released = self.complete(now_ms, action, who, epoch, cid, &mut effects);
                effects.push(Effect::Send { to: from, packet: Packet::Released { action, epoch, released } });
            }
            Packet::Released { action, epoch, released } => {
                self.released(now_ms, action, epoch, released, &mut effects);
            }
        }
        effects
    }

    /// What it says, in plain data.
    pub fn view(&self) -> View {
        let memory = self.memory.as_ref().expect("all nodes are up at the end");
        let state = memory.records.state();
        let mut facts = BTreeSet::new();
        let mut chosen = BTreeMap::new();
        for (action, candidates) in state.results().actions_from(ActionId([0; 32])) {
            chosen.insert(action.0, candidates[0].cid().to_bytes());
            for candidate in candidates {
                let cid = candidate.cid().to_bytes();
                let fact = |origin: &Origin| Fact { origin: origin.0, action: action.0, cid: cid.clone() };
                facts.extend(candidate.origins.iter().map(fact));
            }
        }
        View {
            facts,
            chosen,
            runs: state.runs().map(|run| (run.execution_id.clone(), run.state as u8)).collect(),
            disowned: memory.records.disowned().map(|log| (log.origin.0, log.incarnation)).collect(),
            wanted: self.wanted.iter().map(|action| action.0).collect(),
        }
    }

    fn mind(&mut self) -> &mut Memory {
        self.memory.as_mut().expect("only a node that is up is asked")
    }

    fn output_of(&self, action: &ActionId) -> Cid {
        let maker = if self.reproducible { 0 } else { self.origin.0[0] };
        let mut digest = action.0;
        digest[31] ^= maker;
        let hash = cid::multihash::Multihash::wrap(0x12, &digest).expect("32 bytes fit");
        Cid::new_v1(0x55, hash)
    }

    fn say(&mut self, now_ms: u64, record: Record, effects: &mut Vec<Effect>) {
        let (facts, runs) = plain(self.origin, std::slice::from_ref(&record));
        effects.push(Effect::Tell(Seen::Said { facts, runs }));
        self.mind().outbox.push(now_ms, record).expect("a simulation says little");
    }

    /// The heart of the driver: append, persist, then tell and acknowledge.
    fn flush(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let wall_ms = self.wall_ms(now_ms);
        let Some(said) = self.mind().outbox.take_due(now_ms) else { return };
        let (facts, runs) = plain(self.origin, &said);
        let memory = self.memory.as_mut().expect("only a node that is up flushes");
        let sealed = match memory.records.append(wall_ms, said.clone(), &self.key) {
            Err(AppendError::NewIncarnation) => {
                self.disk.incarnation += 1;
                memory.records.start_incarnation(self.disk.incarnation);
                memory.records.append(wall_ms, said, &self.key)
            }
            other => other,
        };
        let batch = sealed.expect("clocks are off by minutes only and records are small");
        let (key, bytes) = (batch.key(), batch.bytes().to_vec());
        let write = artdag_core::records::Write { key, bytes: bytes.clone() };
        effects.push(Effect::Persist(vec![write]));
        effects.push(Effect::Gossip(bytes));
        effects.push(Effect::Tell(Seen::Acknowledged { key: key.to_bytes().to_vec(), facts, runs }));
    }

    fn take(&mut self, now_ms: u64, bytes: &[u8], effects: &mut Vec<Effect>) {
        let wall_ms = self.wall_ms(now_ms);
        let Ok(received) = self.mind().records.receive(wall_ms, bytes) else { return };
        if !received.persist.is_empty() {
            effects.push(Effect::Persist(received.persist));
        }
        if let Some(contradiction) = received.contradiction {
            let stored = self.disk.batches.get(&contradiction.stored).cloned().unwrap_or_default();
            if let Some(proof) = contradiction.prove(&stored) {
                self.take(now_ms, &proof, effects);
            }
        }
    }

    fn open_stream(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.mind().next_reconcile_ms > now_ms {
            return;
        }
        let pause = self.dice.range(1_500, 3_000);
        let pick = self.dice.next();
        let opener = self.index;
        let memory = self.mind();
        memory.next_reconcile_ms = now_ms + pause;
        // A stream that was cut is never heard of again.
        let young = |stream: &Stream| stream.number + 30_000 > now_ms;
        memory.streams.retain(|stream, _| young(stream));
        let Some(to) = memory.view.iter().nth(usize::try_from(pick).unwrap_or(0) % memory.view.len().max(1)) else {
            return;
        };
        let to = *to;
        let stream = Stream { opener, number: now_ms.max(memory.next_stream) };
        memory.next_stream = stream.number + 1;
        memory.streams.insert(stream, Session::default());
        self.pump(to, stream, effects);
    }

    fn reconcile(&mut self, now_ms: u64, from: usize, stream: Stream, bytes: &[u8], effects: &mut Vec<Effect>) {
        let Ok(message) = Message::decode(bytes) else { return };
        let memory = self.mind();
        let known = memory.streams.contains_key(&stream);
        if !known && (stream.opener != from || !matches!(message, Message::Hello(_))) {
            return;
        }
        let session = memory.streams.entry(stream).or_default();
        let Ok(items) = session.receive(message) else {
            memory.streams.remove(&stream);
            return;
        };
        for item in items {
            self.take(now_ms, &item, effects);
        }
        self.pump(from, stream, effects);
    }

    fn pump(&mut self, to: usize, stream: Stream, effects: &mut Vec<Effect>) {
        let disk = &self.disk.batches;
        let memory = self.memory.as_mut().expect("only a node that is up sends");
        let Some(session) = memory.streams.get_mut(&stream) else { return };
        while let Some(send) = session.next_send(&memory.records) {
            let message = match send {
                Send::Hello(vector) => Message::Hello(vector),
                Send::Batches(keys) => Message::Batches(keys.iter().filter_map(|key| disk.get(key).cloned()).collect()),
                Send::Done => Message::Done,
            };
            let bytes = message.encode();
            effects.push(Effect::Send { to, packet: Packet::Reconcile { stream, bytes } });
        }
        if session.is_over() {
            memory.streams.remove(&stream);
        }
    }

    fn publish_member(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.mind().next_member_ms > now_ms {
            return;
        }
        self.mind().next_member_ms = if now_ms + MEMBER_MS > QUIET_MS { u64::MAX } else { now_ms + MEMBER_MS };
        let expires_ms = self.wall_ms(now_ms) + 3 * MEMBER_MS;
        let running = u32::try_from(self.mind().running.len()).expect("few");
        let toolsets = vec!["builtin-1".into()];
        let member = MemberRecord { toolsets, slots: 2, running, addresses: vec![], free_disk: 1, expires_ms };
        self.say(now_ms, Record::Member(member), effects);
        let state = [RunState::Running, RunState::Failed, RunState::Cancelled, RunState::Succeeded];
        let run = RunRecord {
            state: state[self.dice.index(4)],
            execution_id: format!("execution-{}", self.dice.range(0, 20)),
            run_id: RunId([1; 32]),
            plan: None,
            output: None,
        };
        self.say(now_ms, Record::Run(run), effects);
    }

    fn arbiter_of(&mut self, action: &ActionId) -> usize {
        let own = self.index;
        let members: Vec<usize> = self.mind().view.iter().copied().chain([own]).collect();
        let origins = members.iter().map(|member| self.directory[*member]);
        let order = rendezvous(action, origins);
        self.directory.iter().position(|origin| *origin == order[0]).expect("a member")
    }

    fn arbitrate(&mut self, now_ms: u64, action: ActionId, who: Origin, effects: &mut Vec<Effect>) -> Answer {
        let memory = self.mind();
        let known = memory.records.state().lookup_action(&action).map(|candidate| candidate.cid());
        let answer = memory.arbiter.acquire(now_ms, action, who, Ask::Reuse(known));
        if let Answer::Granted { epoch, .. } = answer {
            effects.push(Effect::Tell(Seen::Granted { action: action.0, epoch: token(epoch) }));
        }
        answer
    }

    fn complete(
        &mut self,
        now_ms: u64,
        action: ActionId,
        who: Origin,
        epoch: Epoch,
        cid: Cid,
        effects: &mut Vec<Effect>,
    ) -> Released {
        let released = self.mind().arbiter.release(now_ms, action, who, epoch, Some(cid));
        if released == Released::Accepted {
            effects.push(Effect::Tell(Seen::Accepted { action: action.0, epoch: token(epoch) }));
        }
        released
    }

    /// Asks for what is wanted.
    fn ask(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let due = |want: &Want| match want {
            Want::Idle { at_ms } => *at_ms <= now_ms,
            Want::Asking { asked_ms } => asked_ms + CALL_TIMEOUT_MS <= now_ms,
        };
        let wants = self.mind().wants.iter();
        let actions: Vec<ActionId> = wants.filter(|(_, want)| due(want)).map(|(action, _)| *action).collect();
        for action in actions {
            if let Some(found) = self.mind().records.state().lookup_action(&action) {
                self.satisfy(action, found.cid(), effects);
                continue;
            }
            self.mind().wants.insert(action, Want::Asking { asked_ms: now_ms });
            let to = self.arbiter_of(&action);
            if to == self.index {
                let answer = self.arbitrate(now_ms, action, self.origin, effects);
                self.answered(now_ms, now_ms, action, answer, effects);
            } else {
                effects.push(Effect::Send { to, packet: Packet::Acquire { asked_ms: now_ms, action } });
            }
        }
    }

    fn answered(&mut self, now_ms: u64, asked_ms: u64, action: ActionId, answer: Answer, effects: &mut Vec<Effect>) {
        let current = self.mind().wants.get(&action);
        if !matches!(current, Some(Want::Asking { asked_ms: asked }) if *asked == asked_ms) {
            return;
        }
        let again = |after_ms: u64| Want::Idle { at_ms: now_ms + after_ms.clamp(10, 1_000) };
        match answer {
            Answer::Done(cid) => self.satisfy(action, cid, effects),
            Answer::Follow { ttl_ms, .. } => {
                self.mind().wants.insert(action, again(ttl_ms));
            }
            Answer::Wait { retry_ms } => {
                self.mind().wants.insert(action, again(retry_ms));
            }
            Answer::Granted { epoch, ttl_ms } => {
                let ms = self.dice.range(300, 22_000);
                let memory = self.mind();
                memory.wants.remove(&action);
                memory.holder.granted(asked_ms, action, epoch, ttl_ms).expect("few leases");
                memory.running.insert(action, Running { epoch, result: None, release_at_ms: now_ms });
                effects.push(Effect::Tell(Seen::Started { action: action.0 }));
                effects.push(Effect::FinishAfter { ms, action, epoch });
            }
        }
    }

    fn satisfy(&mut self, action: ActionId, cid: Cid, effects: &mut Vec<Effect>) {
        self.wanted.remove(&action);
        self.mind().wants.remove(&action);
        effects.push(Effect::Tell(Seen::Satisfied { action: action.0, cid: cid.to_bytes() }));
    }

    fn keep_leases(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.mind().arbiter.tick(now_ms);
        for action in self.mind().holder.lost(now_ms) {
            self.abort(now_ms, action, effects);
        }
        for due in self.mind().holder.due(now_ms) {
            let (action, epoch, asked_ms) = (due.action, due.epoch, now_ms);
            let to = self.arbiter_of(&action);
            if to == self.index {
                let own = self.origin;
                let renewed = self.mind().arbiter.renew(now_ms, action, own, epoch);
                self.renewed(now_ms, asked_ms, action, epoch, renewed, effects);
            } else {
                effects.push(Effect::Send { to, packet: Packet::Renew { asked_ms, action, epoch } });
            }
        }
    }

    fn renewed(
        &mut self,
        now_ms: u64,
        asked_ms: u64,
        action: ActionId,
        epoch: Epoch,
        renewed: Renewed,
        effects: &mut Vec<Effect>,
    ) {
        match renewed {
            Renewed::Held { ttl_ms } => self.mind().holder.renewed(asked_ms, action, epoch, ttl_ms),
            Renewed::Lost => {
                if self.mind().holder.refused(action, epoch) {
                    self.abort(now_ms, action, effects);
                }
            }
            // Due again after the retry interval, at whoever is the arbiter then.
            Renewed::NotHere => {}
        }
    }

    fn abort(&mut self, now_ms: u64, action: ActionId, effects: &mut Vec<Effect>) {
        let memory = self.mind();
        if memory.running.remove(&action).is_some() {
            effects.push(Effect::Tell(Seen::Ended { action: action.0 }));
        }
        if self.wanted.contains(&action) {
            self.mind().wants.insert(action, Want::Idle { at_ms: now_ms + 10 });
        }
    }

    /// Hands finished work in, until it is answered.
    fn release(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let ready = |run: &Running| run.result.filter(|_| run.release_at_ms <= now_ms).map(|cid| (run.epoch, cid));
        let running = self.mind().running.iter();
        let due: Vec<_> = running.filter_map(|(action, run)| Some((*action, ready(run)?))).collect();
        for (action, (epoch, cid)) in due {
            if let Some(run) = self.mind().running.get_mut(&action) {
                run.release_at_ms = now_ms + 500;
            }
            let to = self.arbiter_of(&action);
            if to == self.index {
                let released = self.complete(now_ms, action, self.origin, epoch, cid, effects);
                self.released(now_ms, action, epoch, released, effects);
            } else {
                effects.push(Effect::Send { to, packet: Packet::Release { action, epoch, cid } });
            }
        }
    }

    fn released(&mut self, now_ms: u64, action: ActionId, epoch: Epoch, released: Released, effects: &mut Vec<Effect>) {
        let memory = self.mind();
        let Some(run) = memory.running.get(&action).filter(|run| run.epoch == epoch) else { return };
        let Some(cid) = run.result else { return };
        memory.holder.finish(&action);
        if released == Released::Stale {
            return self.abort(now_ms, action, effects);
        }
        memory.running.remove(&action);
        effects.push(Effect::Tell(Seen::Ended { action: action.0 }));
        let result = result_record(action, cid);
        self.say(now_ms, Record::Result(result), effects);
        self.satisfy(action, cid, effects);
    }
}

/// A result as some node would publish it.
pub fn result_record(action_id: ActionId, cid: Cid) -> ResultRecord {
    ResultRecord {
        cache_id: CacheId(action_id.0),
        action_id,
        cid,
        kind: "GENERATE".into(),
        inputs: vec![],
        size: 1,
        content_hash: None,
        duration_ms: 1,
        toolset: "builtin-1".into(),
        exact_build: "simulation".into(),
    }
}

fn token(epoch: Epoch) -> (u64, u64) {
    (epoch.incarnation, epoch.counter)
}

/// Records as the oracle knows them.
fn plain(origin: Origin, records: &[Record]) -> (Vec<Fact>, Vec<(String, u8)>) {
    let (mut facts, mut runs) = (Vec::new(), Vec::new());
    for record in records {
        match record {
            Record::Result(result) => {
                facts.push(Fact { origin: origin.0, action: result.action_id.0, cid: result.cid.to_bytes() });
            }
            Record::Run(run) => runs.push((run.execution_id.clone(), run.state as u8)),
            Record::Member(_) | Record::Unknown(_) => {}
        }
    }
    (facts, runs)
}

//! The oracle keeps its own account of what was promised, from plain bytes and its own SHA3, and
//! never calls the code under test.
//!
//! Promises:
//! 1. At the end all nodes say the same: results, choices, runs, disowned logs.
//! 2. What an honest node acknowledged is everywhere, unless the only disks that had it are gone.
//! 3. Nobody believes what an honest node did not say; no honest log is disowned; a liar whose
//!    two batches of one number were both stored by honest nodes is.
//! 4. On one side of a partition that has settled, no execution starts while another of the same
//!    action runs; where calls are reliable and nobody was cut off or stood still since that one
//!    began, not even when arbiters crash and restart. In a settled network none starts for an action whose result is acknowledged
//!    since, and fresh actions run exactly once.
//! 5. No arbiter accepts a completion with another epoch than the one it granted last.
//! 6. Whoever wants a result gets one, and one that somebody produced.

use std::collections::{BTreeMap, BTreeSet};

use sha3::{Digest, Sha3_256};

use super::plan::{CALM_MS, DETECT_MS, HEAL_MS, Plan, SETTLE_MS, WAIT_MS};

/// 32 bytes of some id.
pub type Id = [u8; 32];
/// A fencing token: incarnation and counter.
pub type Token = (u64, u64);

/// One statement of a result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    pub origin: Id,
    pub action: Id,
    pub cid: Vec<u8>,
}

/// What a node reports while it works.
#[derive(Debug, Clone)]
pub enum Seen {
    /// It handed facts and run states over to be published; batch `key` may carry them.
    Said {
        facts: Vec<Fact>,
        runs: Vec<(String, u8)>,
    },
    /// A batch of its own is durable and acknowledged.
    Acknowledged {
        key: Vec<u8>,
        facts: Vec<Fact>,
        runs: Vec<(String, u8)>,
    },
    /// An arbiter answered with a grant.
    Granted {
        action: Id,
        epoch: Token,
    },
    /// An arbiter accepted a completion.
    Accepted {
        action: Id,
        epoch: Token,
    },
    /// An execution began, produced, and ended (with a result that counts, or not).
    Started {
        action: Id,
    },
    Produced {
        action: Id,
        cid: Vec<u8>,
    },
    Ended {
        action: Id,
    },
    /// Somebody who wanted a result has it.
    Satisfied {
        action: Id,
        cid: Vec<u8>,
    },
}

/// What a node says at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub facts: BTreeSet<Fact>,
    pub chosen: BTreeMap<Id, Vec<u8>>,
    pub runs: BTreeMap<String, u8>,
    pub disowned: BTreeSet<(Id, u64)>,
    /// What it still waits for.
    pub wanted: BTreeSet<Id>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excuse {
    None,
    OutOfSight,
}

#[derive(Debug, Default)]
struct Acknowledged {
    at_ms: u64,
    facts: Vec<Fact>,
    runs: Vec<(String, u8)>,
}

/// The account.
#[derive(Debug, Default)]
pub struct Oracle {
    liar: Option<usize>,
    origins: Vec<Id>,
    said: BTreeSet<Fact>,
    said_runs: BTreeMap<String, u8>,
    acknowledged: BTreeMap<Vec<u8>, Acknowledged>,
    /// Which disks hold which bytes under which key.
    stored: BTreeMap<Vec<u8>, BTreeMap<usize, Vec<u8>>>,
    sides: Vec<u8>,
    changed_ms: u64,
    /// Who runs what, and whether nothing happened since that excuses a second execution.
    running: BTreeMap<Id, BTreeMap<usize, Excuse>>,
    out_of_sight_ms: u64,
    reliable_calls: bool,
    started_calm: BTreeMap<Id, u32>,
    started_before: BTreeSet<Id>,
    granted: BTreeMap<(usize, u64, Id), Token>,
    produced: BTreeSet<(Id, Vec<u8>)>,
    /// Started executions.
    pub executions: u64,
}

type Verdict = Result<(), String>;

impl Oracle {
    pub fn new(origins: Vec<Id>, plan: &Plan) -> Oracle {
        let sides = vec![0; origins.len()];
        let (liar, reliable_calls) = (plan.liar, plan.reliable_calls);
        Oracle { liar, reliable_calls, origins, sides, ..Oracle::default() }
    }

    /// Some node came out of sight of another, or back into it, without a restart: until all have
    /// seen that, each may take itself for the arbiter.
    pub fn out_of_sight(&mut self, now_ms: u64) {
        self.out_of_sight_ms = now_ms;
        let running = self.running.values_mut().flat_map(BTreeMap::values_mut);
        running.for_each(|excuse| *excuse = Excuse::OutOfSight);
    }

    /// Who reaches whom, from now on. A node that is down or stands still has a number of its own.
    pub fn sides(&mut self, now_ms: u64, sides: Vec<u8>) {
        self.sides = sides;
        self.changed_ms = now_ms;
    }

    /// The process of a node is gone, and what it ran.
    pub fn crashed(&mut self, node: usize) {
        for nodes in self.running.values_mut() {
            nodes.remove(&node);
        }
    }

    /// Bytes became durable on a node's disk.
    pub fn persisted(&mut self, node: usize, key: &[u8], bytes: &[u8]) -> Verdict {
        let number = u64::from_be_bytes(key[40..].try_into().expect("keys have 48 bytes"));
        let disks = self.stored.entry(key.to_vec()).or_default();
        let twice = number > 0 && disks.values().any(|other| other != bytes);
        disks.insert(node, bytes.to_vec());
        if !twice {
            return Ok(());
        }
        if self.is_liar(&log_of(key).0) {
            return Ok(());
        }
        Err(format!("two batches under one number of honest {}", hex::encode(key)))
    }

    /// A disk is gone. What only it had is excused.
    pub fn disk_lost(&mut self, node: usize) {
        for (key, disks) in &mut self.stored {
            if disks.remove(&node).is_some() && disks.is_empty() {
                self.acknowledged.remove(key);
            }
        }
        self.stored.retain(|_, disks| !disks.is_empty());
    }

    /// Something that the liar made up and that other nodes may therefore believe.
    pub fn made_up(&mut self, action: Id, cid: Vec<u8>) {
        self.produced.insert((action, cid));
    }

    /// Takes a report of a node in one of its lives.
    pub fn see(&mut self, now_ms: u64, node: usize, life: u64, seen: Seen) -> Verdict {
        match seen {
            Seen::Said { facts, runs } => {
                self.said.extend(facts);
                for (run, rank) in runs {
                    raise(&mut self.said_runs, run, rank);
                }
            }
            Seen::Acknowledged { key, facts, runs } if self.liar != Some(node) => {
                let at_ms = now_ms;
                self.acknowledged.insert(key, Acknowledged { at_ms, facts, runs });
            }
            Seen::Acknowledged { .. } => {}
            Seen::Granted { action, epoch } => {
                self.granted.insert((node, life, action), epoch);
            }
            Seen::Accepted { action, epoch } => {
                let last = self.granted.get(&(node, life, action));
                if last.is_some_and(|last| *last != epoch) {
                    return Err(format!(
                        "node {node} accepted epoch {epoch:?} of {} after it granted {last:?}",
                        hex::encode(action)
                    ));
                }
            }
            Seen::Started { action } => return self.started(now_ms, node, action),
            Seen::Produced { action, cid } => {
                self.produced.insert((action, cid));
            }
            Seen::Ended { action } => {
                self.running.entry(action).or_default().remove(&node);
            }
            Seen::Satisfied { action, cid } => {
                if !self.produced.contains(&(action, cid)) {
                    return Err(format!("a result of {} that nobody produced", hex::encode(action)));
                }
            }
        }
        Ok(())
    }

    fn started(&mut self, now_ms: u64, node: usize, action: Id) -> Verdict {
        self.executions += 1;
        let side = self.sides[node];
        let settled = now_ms >= self.changed_ms + SETTLE_MS;
        let running = self.running.entry(action).or_default();
        let promised = |excuse: Excuse| settled || (self.reliable_calls && excuse == Excuse::None);
        let mut beside = running.iter().filter(|(other, _)| **other != node && self.sides[**other] == side);
        if let Some((other, _)) = beside.find(|(_, excuse)| promised(**excuse)) {
            let action = hex::encode(action);
            return Err(format!("{action} started on node {node} while node {other} runs it"));
        }
        let seen_by_all = now_ms >= self.out_of_sight_ms + DETECT_MS + WAIT_MS;
        running.insert(node, if seen_by_all { Excuse::None } else { Excuse::OutOfSight });
        if now_ms < CALM_MS {
            self.started_before.insert(action);
            return Ok(());
        }
        let known = self
            .acknowledged
            .values()
            .any(|batch| batch.at_ms + SETTLE_MS <= now_ms && batch.facts.iter().any(|f| f.action == action));
        if known && now_ms >= HEAL_MS + SETTLE_MS {
            return Err(format!("{} ran again in a stable network", hex::encode(action)));
        }
        *self.started_calm.entry(action).or_default() += 1;
        Ok(())
    }

    /// The promises that are due at the end.
    pub fn judge(&self, views: &[(usize, View)]) -> Verdict {
        for (action, times) in &self.started_calm {
            if *times > 1 && !self.started_before.contains(action) {
                let action = hex::encode(action);
                return Err(format!("fresh action {action} ran {times} times in a stable network"));
            }
        }
        let lied = self.lied();
        let (first_node, first) = &views[0];
        for (node, view) in views {
            if let Some((origin, _)) = lied.difference(&view.disowned).next() {
                return Err(format!("node {node} still believes the liar {}", hex::encode(origin)));
            }
            self.judge_view(view).map_err(|why| format!("node {node}: {why}"))?;
            let equal = view.facts == first.facts
                && view.chosen == first.chosen
                && view.runs == first.runs
                && view.disowned == first.disowned;
            if !equal {
                return Err(format!("nodes {first_node} and {node} differ after healing"));
            }
        }
        Ok(())
    }

    fn judge_view(&self, view: &View) -> Verdict {
        if let Some(action) = view.wanted.first() {
            return Err(format!("still waits for {}", hex::encode(action)));
        }
        if let Some((origin, _)) = view.disowned.iter().find(|(origin, _)| !self.is_liar(origin)) {
            return Err(format!("disowned honest {}", hex::encode(origin)));
        }
        for batch in self.acknowledged.values() {
            if let Some(fact) = batch.facts.iter().find(|fact| !view.facts.contains(fact)) {
                return Err(format!("lost an acknowledged result of {}", hex::encode(fact.action)));
            }
            for (run, rank) in &batch.runs {
                if view.runs.get(run).is_none_or(|seen| seen < rank) {
                    return Err(format!("lost an acknowledged state of {run}"));
                }
            }
        }
        let honest = |fact: &&Fact| !self.is_liar(&fact.origin);
        if let Some(fact) = view.facts.iter().filter(honest).find(|fact| !self.said.contains(fact)) {
            let (origin, action) = (hex::encode(fact.origin), hex::encode(fact.action));
            return Err(format!("believes that {origin} said a result of {action}"));
        }
        if let Some((run, _)) =
            view.runs.iter().find(|(run, rank)| self.said_runs.get(*run).is_none_or(|said| said < *rank))
        {
            return Err(format!("believes a state of {run} that nobody said"));
        }
        self.judge_choices(view)
    }

    /// Most distinct origins, then the lowest hash of action and CID.
    fn judge_choices(&self, view: &View) -> Verdict {
        let mut votes: BTreeMap<Id, BTreeMap<&[u8], BTreeSet<Id>>> = BTreeMap::new();
        for fact in &view.facts {
            let candidates = votes.entry(fact.action).or_default();
            candidates.entry(&fact.cid).or_default().insert(fact.origin);
        }
        for (action, candidates) in votes {
            let best = candidates
                .iter()
                .min_by_key(|(cid, origins)| (usize::MAX - origins.len(), hash("artdag/preference/1", &[&action, cid])))
                .map(|(cid, _)| cid.to_vec());
            if view.chosen.get(&action) != best.as_ref() {
                return Err(format!("chose against the rule for {}", hex::encode(action)));
            }
        }
        Ok(())
    }

    /// Logs of which honest disks hold two batches under one number.
    fn lied(&self) -> BTreeSet<(Id, u64)> {
        let honest = |disks: &BTreeMap<usize, Vec<u8>>| -> BTreeSet<Vec<u8>> {
            let others = disks.iter().filter(|(node, _)| Some(**node) != self.liar);
            others.map(|(_, bytes)| bytes.clone()).collect()
        };
        let twice = self.stored.iter().filter(|(key, disks)| key[40..] != [0; 8] && honest(disks).len() > 1);
        twice.map(|(key, _)| log_of(key)).collect()
    }

    fn is_liar(&self, origin: &Id) -> bool {
        self.liar.is_some_and(|liar| self.origins[liar] == *origin)
    }
}

fn log_of(key: &[u8]) -> (Id, u64) {
    let origin = key[..32].try_into().expect("keys have 48 bytes");
    (origin, u64::from_be_bytes(key[32..40].try_into().expect("keys have 48 bytes")))
}

fn raise(runs: &mut BTreeMap<String, u8>, run: String, rank: u8) {
    let highest = runs.entry(run).or_insert(rank);
    *highest = rank.max(*highest);
}

fn hash(tag: &str, parts: &[&[u8]]) -> Id {
    let mut hasher = Sha3_256::new();
    for part in std::iter::once(tag.as_bytes()).chain(parts.iter().copied()) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

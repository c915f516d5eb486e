//! What the logs say together: their union.
//!
//! What always holds: the state is a function of the set of linked batches of logs that are not
//! disowned. Order, grouping and repetition of batches do not matter (`laws.rs` checks it).
//! What this file does not do: decide what is linked or disowned (`Records`), or ask the clock
//! for more than whether a member's entry has expired.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hlc::Stamp;
use super::log::LogId;
use super::record::{MemberRecord, Record, RunRecord};
use super::results::{Candidate, Results, Statement};
use crate::identity::{ActionId, CacheId, Origin};

/// The union of the logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    results: Results,
    /// The last entry of each of a node's incarnations.
    members: BTreeMap<Origin, BTreeMap<u64, MemberRecord>>,
    /// The highest state that each log gives a run.
    runs: BTreeMap<String, BTreeMap<LogId, RunRecord>>,
}

impl State {
    /// Takes in a record. Records of one log must come in the log's order.
    pub fn apply(&mut self, log: LogId, number: u64, clock: Stamp, record: Record) {
        match record {
            Record::Result(record) => {
                let record = Arc::new(record);
                self.results.apply(Statement { log, number, clock, record });
            }
            Record::Member(record) => {
                self.members.entry(log.origin).or_default().insert(log.incarnation, record);
            }
            Record::Run(record) => {
                let said = self.runs.entry(record.execution_id.clone()).or_default();
                let joined = match said.remove(&log) {
                    Some(before) => before.max(record),
                    None => record,
                };
                said.insert(log, joined);
            }
            Record::Unknown(_) => {}
        }
    }

    /// Forgets everything that a log said.
    pub fn drop_log(&mut self, log: LogId) {
        self.results.drop_log(log);
        self.runs.retain(|_, said| {
            said.remove(&log);
            !said.is_empty()
        });
        if let Some(lives) = self.members.get_mut(&log.origin) {
            lives.remove(&log.incarnation);
            if lives.is_empty() {
                self.members.remove(&log.origin);
            }
        }
    }

    /// The result of a step, by the rule of `results`.
    pub fn lookup(&self, id: &CacheId) -> Option<Candidate> {
        self.results.of_cache(id).into_iter().next()
    }

    /// The result of an action, by the rule of `results`.
    pub fn lookup_action(&self, id: &ActionId) -> Option<Candidate> {
        self.results.of_action(id).into_iter().next()
    }

    /// All results.
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// Actions for which more than one CID is stated, with all candidates.
    pub fn conflicts(&self) -> impl Iterator<Item = (ActionId, Vec<Candidate>)> + '_ {
        self.results.actions_from(ActionId([0; 32])).filter(|(_, candidates)| candidates.len() > 1)
    }

    /// Members whose entry has not expired; of each the newest incarnation.
    pub fn members(&self, now_ms: u64) -> impl Iterator<Item = (Origin, &MemberRecord)> + '_ {
        self.members.iter().filter_map(move |(origin, lives)| {
            let (_, newest) = lives.last_key_value()?;
            (newest.expires_ms > now_ms).then_some((*origin, newest))
        })
    }

    /// A run as all logs together see it.
    pub fn run(&self, execution_id: &str) -> Option<&RunRecord> {
        self.runs.get(execution_id)?.values().max()
    }

    /// All runs, by execution id.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> + '_ {
        self.runs.values().filter_map(|said| said.values().max())
    }
}

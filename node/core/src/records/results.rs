//! Results by cache_id and by action_id, every candidate with who states it.
//!
//! The rule where candidates disagree: the one with the most distinct origins; among equals the
//! lowest `tagged("artdag/preference/1", [action_id, CID])`. Time decides nothing.
//!
//! What always holds: the content is a function of the set of logs, not of the order they came in.
//! A log counts once per candidate and states at most [`MAX_CANDIDATES_PER_LOG`] of them per id
//! (its first, by its own numbering), so that one member cannot fill the memory under one id.
//! What this file does not do: know whether the bytes can be had. A result whose bytes nobody has
//! is a miss, and the caller finds out.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use cid::Cid;

use super::hlc::Stamp;
use super::log::LogId;
use super::record::ResultRecord;
use crate::identity::{ActionId, CacheId, Origin, tagged};

/// Different CIDs that one log may state for one id: its first run and a few audits.
pub const MAX_CANDIDATES_PER_LOG: usize = 4;

/// One log's statement of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Whose.
    pub log: LogId,
    /// In which batch of it.
    pub number: u64,
    /// That batch's stamp; shown, never decided by.
    pub clock: Stamp,
    /// What it states.
    pub record: Arc<ResultRecord>,
}

/// One CID that is stated for an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who states it: distinct, sorted.
    pub origins: Vec<Origin>,
    /// The statement of the lowest log; all agree on action and CID.
    pub statement: Statement,
}

/// All results that are stated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Results {
    by_action: BTreeMap<ActionId, Vec<Statement>>,
    by_cache: BTreeMap<CacheId, Vec<Statement>>,
}

impl Results {
    /// Takes in a statement. Statements of one log must come in the log's order.
    pub fn apply(&mut self, statement: Statement) {
        let (action, cache) = (statement.record.action_id, statement.record.cache_id);
        keep(self.by_action.entry(action).or_insert_with(|| Vec::with_capacity(1)), &statement);
        keep(self.by_cache.entry(cache).or_insert_with(|| Vec::with_capacity(1)), &statement);
    }

    /// Forgets everything that a log stated.
    pub fn drop_log(&mut self, log: LogId) {
        retain_others(&mut self.by_action, log);
        retain_others(&mut self.by_cache, log);
    }

    /// All candidates for a step, the chosen one first.
    pub fn of_cache(&self, id: &CacheId) -> Vec<Candidate> {
        self.by_cache.get(id).map(|statements| ranked(statements)).unwrap_or_default()
    }

    /// All candidates for an action, the chosen one first.
    pub fn of_action(&self, id: &ActionId) -> Vec<Candidate> {
        self.by_action.get(id).map(|statements| ranked(statements)).unwrap_or_default()
    }

    /// Every action with its candidates, from an id on.
    pub fn actions_from(&self, from: ActionId) -> impl Iterator<Item = (ActionId, Vec<Candidate>)> + '_ {
        self.by_action.range(from..).map(|(id, statements)| (*id, ranked(statements)))
    }

    /// How many actions have a result.
    pub fn len(&self) -> usize {
        self.by_action.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_action.is_empty()
    }
}

impl Candidate {
    /// The stated CID.
    pub fn cid(&self) -> Cid {
        self.statement.record.cid
    }

    /// The action that gave it.
    pub fn action_id(&self) -> ActionId {
        self.statement.record.action_id
    }
}

fn same_candidate(one: &ResultRecord, other: &ResultRecord) -> bool {
    one.action_id == other.action_id && one.cid == other.cid
}

fn keep(statements: &mut Vec<Statement>, new: &Statement) {
    let mine = statements.iter().filter(|old| old.log == new.log);
    if mine.clone().any(|old| same_candidate(&old.record, &new.record)) || mine.count() >= MAX_CANDIDATES_PER_LOG {
        return;
    }
    let place = statements.partition_point(|old| old.log <= new.log);
    statements.insert(place, new.clone());
}

fn retain_others<K: Ord>(index: &mut BTreeMap<K, Vec<Statement>>, log: LogId) {
    index.retain(|_, statements| {
        statements.retain(|statement| statement.log != log);
        !statements.is_empty()
    });
}

fn ranked(statements: &[Statement]) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::with_capacity(1);
    for statement in statements {
        let known = candidates.iter_mut().find(|old| same_candidate(&old.statement.record, &statement.record));
        match known {
            // Statements are in log order, so equal origins are neighbours.
            Some(old) if old.origins.last() == Some(&statement.log.origin) => {}
            Some(old) => old.origins.push(statement.log.origin),
            None => candidates.push(Candidate { origins: vec![statement.log.origin], statement: statement.clone() }),
        }
    }
    if candidates.len() > 1 {
        candidates.sort_by_cached_key(|one| (Reverse(one.origins.len()), preference(one)));
    }
    candidates
}

fn preference(candidate: &Candidate) -> [u8; 32] {
    let action = candidate.action_id();
    tagged("artdag/preference/1", &[&action.0, &candidate.cid().to_bytes()])
}

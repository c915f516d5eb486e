//! Records: the replicated facts, as origin logs of signed batches and the state they add up to.
//!
//! How one record travels: `outbox` groups it, [`Records::append`] numbers, stamps and signs the
//! batch, the driver makes it durable and only then tells anyone; another node's
//! [`Records::receive`] verifies it (`batch`), links it (`log`), adds it to the `state` and
//! returns what its driver must persist. What gossip lost, `reconcile` brings.
//!
//! What always holds: state is the union of the logs, so merging is commutative, associative,
//! idempotent and monotone; a log that is proved to contradict itself (`evidence`) is left out
//! of it by everyone alike, and its proof travels in its place. Nothing here panics on foreign
//! bytes.
//! What this module does not do: IO, clocks, keys. Stored bytes are named by [`BatchKey`] and
//! read by the driver. Who may speak at all is membership, checked before bytes come here.

pub mod batch;
pub mod evidence;
pub mod hlc;
#[cfg(test)]
mod laws;
pub mod log;
pub mod outbox;
pub mod reconcile;
pub mod record;
pub mod results;
pub mod state;
pub mod version;

use std::collections::BTreeMap;

/// What signs a node's batches; here so that drivers and tests need no crate of their own for it.
pub use ed25519_dalek::SigningKey;

pub use batch::{Batch, MAX_BATCH_BYTES, VerifiedBatch};
pub use evidence::Evidence;
pub use hlc::Stamp;
pub use log::{BatchKey, LogId};
pub use outbox::Outbox;
pub use record::{MemberRecord, Producer, Record, ResultRecord, RunRecord, RunState};
pub use results::Candidate;
pub use state::State;
pub use version::{Position, VersionVector};

use batch::{CannotSeal, NO_PREVIOUS, NotABatch};
use evidence::MAX_EVIDENCE_BYTES;
use hlc::Clock;
use log::{EVIDENCE_NUMBER, Insert, Log};
use version::MAX_LOGS;

use crate::identity::Origin;

/// Logs of one origin: it starts one per lost disk. More are refused, so that one member cannot
/// take all of [`MAX_LOGS`].
pub const MAX_INCARNATIONS: usize = 64;
/// Bytes of batches that wait for an earlier one, all logs together.
pub const MAX_PARKED_BYTES: usize = 8 * 1024 * 1024;

/// All that this node knows of records.
#[derive(Debug)]
pub struct Records {
    own: LogId,
    clock: Clock,
    logs: BTreeMap<LogId, Standing>,
    parked_bytes: usize,
    state: State,
}

#[derive(Debug)]
enum Standing {
    Good(Log),
    /// Proved a lie. The size of the stored proof, in bytes.
    Disowned(usize),
}

/// Where bytes come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// A peer, or ourselves.
    Live { now_ms: u64 },
    /// Our disk. Stamps were checked when they came; a clock set back since must lose nothing.
    Disk,
}

/// Bytes that must be durable before anything that follows from them is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub key: BatchKey,
    /// What.
    pub bytes: Vec<u8>,
}

/// A record that is new to the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Who says it.
    pub log: LogId,
    /// In which batch.
    pub number: u64,
    /// When, by the origin's clock.
    pub clock: Stamp,
    /// What.
    pub record: Record,
}

/// What became of received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It continued a log.
    Linked,
    /// We had it.
    Known,
    /// It waits for an earlier batch; reconcile soon.
    Parked,
    /// It came too early to keep; reconcile brings it again.
    Shed,
    /// It contradicts a stored batch; see [`Received::contradiction`].
    Contradiction,
    /// It proved that its origin lied; see [`Received::disowned`].
    Proof,
}

/// A received batch and a stored one cannot both be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// Read this one, and hand [`Contradiction::prove`]'s bytes to [`Records::receive`].
    pub stored: BatchKey,
    offered: VerifiedBatch,
}

/// The answer to received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What became of them.
    pub outcome: Outcome,
    /// To be made durable, in one commit.
    pub persist: Vec<Write>,
    /// New records, in log order.
    pub news: Vec<News>,
    /// Set with [`Outcome::Contradiction`].
    pub contradiction: Option<Contradiction>,
    /// A log that no longer counts. Its stored batches (numbers from 1) may be deleted, its
    /// evidence (number 0) not. If it is our own, start a new incarnation.
    pub disowned: Option<LogId>,
}

/// Why received bytes changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// The sender's fault: nobody honest passes this on.
    #[error(transparent)]
    Invalid(#[from] NotABatch),
    /// Nobody's fault, or not the sender's: it may be taken another time.
    #[error("not now: {0}")]
    Later(&'static str),
    /// Its log is proved a lie.
    #[error("its log is disowned")]
    Disowned,
}

/// Why a batch of our own was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Split or correct it.
    #[error(transparent)]
    Refused(#[from] CannotSeal),
    /// The others would refuse it until our clock catches up with our own log.
    #[error("the local clock is {behind_ms} ms behind our own log")]
    ClockBehind {
        /// How far, in milliseconds.
        behind_ms: u64,
    },
    /// The disk is older than what others have of our log, or the log is disowned: start a new
    /// incarnation.
    #[error("our own log cannot be continued, a new incarnation is needed")]
    NewIncarnation,
}

/// What a restore found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Items taken in.
    pub taken: usize,
    /// Items that are damaged or do not link; reconcile brings them again.
    pub refused: usize,
    /// Whether our own log can be continued.
    pub own: OwnLog,
}

/// Whether our own log can be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnLog {
    /// It can.
    Intact,
    /// Something was damaged, and it may have been ours: start a new incarnation, because a
    /// number given twice would disown this one.
    Doubtful,
}

impl Records {
    /// A node that knows nothing. `incarnation` is chosen once per life of the disk (unix
    /// milliseconds at its first start will do) and kept on it.
    pub fn new(own: Origin, incarnation: u64) -> Records {
        Records {
            own: LogId { origin: own, incarnation },
            clock: Clock::default(),
            logs: BTreeMap::new(),
            parked_bytes: 0,
            state: State::default(),
        }
    }

    /// Takes in what lies on disk: keys and bytes, in key order. Signatures and chains are
    /// checked again: a disk is not to be believed.
    pub fn restore(&mut self, stored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Restored {
        let mut found = Restored { taken: 0, refused: 0, own: OwnLog::Intact };
        for (key, bytes) in stored {
            match self.take(&bytes, Source::Disk) {
                Ok(Received { outcome: Outcome::Linked | Outcome::Proof, .. }) => found.taken += 1,
                Err(Reject::Disowned) | Ok(Received { outcome: Outcome::Known, .. }) => {}
                Ok(_) | Err(_) => {
                    found.refused += 1;
                    if BatchKey::from_bytes(&key).is_none_or(|key| key.log == self.own) {
                        found.own = OwnLog::Doubtful;
                    }
                }
            }
        }
        if self.is_disowned(&self.own) {
            found.own = OwnLog::Doubtful;
        }
        found
    }

    /// Makes the next batch of our own log. The caller persists it under its key, and only then
    /// tells anyone or acknowledges. If persisting fails, this value is ahead of the disk: stop,
    /// and start again from the disk.
    ///
    /// # Errors
    /// Nothing was made; see [`AppendError`].
    pub fn append(
        &mut self,
        now_ms: u64,
        records: Vec<Record>,
        key: &SigningKey,
    ) -> Result<VerifiedBatch, AppendError> {
        let (number, previous) = match self.logs.get(&self.own) {
            None => (1, NO_PREVIOUS),
            // A parked batch of ours is one we wrote and no longer have.
            Some(Standing::Good(log)) if log.parked_bytes() == 0 => (log.number() + 1, log.head()),
            Some(_) => return Err(AppendError::NewIncarnation),
        };
        let behind = hlc::check_drift(self.clock.last(), now_ms);
        behind.map_err(|far| AppendError::ClockBehind { behind_ms: far.ahead_ms })?;
        let batch = Batch {
            origin: self.own.origin,
            incarnation: self.own.incarnation,
            number,
            previous,
            clock: self.clock.tick(now_ms),
            records,
        };
        let sealed = batch.seal(key)?;
        self.insert(sealed.clone(), Source::Live { now_ms });
        Ok(sealed)
    }

    /// Goes on in a new log of our own, after [`AppendError::NewIncarnation`] or a doubtful
    /// restore. The caller makes the number durable first; it is one that was never used.
    pub fn start_incarnation(&mut self, incarnation: u64) {
        self.own.incarnation = incarnation;
    }

    /// Takes bytes that came by gossip or reconcile: a batch, or evidence.
    ///
    /// # Errors
    /// Nothing changed; see [`Reject`].
    pub fn receive(&mut self, now_ms: u64, bytes: &[u8]) -> Result<Received, Reject> {
        self.take(bytes, Source::Live { now_ms })
    }

    /// What the logs say together.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Our own log.
    pub fn own(&self) -> LogId {
        self.own
    }

    /// Logs that are proved a lie.
    pub fn disowned(&self) -> impl Iterator<Item = LogId> + '_ {
        self.logs.keys().copied().filter(|log| self.is_disowned(log))
    }

    /// How far every log is known.
    pub fn vector(&self) -> VersionVector {
        let mut vector = VersionVector::default();
        for (id, standing) in &self.logs {
            match standing {
                Standing::Disowned(_) => vector.set(*id, Position::Disowned),
                Standing::Good(log) if log.number() > 0 => {
                    vector.set(*id, Position::At { number: log.number(), head: log.head() });
                }
                Standing::Good(_) => {}
            }
        }
        vector
    }

    /// What a node with this vector lacks: keys in log order whose stored bytes come to at most
    /// the budget, but at least one. Where the other has another fork of a log, our batch at the
    /// number where they can be compared: that is the other half of its proof.
    pub fn missing_for(&self, theirs: &VersionVector, budget_bytes: usize) -> Vec<BatchKey> {
        let mut keys = Vec::new();
        let mut bytes = 0;
        for (id, standing) in &self.logs {
            for number in missing_numbers(standing, theirs.get(id)) {
                let key = BatchKey { log: *id, number };
                bytes += self.stored_size(&key);
                if bytes > budget_bytes && !keys.is_empty() {
                    return keys;
                }
                keys.push(key);
            }
        }
        keys
    }

    /// Bytes stored under a key; 0 if there is nothing.
    pub fn stored_size(&self, key: &BatchKey) -> usize {
        match self.logs.get(&key.log) {
            Some(Standing::Good(log)) => log.size(key.number).unwrap_or(0),
            Some(Standing::Disowned(size)) if key.number == EVIDENCE_NUMBER => *size,
            _ => 0,
        }
    }

    /// Moves a peer's vector on by what was sent to it, so that it is not sent twice.
    pub fn note_sent(&self, theirs: &mut VersionVector, key: &BatchKey) {
        let position = match (self.logs.get(&key.log), theirs.get(&key.log)) {
            (None, _) => return,
            (Some(Standing::Disowned(_)), _) => Position::Disowned,
            // A fork is told of once: the other side has the second half of the proof.
            (Some(Standing::Good(_)), Some(Position::At { number, .. })) if key.number <= number => Position::Disowned,
            (Some(Standing::Good(log)), _) => {
                let Some(head) = log.hash(key.number) else { return };
                Position::At { number: key.number, head }
            }
        };
        theirs.set(key.log, position);
    }

    fn take(&mut self, bytes: &[u8], source: Source) -> Result<Received, Reject> {
        if Evidence::claimed_by(bytes) {
            let evidence = Evidence::decode(bytes)?;
            self.admit(evidence.log())?;
            return Ok(self.disown(&evidence));
        }
        let batch = VerifiedBatch::decode(bytes)?;
        self.admit(batch.log())?;
        if let Source::Live { now_ms } = source {
            hlc::check_drift(batch.batch().clock, now_ms).map_err(|_| Reject::Later("stamped in the far future"))?;
        }
        Ok(self.insert(batch, source))
    }

    fn admit(&self, id: LogId) -> Result<(), Reject> {
        match self.logs.get(&id) {
            Some(Standing::Good(_)) => return Ok(()),
            Some(Standing::Disowned(_)) => return Err(Reject::Disowned),
            None => {}
        }
        let first = LogId { incarnation: 0, ..id };
        let last = LogId { incarnation: u64::MAX, ..id };
        if self.logs.range(first..=last).count() >= MAX_INCARNATIONS {
            return Err(Reject::Later("too many incarnations of this origin"));
        }
        if self.logs.len() >= MAX_LOGS {
            return Err(Reject::Later("too many logs"));
        }
        Ok(())
    }

    fn insert(&mut self, batch: VerifiedBatch, source: Source) -> Received {
        let id = batch.log();
        let budget = MAX_PARKED_BYTES.saturating_sub(self.parked_bytes);
        let standing = self.logs.entry(id).or_insert_with(|| Standing::Good(Log::default()));
        let Standing::Good(log) = standing else {
            unreachable!("admit refused batches of disowned logs");
        };
        let before = log.parked_bytes();
        let inserted = log.insert(batch, budget);
        self.parked_bytes = self.parked_bytes + log.parked_bytes() - before;
        match inserted {
            Insert::Linked(batches) => self.apply(batches, source),
            Insert::Known => Received::bare(Outcome::Known),
            Insert::Parked => Received::bare(Outcome::Parked),
            Insert::Shed => Received::bare(Outcome::Shed),
            Insert::Proof(evidence) => self.disown(&evidence),
            Insert::Contradicts(number, offered) => {
                let stored = BatchKey { log: id, number };
                let contradiction = Contradiction { stored, offered: *offered };
                let bare = Received::bare(Outcome::Contradiction);
                Received { contradiction: Some(contradiction), ..bare }
            }
        }
    }

    fn apply(&mut self, batches: Vec<VerifiedBatch>, source: Source) -> Received {
        let mut received = Received::bare(Outcome::Linked);
        for batch in batches {
            let (key, log) = (batch.key(), batch.log());
            let (batch, bytes) = batch.into_parts();
            if log == self.own {
                self.clock.resume(batch.clock);
            } else if let Source::Live { now_ms } = source {
                // A batch that was parked was checked when it came; if the local clock was set
                // back since, its stamp may be left out.
                let _ = self.clock.observe(batch.clock, now_ms);
            }
            received.persist.push(Write { key, bytes });
            for record in batch.records {
                self.state.apply(log, batch.number, batch.clock, record.clone());
                let (number, clock) = (batch.number, batch.clock);
                received.news.push(News { log, number, clock, record });
            }
        }
        received
    }

    fn disown(&mut self, evidence: &Evidence) -> Received {
        let id = evidence.log();
        let bytes = evidence.encode();
        debug_assert!(bytes.len() <= MAX_EVIDENCE_BYTES);
        if let Some(Standing::Good(log)) = self.logs.insert(id, Standing::Disowned(bytes.len())) {
            self.parked_bytes -= log.parked_bytes();
        }
        self.state.drop_log(id);
        let key = BatchKey { log: id, number: EVIDENCE_NUMBER };
        Received { persist: vec![Write { key, bytes }], disowned: Some(id), ..Received::bare(Outcome::Proof) }
    }

    fn is_disowned(&self, log: &LogId) -> bool {
        matches!(self.logs.get(log), Some(Standing::Disowned(_)))
    }
}

impl Received {
    fn bare(outcome: Outcome) -> Received {
        Received { outcome, persist: vec![], news: vec![], contradiction: None, disowned: None }
    }
}

impl Contradiction {
    /// The proof's bytes, for [`Records::receive`]; none if the stored bytes are damaged.
    pub fn prove(self, stored: &[u8]) -> Option<Vec<u8>> {
        let stored = VerifiedBatch::decode(stored).ok()?;
        Some(Evidence::new(stored, self.offered)?.encode())
    }
}

/// The numbers of a log that a node at this position lacks.
fn missing_numbers(standing: &Standing, theirs: Option<Position>) -> std::ops::Range<u64> {
    match (standing, theirs) {
        (_, Some(Position::Disowned)) => 0..0,
        (Standing::Disowned(_), _) => EVIDENCE_NUMBER..EVIDENCE_NUMBER + 1,
        (Standing::Good(log), None) => 1..log.number() + 1,
        (Standing::Good(log), Some(Position::At { number, head })) => match log.hash(number) {
            Some(ours) if ours != head => number..number + 1,
            Some(_) => number + 1..log.number() + 1,
            None => 0..0,
        },
    }
}

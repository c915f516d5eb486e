//! Records, acted out: this node's own facts go out, others' come in, all of them durable before
//! anybody is told.
//!
//! Reads are from memory and take microseconds. Writes are grouped by the outbox, committed, then
//! gossiped; what gossip loses, `reconcile` brings. What a record means is decided in
//! `artdag_core::records`.

mod driver;
mod reconcile;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artdag_blockstore::{Change, State, StateError, Store, Table};
use artdag_core::{
    identity::{ActionId, CacheId, Origin},
    records::{Candidate, MemberRecord, Record, Records, Reject, ResultRecord, record},
};
use artdag_network::Network;
use cid::Cid;
use ed25519_dalek::SigningKey;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::{
    clock,
    metrics::Metrics,
    task::{Tasks, blocking},
};

/// Records that wait for the next batch. A full queue holds writers back, it loses nothing.
const QUEUE: usize = 1024;
/// Stored batches read at a time when the node starts.
const PAGE: usize = 1024;
/// Where the incarnation lies in [`Table::Node`].
const INCARNATION: &[u8] = b"incarnation";

/// Why a record was not published.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
    /// The record could not be made durable.
    #[error("records cannot be stored: {0}")]
    State(#[from] StateError),
    /// The record breaks a bound.
    #[error("the record cannot be published: {0}")]
    Record(#[from] record::NotARecord),
}

/// A result as this node knows it now.
#[derive(Clone, Debug)]
pub struct KnownResult {
    pub cache_id: CacheId,
    pub action_id: ActionId,
    pub cid: Cid,
    /// Who published it.
    pub origin: Origin,
    pub incarnation: u64,
    pub number: u64,
    /// By the origin's clock.
    pub unix_ms: u64,
    pub size: u64,
    pub content_hash: Option<[u8; 32]>,
    pub duration_ms: u64,
    pub toolset: String,
    /// Distinct CIDs stated for it.
    pub candidates: u32,
}

/// What the records need of the node.
pub struct RecordsArgs {
    pub own: Origin,
    pub key: SigningKey,
    pub store: Store,
    pub metrics: Arc<Metrics>,
}

/// A key and what is stored under it.
type Row = (Vec<u8>, Vec<u8>);

/// A record on its way into a batch, and whom to tell when it is durable.
type Publication = (Record, oneshot::Sender<()>);

/// The records of this node; cheap to clone.
#[derive(Clone)]
pub struct RecordsHandle {
    inner: Arc<Inner>,
}

struct Inner {
    records: Mutex<Records>,
    /// Receiving persists in the order of the logs, so a crash leaves no hole in one.
    intake: tokio::sync::Mutex<()>,
    store: Store,
    metrics: Arc<Metrics>,
    outbox: mpsc::Sender<Publication>,
    /// Grows with every batch that brought something new.
    news: watch::Sender<u64>,
}

/// What [`open`] leaves to be driven once there is a network.
pub struct Unstarted {
    args: RecordsArgs,
    queue: mpsc::Receiver<Publication>,
    handle: RecordsHandle,
}

/// Reads what lies on disk.
///
/// # Errors
/// When the state cannot be read or the incarnation cannot be kept.
pub fn open(args: RecordsArgs) -> Result<(RecordsHandle, Unstarted), StateError> {
    let records = restore(&args)?;
    let (outbox, queue) = mpsc::channel(QUEUE);
    let inner = Inner {
        records: Mutex::new(records),
        intake: tokio::sync::Mutex::new(()),
        store: args.store.clone(),
        metrics: args.metrics.clone(),
        outbox,
        news: watch::Sender::new(0),
    };
    let handle = RecordsHandle { inner: Arc::new(inner) };
    Ok((handle.clone(), Unstarted { args, queue, handle }))
}

impl Unstarted {
    /// Publishes, and reconciles with members, until the node stops.
    pub fn start(self, network: &Network, tasks: &Tasks) {
        let driver = driver::Driver::new(self.args.key, self.handle.clone(), network.clone(), self.queue);
        tasks.spawn_until_stop("records", driver.run());
        tasks.spawn_until_stop("reconcile", reconcile::initiate(self.handle.clone(), network.clone()));
        tasks.spawn_until_stop("reconcile answers", reconcile::answer(self.handle, network.clone(), tasks.clone()));
    }
}

impl RecordsHandle {
    /// The result of a step by its planned name.
    #[must_use]
    pub fn by_cache(&self, id: &CacheId) -> Option<KnownResult> {
        let candidates = self.lock().state().results().of_cache(id);
        known(&candidates)
    }

    /// The result of an action.
    #[must_use]
    pub fn by_action(&self, id: &ActionId) -> Option<KnownResult> {
        let candidates = self.lock().state().results().of_action(id);
        known(&candidates)
    }

    /// By whichever of the two names this is.
    #[must_use]
    pub fn by_either(&self, id: [u8; 32]) -> Option<KnownResult> {
        self.by_cache(&CacheId(id)).or_else(|| self.by_action(&ActionId(id)))
    }

    /// Results in the order of their action ids.
    #[must_use]
    pub fn list(&self, limit: usize) -> Vec<KnownResult> {
        let records = self.lock();
        let all = records.state().results().actions_from(ActionId([0; 32]));
        all.filter_map(|(_, candidates)| known(&candidates)).take(limit).collect()
    }

    /// What a member last said of itself.
    #[must_use]
    pub fn member(&self, origin: &Origin, now_ms: u64) -> Option<MemberRecord> {
        self.lock().state().members(now_ms).find(|(known, _)| known == origin).map(|(_, said)| said.clone())
    }

    /// Publishes a fact; durable here when it returns, on its way to the others.
    ///
    /// # Errors
    /// See [`RecordsError`]; then nobody was told.
    pub async fn publish(&self, record: Record) -> Result<(), RecordsError> {
        record.encode()?;
        let (done, durable) = oneshot::channel();
        self.inner.outbox.send((record, done)).await.map_err(|_| RecordsError::Stopping)?;
        durable.await.map_err(|_| RecordsError::Stopping)
    }

    /// Publishes a result.
    ///
    /// # Errors
    /// See [`RecordsError`]; then nobody was told.
    pub async fn publish_result(&self, result: ResultRecord) -> Result<(), RecordsError> {
        self.publish(Record::Result(result)).await
    }

    /// Returns once a result of the action is known. Dropping it is safe.
    pub async fn until_known(&self, id: &ActionId) {
        let mut news = self.news();
        while self.by_action(id).is_none() {
            if news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tells of every batch that brought something new.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.inner.news.subscribe()
    }

    /// Takes in bytes that a member sent; durable when this returns.
    ///
    /// # Errors
    /// [`Reject`] says whose fault it is; nothing changed.
    pub async fn receive(&self, bytes: Vec<u8>) -> Result<(), Reject> {
        let _order = self.inner.intake.lock().await;
        let received = self.lock().receive(clock::unix_ms(), &bytes).inspect_err(|_| {
            self.inner.metrics.batches_refused.inc();
        })?;
        if let Some(contradiction) = received.contradiction {
            self.prove(contradiction).await;
        }
        if let Some(log) = received.disowned {
            warn!(origin = %log.origin, incarnation = log.incarnation, "a log contradicts itself and no longer counts");
        }
        self.persist(received.persist).await;
        if !received.news.is_empty() {
            self.inner.metrics.batches_received.inc();
            self.inner.news.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    async fn prove(&self, contradiction: artdag_core::records::Contradiction) {
        let (store, key) = (self.inner.store.clone(), contradiction.stored.to_bytes());
        let Ok(Some(stored)) = blocking(move || store.state().get(Table::Records, &key)).await else { return };
        let Some(proof) = contradiction.prove(&stored) else { return };
        let received = self.lock().receive(clock::unix_ms(), &proof);
        if let Ok(received) = received {
            self.persist(received.persist).await;
        }
    }

    /// A batch that cannot be stored is not lost: the origin has it, and reconcile brings it
    /// again after a restart.
    async fn persist(&self, writes: Vec<artdag_core::records::Write>) {
        if writes.is_empty() {
            return;
        }
        let (store, changes) = (self.inner.store.clone(), changes(writes));
        if let Err(error) = blocking(move || store.state().commit(changes)).await {
            warn!(%error, "received records are not durable");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.inner.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changes(writes: Vec<artdag_core::records::Write>) -> Vec<Change> {
    let put = |write: artdag_core::records::Write| Change::Put {
        table: Table::Records,
        key: write.key.to_bytes().to_vec(),
        value: write.bytes,
    };
    writes.into_iter().map(put).collect()
}

fn known(candidates: &[Candidate]) -> Option<KnownResult> {
    let statement = &candidates.first()?.statement;
    let record = &statement.record;
    Some(KnownResult {
        cache_id: record.cache_id,
        action_id: record.action_id,
        cid: record.cid,
        origin: statement.log.origin,
        incarnation: statement.log.incarnation,
        number: statement.number,
        unix_ms: statement.clock.wall_ms,
        size: record.size,
        content_hash: record.content_hash,
        duration_ms: record.duration_ms,
        toolset: record.toolset.clone(),
        candidates: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
    })
}

/// Rebuilds the records from disk. When our own log cannot be continued a new incarnation begins,
/// since a number given twice would disown the log.
fn restore(args: &RecordsArgs) -> Result<Records, StateError> {
    use artdag_core::records::OwnLog;
    let state = args.store.state();
    let kept = state.get(Table::Node, INCARNATION)?.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
    let incarnation = match kept {
        Some(incarnation) => incarnation,
        None => begin_incarnation(state)?,
    };
    let stored = stored_batches(state)?;
    let mut records = Records::new(args.own, incarnation);
    let found = records.restore(stored.iter().cloned());
    if found.own == OwnLog::Intact {
        return Ok(records);
    }
    let incarnation = begin_incarnation(state)?;
    warn!(refused = found.refused, incarnation, "stored records were damaged, a new incarnation begins");
    let mut records = Records::new(args.own, incarnation);
    let found = records.restore(stored);
    info!(taken = found.taken, "records restored");
    Ok(records)
}

fn begin_incarnation(state: &State) -> Result<u64, StateError> {
    let incarnation = clock::unix_ms();
    let value = incarnation.to_be_bytes().to_vec();
    state.commit(vec![Change::Put { table: Table::Node, key: INCARNATION.to_vec(), value }])?;
    Ok(incarnation)
}

fn stored_batches(state: &State) -> Result<Vec<Row>, StateError> {
    let mut batches = Vec::new();
    let mut from = Vec::new();
    loop {
        let page = state.scan(Table::Records, &from, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(batches) };
        // The next key after the last one in byte order.
        from.clone_from(last);
        from.push(0);
        batches.extend(page);
    }
}

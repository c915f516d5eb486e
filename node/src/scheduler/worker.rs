//! Runs one action on this node: looks whether it is done, asks for the lease, brings the inputs
//! here, hands them to an executor, takes the output in, publishes the result.
//!
//! A result is told only after its bytes and its record are durable. Leases only save work: with
//! every lease lost the same result comes out, twice as dear.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use artdag_blockstore::{AddError, Added, Ingest, Store};
use artdag_core::{
    action::{self, Action},
    identity::{ActionId, CacheId, Namespace, Origin, action_id},
    records::{Producer, ResultRecord},
    scheduler::FailureClass,
};
use artdag_network::{PeerId, Scope};
use cid::Cid;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    clock::{self, Stopwatch},
    executor::{self, Executor, Job, Output},
    fetch::{FetchError, Fetcher},
    lease::{Answer, Leases},
    metrics::Metrics,
    records::RecordsHandle,
    task::blocking,
};

use super::workspace::Workspace;

/// A step that wants to write more than this is not rendering, it is filling the disk.
const STEP_DISK_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// How long to follow another's run before asking again; its record usually ends the wait.
const FOLLOW_POLL_MS: u64 = 1000;

/// How long a record may be behind the arbiter's word that an action is done.
const RECORD_PATIENCE_MS: u64 = 500;

/// What the worker was asked to run.
#[derive(Clone, Debug)]
pub struct Order {
    /// What to compute.
    pub action: Action,
    /// The name the plan gave it.
    pub cache_id: CacheId,
    /// Members known to hold each input.
    pub holders: Vec<Vec<PeerId>>,
    /// For each input, the action that made it; `None` for content that a user gave.
    pub producers: Vec<Option<ActionId>>,
    /// A result of it whose bytes could not be had.
    pub lost: Option<Cid>,
    /// After this the step is ended.
    pub timeout_ms: u64,
}

/// What it says while it works; the last one is `Done` or `Failed`.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Inputs are being brought here.
    Fetching,
    /// The executor works.
    Running { progress: f64, message: String },
    /// Another node runs the same action.
    Following { holder: Origin },
    /// The result is durable.
    Done(Finished),
    /// It will not come from here.
    Failed(Failed),
}

/// A result.
#[derive(Clone, Debug)]
pub struct Finished {
    pub cid: Cid,
    pub ms: u64,
    pub content_hash: Option<[u8; 32]>,
    pub size: u64,
    /// Nothing ran here for it.
    pub reused: bool,
    /// Who made it.
    pub node: Origin,
}

/// A failure, with what decides who tries next.
#[derive(Clone, Debug)]
pub struct Failed {
    pub class: FailureClass,
    pub message: String,
    pub log: String,
}

/// What a worker needs of the node.
pub struct WorkerArgs {
    pub own: Origin,
    pub namespace: Namespace,
    pub store: Store,
    pub fetcher: Fetcher,
    pub records: RecordsHandle,
    pub leases: Arc<Leases>,
    pub executors: Vec<(executor::Toolset, Arc<dyn Executor>)>,
    pub workspaces: PathBuf,
    pub slots: u32,
    pub metrics: Arc<Metrics>,
}

/// Executes actions, a bounded number at once.
pub struct Worker {
    args: WorkerArgs,
    slots: Arc<Semaphore>,
    executors: HashMap<String, Arc<dyn Executor>>,
    /// What this node is at: the arbiter knows one holder a node, so two orders for one action are
    /// merged here.
    under_way: Mutex<HashSet<ActionId>>,
}

impl Worker {
    /// Ready to work.
    #[must_use]
    pub fn new(args: WorkerArgs) -> Self {
        let slots = Arc::new(Semaphore::new(args.slots as usize));
        let executors = args.executors.iter().map(|(toolset, body)| (toolset.to_string(), body.clone())).collect();
        Self { args, slots, executors, under_way: Mutex::default() }
    }

    /// Steps under way now.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.args.slots.saturating_sub(u32::try_from(self.slots.available_permits()).unwrap_or(u32::MAX))
    }

    /// Runs one order to its end; the last message sent is `Done` or `Failed`. When `cancel` falls
    /// the process is killed, the lease given back and the workspace removed before it returns.
    pub async fn execute(&self, order: Order, tell: mpsc::Sender<Progress>, cancel: CancellationToken) {
        let last = match self.attempt(&order, &tell, &cancel).await {
            Ok(finished) => Progress::Done(finished),
            Err(failed) => {
                if failed.class != FailureClass::Busy {
                    self.args.metrics.steps_failed.inc();
                    info!(kind = %order.action.kind, class = ?failed.class, message = failed.message, "step failed");
                }
                Progress::Failed(failed)
            }
        };
        // The coordinator may have gone; the result is in the records all the same.
        let _ = tell.send(last).await;
    }

    async fn attempt(
        &self,
        order: &Order,
        tell: &mpsc::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<Finished, Failed> {
        let id = action_id(&self.args.namespace, &order.action);
        let executor = self.executor_of(&order.action)?;
        let mut lost = order.lost;
        loop {
            match self.known(&id, lost).await {
                Known::Here(finished) => return Ok(finished),
                Known::Lost(cid) => lost = Some(cid),
                Known::Not => {}
            }
            let Some(_turn) = self.begin(id) else {
                let _ = tell.send(Progress::Following { holder: self.args.own }).await;
                self.await_news(&id, lost, FOLLOW_POLL_MS, cancel).await?;
                continue;
            };
            // The slot is taken before the lease, so that nobody holds the right to run a step
            // without the means to.
            let slot = self.slots.clone().try_acquire_owned().map_err(|_| busy())?;
            match self.args.leases.acquire(id, lost).await {
                Answer::Granted | Answer::Unreachable => {
                    let outcome = self.work(order, id, executor, tell, cancel).await;
                    drop(slot);
                    self.args.leases.release(id, outcome.as_ref().ok().map(|finished| finished.cid)).await;
                    return outcome;
                }
                Answer::Done(cid) => {
                    if self.args.fetcher.available(&cid).await {
                        return Ok(self.elsewhere(&id, cid).await);
                    }
                    // Done, but nobody has the bytes any more: it is made again.
                    lost = Some(cid);
                }
                Answer::Follow(holder) => {
                    drop(slot);
                    let _ = tell.send(Progress::Following { holder }).await;
                    self.await_news(&id, lost, FOLLOW_POLL_MS, cancel).await?;
                }
                Answer::Wait(retry_ms) => {
                    drop(slot);
                    self.await_news(&id, lost, retry_ms, cancel).await?;
                }
            }
        }
    }

    /// The only one at this action on this node, until the turn is dropped.
    fn begin(&self, id: ActionId) -> Option<Turn<'_>> {
        let first = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        // Made only when it is ours: a turn that is dropped ends whatever turn there is.
        first.then(|| Turn { worker: self, id })
    }

    async fn work(
        &self,
        order: &Order,
        id: ActionId,
        executor: Arc<dyn Executor>,
        tell: &mpsc::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<Finished, Failed> {
        let _ = tell.send(Progress::Fetching).await;
        let workspace = Workspace::create(&self.args.workspaces, &id).await;
        let workspace = workspace.map_err(|error| node_trouble(format!("no workspace could be made: {error}")))?;
        let inputs = tokio::select! {
            inputs = self.stage(order, &workspace) => inputs?,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        let watch = Stopwatch::start();
        let _ = tell.send(Progress::Running { progress: 0.0, message: String::new() }).await;
        let output = self.run(order, executor, &workspace, inputs, tell, cancel).await?;
        let duration_ms = watch.elapsed_ms();
        let added = self.take_in(output.path).await?;
        self.publish(order, id, &added, duration_ms, &output.build).await?;
        self.args.metrics.steps_executed.inc();
        debug!(kind = %order.action.kind, cid = %added.cid, duration_ms, "step done");
        Ok(Finished {
            cid: added.cid,
            ms: duration_ms,
            content_hash: added.content_hash,
            size: added.size,
            reused: false,
            node: self.args.own,
        })
    }

    /// Brings every input here and lays it into the workspace.
    async fn stage(&self, order: &Order, workspace: &Workspace) -> Result<Vec<PathBuf>, Failed> {
        let mut paths = Vec::with_capacity(order.action.inputs.len());
        for (index, cid) in order.action.inputs.iter().enumerate() {
            let hints = order.holders.get(index).map_or(&[][..], Vec::as_slice);
            self.args.fetcher.dag(cid, Scope::Members, hints).await.map_err(|error| staging(cid, &error))?;
            let path = workspace.inputs().join(format!("input-{index}"));
            let (store, input, target) = (self.args.store.clone(), *cid, path.clone());
            let exported = blocking(move || store.export_file(&input, &target)).await;
            exported.map_err(|error| staging(cid, &FetchError::Read(error)))?;
            paths.push(path);
        }
        Ok(paths)
    }

    async fn run(
        &self,
        order: &Order,
        executor: Arc<dyn Executor>,
        workspace: &Workspace,
        inputs: Vec<PathBuf>,
        tell: &mpsc::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<Output, Failed> {
        let job = Job {
            kind: order.action.kind,
            config: order.action.config.clone(),
            threads: pinned(&order.action).map_or(1, |pinned| pinned.threads),
            disk_bytes: STEP_DISK_BYTES,
            inputs,
            workspace: workspace.scratch(),
            timeout: Duration::from_millis(order.timeout_ms),
        };
        let (progress, mut reports) = executor::progress();
        let work = executor.execute(&job, &progress, cancel);
        tokio::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => return outcome.map_err(from_executor),
                Ok(()) = reports.changed() => {
                    let progress = f64::from(*reports.borrow_and_update());
                    // A slow listener misses reports, it does not hold up the work.
                    let _ = tell.try_send(Progress::Running { progress, message: String::new() });
                }
            }
        }
    }

    async fn take_in(&self, path: PathBuf) -> Result<Added, Failed> {
        let store = self.args.store.clone();
        blocking(move || store.add_file(&path, Ingest::Move)).await.map_err(|error| match error {
            AddError::NoSpace { .. } => node_trouble(error.to_string()),
            other => node_trouble(format!("the output could not be stored: {other}")),
        })
    }

    async fn publish(&self, order: &Order, id: ActionId, added: &Added, ms: u64, build: &str) -> Result<(), Failed> {
        let record = ResultRecord {
            cache_id: order.cache_id,
            action_id: id,
            cid: added.cid,
            kind: order.action.kind.to_string(),
            inputs: producers(order),
            size: added.size,
            content_hash: added.content_hash,
            duration_ms: ms,
            toolset: toolset_of(&order.action),
            exact_build: build.to_owned(),
        };
        self.args.records.publish_result(record).await.map_err(|error| node_trouble(error.to_string()))
    }

    /// What the records say of the action, and whether its bytes can be had.
    async fn known(&self, id: &ActionId, lost: Option<Cid>) -> Known {
        let Some(known) = self.args.records.by_action(id) else { return Known::Not };
        if lost == Some(known.cid) {
            return Known::Lost(known.cid);
        }
        if !self.args.fetcher.available(&known.cid).await {
            warn!(cid = %known.cid, "a known result has no holder, it is made again");
            return Known::Lost(known.cid);
        }
        Known::Here(Finished {
            cid: known.cid,
            ms: known.duration_ms,
            content_hash: known.content_hash,
            size: known.size,
            reused: true,
            node: known.origin,
        })
    }

    /// The arbiter knows it is done; its record may still be on the way.
    async fn elsewhere(&self, id: &ActionId, cid: Cid) -> Finished {
        clock::within_ms(RECORD_PATIENCE_MS, self.args.records.until_known(id)).await;
        let known = self.args.records.by_action(id);
        Finished {
            cid,
            ms: known.as_ref().map_or(0, |known| known.duration_ms),
            content_hash: known.as_ref().and_then(|known| known.content_hash),
            size: known.as_ref().map_or(0, |known| known.size),
            reused: true,
            node: known.map_or(self.args.own, |known| known.origin),
        }
    }

    /// Waits until a record of the action arrives, or `ms` are over. Where there is a record already
    /// and its bytes are lost, only the time counts, or this would turn in circles.
    async fn await_news(
        &self,
        id: &ActionId,
        lost: Option<Cid>,
        ms: u64,
        cancel: &CancellationToken,
    ) -> Result<(), Failed> {
        tokio::select! {
            () = self.args.records.until_known(id), if lost.is_none() => Ok(()),
            () = clock::sleep_ms(ms) => Ok(()),
            () = cancel.cancelled() => Err(cancelled()),
        }
    }

    fn executor_of(&self, action: &Action) -> Result<Arc<dyn Executor>, Failed> {
        let wanted = toolset_of(action);
        self.executors.get(&wanted).cloned().ok_or_else(|| node_trouble(format!("this node does not have {wanted}")))
    }
}

/// The right to be at an action on this node.
struct Turn<'a> {
    worker: &'a Worker,
    id: ActionId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.worker.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// What is known of an action.
enum Known {
    /// A result whose bytes can be had.
    Here(Finished),
    /// A result whose bytes nobody has.
    Lost(Cid),
    /// Nothing.
    Not,
}

/// The executor that the plan pinned. A decoded action always names one.
fn pinned(action: &Action) -> Option<action::Executor> {
    action.executor.parse().ok()
}

fn toolset_of(action: &Action) -> String {
    pinned(action).map(|pinned| pinned.toolset.to_string()).unwrap_or_default()
}

/// Where each input came from, so that what stood on a disowned result can be found.
fn producers(order: &Order) -> Vec<Producer> {
    let made = |index: usize| order.producers.get(index).copied().flatten();
    let inputs = order.action.inputs.iter().enumerate();
    inputs.map(|(index, cid)| made(index).map_or(Producer::Source(*cid), Producer::Action)).collect()
}

fn busy() -> Failed {
    Failed { class: FailureClass::Busy, message: "no free slot".into(), log: String::new() }
}

fn cancelled() -> Failed {
    Failed { class: FailureClass::Node, message: "cancelled".into(), log: String::new() }
}

fn node_trouble(message: String) -> Failed {
    Failed { class: FailureClass::Node, message, log: String::new() }
}

fn staging(input: &Cid, error: &FetchError) -> Failed {
    let class = match error {
        // The input as a whole is what can be made again, not the one block.
        FetchError::NotFound(..) => FailureClass::LostBytes { missing: vec![*input] },
        _ => FailureClass::Node,
    };
    Failed { class, message: error.to_string(), log: String::new() }
}

fn from_executor(failure: executor::Failure) -> Failed {
    use executor::FailureClass as From;
    let class = match failure.class {
        From::Input => FailureClass::Input,
        From::Executor | From::TimedOut => FailureClass::Executor,
        From::Node | From::Cancelled => FailureClass::Node,
    };
    Failed { class, message: failure.message, log: failure.log }
}

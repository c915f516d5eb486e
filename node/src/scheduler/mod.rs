//! Runs, acted out: a recipe becomes a plan, the plan a run, the run a coordinator that is told
//! what to do by `artdag_core::scheduler`.
//!
//! A run is durable before it is acknowledged. One that was under way when the node stopped goes
//! on at the next start: what was finished is a hit.

mod coordinator;
mod dispatch;
pub mod run;
mod submit;
pub mod worker;
mod workspace;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use artdag_blockstore::{AddError, Audience, Change, StateError, Store, Table};
use artdag_core::{
    identity::{Namespace, Origin},
    planner::Plan,
};
use cid::Cid;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{Instrument, info, info_span, warn};

use self::{
    run::{Run, RunState, RunView},
    worker::Worker,
};
use crate::{
    clock,
    fetch::Fetcher,
    members::Directory,
    metrics::Metrics,
    records::RecordsHandle,
    rpc::channel::MemberChannels,
    rpc::trace::TraceContext,
    task::{Tasks, blocking},
};

/// Runs under way at once on one coordinator; each costs a task and its plan in memory.
const RUNS_MAX: usize = 64;
/// Ended runs whose history is kept in memory; older ones are read from disk, without it.
const ENDED_KEPT_MAX: usize = 256;
/// How long a cancel waits to see the run end before it answers with the state as it is.
const CANCEL_WAIT_MS: u64 = 5000;
/// Runs read from disk at a time.
const PAGE: usize = 256;
/// Runs that a listing shows, newest first.
const LISTED_MAX: usize = 1000;

/// Why a run cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The recipe is wrong; the text names each place and what to write instead.
    #[error("{0}")]
    Recipe(String),
    /// An input or parameter is missing or wrong.
    #[error("{0}")]
    Input(String),
    /// No node has the tools.
    #[error("{0}")]
    Toolset(String),
    /// No such run here.
    #[error("no run {0} on this node")]
    Unknown(String),
    /// Too many under way.
    #[error("{0} runs are under way")]
    Full(usize),
    /// The recipe or plan cannot be stored.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The run cannot be stored.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a client submits.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The recipe as written.
    pub recipe: Vec<u8>,
    /// The name used in errors.
    pub recipe_name: String,
    /// Input name to content.
    pub inputs: BTreeMap<String, Cid>,
    /// Parameter name to value.
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// For whatever draws lots.
    pub seed: u64,
    /// The trace it belongs to.
    pub trace_id: String,
}

/// What runs need of the node.
pub struct RunsArgs {
    pub own: Origin,
    pub namespace: Namespace,
    pub store: Store,
    pub fetcher: Fetcher,
    pub records: RecordsHandle,
    pub directory: Arc<Directory>,
    pub channels: Arc<MemberChannels>,
    pub worker: Arc<Worker>,
    pub metrics: Arc<Metrics>,
    pub tasks: Tasks,
    /// Grows when members come, go or say something new of themselves.
    pub membership: tokio::sync::watch::Receiver<u64>,
}

/// The runs of this node.
pub struct Runs {
    args: RunsArgs,
    known: Mutex<BTreeMap<String, Arc<Run>>>,
    /// One for each run that was submitted and has not ended.
    places: Arc<Semaphore>,
}

impl Runs {
    /// None yet; see [`Runs::resume`].
    #[must_use]
    pub fn new(args: RunsArgs) -> Self {
        Self { args, known: Mutex::default(), places: Arc::new(Semaphore::new(RUNS_MAX)) }
    }

    /// Goes on with what was under way when the node stopped.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn resume(self: &Arc<Self>) -> Result<(), StateError> {
        for view in self.stored().await? {
            if view.state != RunState::Running {
                continue;
            }
            info!(execution_id = view.execution_id, "going on with a run");
            match self.stored_plan(&view.plan).await {
                // What was accepted before goes on, however much it is.
                Ok(plan) => self.launch(plan, view, TraceContext::begin().trace_id, None),
                Err(error) => {
                    warn!(%error, execution_id = view.execution_id, "a run cannot go on");
                    let run = Run::new(view, clock::unix_ms());
                    let ended = run.change(clock::unix_ms(), |view| {
                        view.state = RunState::Failed;
                        view.finished_unix_ms = clock::unix_ms();
                        view.message = format!("the plan is gone: {error}; submit the recipe again");
                    });
                    self.save(ended).await?;
                }
            }
        }
        Ok(())
    }

    /// Plans a recipe and begins to run it; durable on this node when it returns.
    ///
    /// # Errors
    /// See [`RunError`]; then nothing was begun.
    pub async fn submit(self: &Arc<Self>, submission: Submission) -> Result<RunView, RunError> {
        // Held until the run ends, so that many submissions at once cannot pass the bound together.
        let place = self.places.clone().try_acquire_owned().map_err(|_| RunError::Full(RUNS_MAX))?;
        let trace_id = submission.trace_id.clone();
        let (plan, view) = submit::prepare(&self.args, submission).await?;
        self.save(view.clone()).await?;
        self.args.metrics.runs_submitted.inc();
        self.launch(plan, view.clone(), trace_id, Some(place));
        Ok(view)
    }

    /// A run by its execution id.
    ///
    /// # Errors
    /// [`RunError::Unknown`].
    pub async fn get(&self, execution_id: &str) -> Result<Arc<Run>, RunError> {
        if let Some(run) = self.lock().get(execution_id) {
            return Ok(run.clone());
        }
        let (store, key) = (self.args.store.clone(), execution_id.as_bytes().to_vec());
        let stored = blocking(move || store.state().get(Table::Runs, &key)).await?;
        let view = stored.and_then(|bytes| decode(&bytes)).ok_or_else(|| RunError::Unknown(execution_id.to_owned()))?;
        let at = view.finished_unix_ms;
        Ok(Arc::new(Run::new(view, at)))
    }

    /// Stops a run. One that has ended stays as it is.
    ///
    /// # Errors
    /// [`RunError::Unknown`].
    pub async fn cancel(&self, execution_id: &str) -> Result<RunView, RunError> {
        let run = self.get(execution_id).await?;
        run.cancelled().cancel();
        let mut length = run.watch();
        // The coordinator answers at once; the steps' processes are killed as it ends.
        let ended = async { while run.view().state == RunState::Running && length.changed().await.is_ok() {} };
        clock::within_ms(CANCEL_WAIT_MS, ended).await;
        Ok(run.view())
    }

    /// Every run of this node, newest first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn list(&self) -> Result<Vec<RunView>, RunError> {
        let mut views: BTreeMap<String, RunView> =
            self.stored().await?.into_iter().map(|view| (view.execution_id.clone(), view)).collect();
        views.extend(self.lock().iter().map(|(id, run)| (id.clone(), run.view())));
        let mut views: Vec<_> = views.into_values().collect();
        views.sort_by_key(|view| std::cmp::Reverse((view.created_unix_ms, view.execution_id.clone())));
        views.truncate(LISTED_MAX);
        Ok(views)
    }

    fn launch(self: &Arc<Self>, plan: Plan, view: RunView, trace_id: String, place: Option<OwnedSemaphorePermit>) {
        let run = Arc::new(Run::new(view.clone(), clock::unix_ms()));
        let mut known = self.lock();
        let views = known.values().map(|run| run.view()).filter(|view| view.state != RunState::Running);
        let mut ended: Vec<_> = views.map(|view| (view.finished_unix_ms, view.execution_id)).collect();
        ended.sort();
        for (_, id) in ended.iter().take(ended.len().saturating_sub(ENDED_KEPT_MAX)) {
            known.remove(id);
        }
        known.insert(view.execution_id, run.clone());
        drop(known);
        let runs = self.clone();
        let span = info_span!("run", trace_id);
        let work = async move {
            coordinator::run(&runs, plan, run, trace_id).await;
            drop(place);
        };
        self.args.tasks.spawn("run", work.instrument(span));
    }

    /// Makes the present state durable.
    async fn save(&self, view: RunView) -> Result<(), StateError> {
        let store = self.args.store.clone();
        let change =
            Change::Put { table: Table::Runs, key: view.execution_id.clone().into_bytes(), value: encode(&view) };
        blocking(move || store.state().commit(vec![change])).await
    }

    async fn stored(&self) -> Result<Vec<RunView>, StateError> {
        let store = self.args.store.clone();
        blocking(move || {
            let (mut views, mut from) = (Vec::new(), Vec::new());
            loop {
                let page = store.state().scan(Table::Runs, &from, PAGE)?;
                let Some((last, _)) = page.last() else { return Ok(views) };
                from.clone_from(last);
                from.push(0);
                views.extend(page.iter().filter_map(|(_, value)| decode(value)));
            }
        })
        .await
    }

    async fn stored_plan(&self, cid: &Cid) -> Result<Plan, String> {
        let (store, cid) = (self.args.store.clone(), *cid);
        let block = blocking(move || store.read(&cid, Audience::Local)).await.map_err(|error| error.to_string())?;
        let block = block.ok_or_else(|| format!("{cid} is not here"))?;
        Plan::decode(block.bytes()).map_err(|error| error.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Run>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version of the stored form below.
const STORED_VERSION: u8 = 1;

/// A version byte and dag-cbor.
fn encode(view: &RunView) -> Vec<u8> {
    let mut bytes = vec![STORED_VERSION];
    bytes.extend(serde_ipld_dagcbor::to_vec(view).expect("a run view has a dag-cbor form"));
    bytes
}

/// `None` when it was written by a newer version or is damaged: the run is then not listed.
fn decode(bytes: &[u8]) -> Option<RunView> {
    match bytes.split_first() {
        Some((&STORED_VERSION, rest)) => serde_ipld_dagcbor::from_slice(rest).ok(),
        _ => None,
    }
}

//! Drives one run: waits for one event, gives it to `artdag_core::scheduler`, makes durable what
//! must not be lost, then does what it was told.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use artdag_core::{
    identity::{ActionId, Origin, action_id},
    planner::{Plan, StepInput},
    scheduler::{FailureClass, Input, Limits, NodeInfo, Output, Reuse, RunOutcome, Scheduler, StepEvent, StepStatus},
};
use cid::Cid;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Runs,
    dispatch::{self, Assignment, Report},
    run::{Run, RunState, StepState, StepView},
    worker::{Failed, Progress},
};
use crate::{clock, members::Offer, task::blocking};

/// Reports of all steps on their way to the run.
const QUEUE: usize = 256;

/// Runs a plan to its end, or until the node stops; then it goes on at the next start.
pub async fn run(runs: &Arc<Runs>, plan: Plan, run: Arc<Run>, trace_id: String) {
    let (reports, incoming) = mpsc::channel(QUEUE);
    let mut coordinator = Coordinator {
        scheduler: Scheduler::new(&plan, Limits::default()),
        runs: runs.clone(),
        run,
        trace_id,
        reports,
        under_way: HashMap::new(),
        offers: BTreeMap::new(),
        actions: HashMap::new(),
        results: HashMap::new(),
        lost: HashSet::new(),
        wake_at_ms: None,
        plan,
    };
    coordinator.begin().await;
    coordinator.drive(incoming).await;
}

struct Coordinator {
    runs: Arc<Runs>,
    run: Arc<Run>,
    trace_id: String,
    plan: Plan,
    scheduler: Scheduler,
    reports: mpsc::Sender<Report>,
    under_way: HashMap<(usize, u32), CancellationToken>,
    offers: BTreeMap<Origin, Offer>,
    /// The action of each step that was executed here, the lineage of what follows.
    actions: HashMap<usize, ActionId>,
    /// What each step gave, and what of it could not be had when it was needed.
    results: HashMap<usize, Cid>,
    lost: HashSet<Cid>,
    wake_at_ms: Option<u64>,
}

impl Coordinator {
    /// Tells the scheduler what the cache knows and who is there.
    async fn begin(&mut self) {
        let mut hits = 0;
        for index in 0..self.plan.steps.len() {
            let step = &self.plan.steps[index];
            let Some(known) = self.runs.args.records.by_cache(&step.cache_id) else { continue };
            // Of the film itself it must be sure; a step's lost bytes are found when they are needed.
            if step.id == self.plan.output && !self.runs.args.fetcher.available(&known.cid).await {
                continue;
            }
            hits += 1;
            self.runs.args.metrics.step_hits.inc();
            self.actions.insert(index, known.action_id);
            self.give(Input::Hit {
                step: index,
                cid: known.cid,
                node: known.origin,
                content_hash: known.content_hash,
                size: Some(known.size),
            })
            .await;
        }
        self.run.change(clock::unix_ms(), |view| view.hits = hits);
        self.look_around().await;
        self.tell_sources().await;
        self.give(Input::Start).await;
    }

    /// This node took the sources in, so it is known to hold them.
    async fn tell_sources(&mut self) {
        for source in self.plan.sources.clone() {
            let store = self.runs.args.store.clone();
            let stat = blocking(move || store.stat(&source.cid)).await.ok();
            let Some(size) = stat.filter(|stat| stat.local).map(|stat| stat.size) else { continue };
            let nodes = vec![self.runs.args.own];
            self.give(Input::Located { cid: source.cid, size: Some(size), nodes }).await;
        }
    }

    async fn drive(&mut self, mut incoming: mpsc::Receiver<Report>) {
        let cancelled = self.run.cancelled();
        let stopping = self.runs.args.tasks.stopping();
        let mut membership = self.runs.args.membership.clone();
        let mut asked_to_cancel = false;
        while self.run.view().state == RunState::Running {
            let wake_in_ms = self.wake_at_ms.map(|at| at.saturating_sub(clock::steady_ms()));
            tokio::select! {
                Some(report) = incoming.recv() => self.report(report).await,
                Ok(()) = membership.changed() => self.look_around().await,
                () = clock::sleep_ms(wake_in_ms.unwrap_or(0)), if wake_in_ms.is_some() => {
                    self.wake_at_ms = None;
                    self.give(Input::Tick).await;
                }
                () = cancelled.cancelled(), if !asked_to_cancel => {
                    asked_to_cancel = true;
                    self.give(Input::Cancel).await;
                }
                // Not an end of the run: it is stored as running and goes on at the next start.
                () = stopping.cancelled() => break,
            }
        }
        for (_, token) in self.under_way.drain() {
            token.cancel();
        }
    }

    /// Who came, who went.
    async fn look_around(&mut self) {
        let now: BTreeMap<Origin, Offer> =
            self.runs.args.directory.offers().into_iter().map(|offer| (offer.origin, offer)).collect();
        let gone: Vec<Origin> = self.offers.keys().filter(|origin| !now.contains_key(origin)).copied().collect();
        let new: Vec<Offer> = now.values().filter(|offer| !self.offers.contains_key(&offer.origin)).cloned().collect();
        self.offers = now;
        for origin in gone {
            self.give(Input::NodeDown(origin)).await;
        }
        for offer in new {
            let toolsets = offer.toolsets.into_iter().collect();
            let node = NodeInfo { id: offer.origin, slots: offer.slots, toolsets, bandwidth: None };
            self.give(Input::NodeUp(node)).await;
        }
    }

    async fn report(&mut self, report: Report) {
        let Report { step, attempt, progress } = report;
        if let Progress::Failed(Failed { class: FailureClass::LostBytes { missing }, .. }) = &progress {
            self.lost.extend(missing);
        }
        if matches!(progress, Progress::Done(_) | Progress::Failed(_)) {
            self.under_way.remove(&(step, attempt));
        }
        self.give(Input::Event { step, attempt, event: event(progress) }).await;
    }

    async fn give(&mut self, input: Input) {
        for output in self.scheduler.handle(clock::steady_ms(), input) {
            self.perform(output).await;
        }
    }

    async fn perform(&mut self, output: Output) {
        match output {
            Output::Execute { step, attempt, node, action, holders, timeout_ms } => {
                let id = action_id(&self.runs.args.namespace, &action);
                self.actions.insert(step, id);
                let planned = &self.plan.steps[step];
                let before = self.results.get(&step).copied();
                let assignment = Assignment {
                    producers: planned.inputs.iter().map(|input| self.producer(input)).collect(),
                    cache_id: planned.cache_id,
                    execution_id: self.run.view().execution_id,
                    trace_id: self.trace_id.clone(),
                    step_id: planned.id.clone(),
                    step,
                    attempt,
                    node,
                    action,
                    holders,
                    lost: before.filter(|cid| self.lost.contains(cid)),
                    timeout_ms,
                };
                self.execute(assignment);
            }
            Output::Abort { step, attempt, .. } => {
                if let Some(token) = self.under_way.remove(&(step, attempt)) {
                    token.cancel();
                }
            }
            Output::StepChanged(status) => self.step_changed(status).await,
            Output::Finished(outcome) => self.finish(outcome).await,
            Output::WakeAt(at_ms) => self.wake_at_ms = Some(at_ms),
        }
    }

    fn execute(&mut self, assignment: Assignment) {
        let args = &self.runs.args;
        let token = CancellationToken::new();
        self.under_way.insert((assignment.step, assignment.attempt), token.clone());
        let work = dispatch::run(
            assignment,
            args.own,
            args.worker.clone(),
            args.channels.clone(),
            self.reports.clone(),
            token,
        );
        args.tasks.spawn("dispatch", work);
    }

    fn producer(&self, input: &StepInput) -> Option<ActionId> {
        match input {
            StepInput::Step(id) => {
                let index = self.plan.steps.iter().position(|planned| planned.id == *id)?;
                self.actions.get(&index).copied()
            }
            StepInput::Source(_) => None,
        }
    }

    async fn step_changed(&mut self, status: StepStatus) {
        if let Some(cid) = status.cid {
            self.results.insert(status.step, cid);
        }
        let view = self.view(status);
        let finished = matches!(view.state, StepState::Succeeded | StepState::Failed);
        self.run.step(view, clock::unix_ms());
        if finished {
            self.save().await;
        }
    }

    fn view(&self, status: StepStatus) -> StepView {
        StepView {
            kind: status.kind.to_string(),
            cache_id: status.cache_id,
            action_id: self.actions.get(&status.step).copied(),
            state: status.state,
            node: status.node,
            attempt: status.attempt,
            cid: status.cid,
            ms: status.ms,
            progress: status.progress,
            message: status.message,
            id: status.id,
        }
    }

    /// Durable before anybody is told.
    async fn finish(&mut self, outcome: RunOutcome) {
        let now = clock::unix_ms();
        let mut ended = self.run.view();
        ended.finished_unix_ms = now;
        match outcome {
            RunOutcome::Succeeded { cid, content_hash } => {
                ended.state = RunState::Succeeded;
                ended.output = Some(cid);
                ended.content_hash = content_hash;
            }
            RunOutcome::Failed { message } => {
                ended.state = RunState::Failed;
                ended.message = message;
            }
            RunOutcome::Cancelled => ended.state = RunState::Cancelled,
        }
        info!(execution_id = ended.execution_id, state = ?ended.state, message = ended.message, "run ended");
        if let Err(error) = self.runs.save(ended.clone()).await {
            warn!(%error, "the end of a run is not durable");
        }
        self.run.change(now, |view| *view = ended);
    }

    async fn save(&self) {
        if let Err(error) = self.runs.save(self.run.view()).await {
            warn!(%error, "a run is not durable, after a restart it would plan more anew");
        }
    }
}

fn event(progress: Progress) -> StepEvent {
    match progress {
        Progress::Fetching => StepEvent::Fetching,
        Progress::Running { progress, message } => StepEvent::Running { progress, message },
        Progress::Following { holder } => StepEvent::Following { node: holder },
        Progress::Done(done) => StepEvent::Done {
            cid: done.cid,
            ms: done.ms,
            content_hash: done.content_hash,
            size: done.size,
            reused: if done.reused { Reuse::Reused } else { Reuse::Executed },
            node: done.node,
        },
        Progress::Failed(failed) => StepEvent::Failed { class: failed.class, message: failed.message },
    }
}

//! One run as people see it, and its history: every change in order, for whoever watches, from
//! the first one on.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use artdag_core::scheduler::StepState;

use artdag_core::identity::{ActionId, CacheId, Origin, RunId};
use cid::Cid;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Events kept of one run. State changes number a few per step; beyond this, progress reports are
/// not kept any more, so a long watch still ends with the truth.
const PROGRESS_EVENTS_MAX: usize = 20_000;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Steps are under way.
    Running,
    /// The output is there.
    Succeeded,
    /// It will not be.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// A step as people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its name in the recipe.
    pub id: String,
    /// Its node type.
    pub kind: String,
    /// How far it is.
    pub state: StepState,
    /// Who runs or ran it.
    pub node: Option<Origin>,
    /// From 1; 0 when nothing ran.
    pub attempt: u32,
    /// What it gave.
    pub cid: Option<Cid>,
    /// How long it took.
    pub ms: u64,
    /// 0 to 1.
    pub progress: f64,
    /// Why it failed, or the last line of its log.
    pub message: String,
    /// The planner's name.
    pub cache_id: CacheId,
    /// The name of what was executed, once its inputs were known.
    pub action_id: Option<ActionId>,
}

/// A run as people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// One per submission.
    pub execution_id: String,
    /// The same for equal submissions.
    pub run_id: RunId,
    /// How far it is.
    pub state: RunState,
    /// The recipe's name.
    pub recipe_name: String,
    /// The plan.
    pub plan: Cid,
    /// The film.
    pub output: Option<Cid>,
    /// SHA3-256 of the film.
    pub content_hash: Option<[u8; 32]>,
    /// When it was submitted.
    pub created_unix_ms: u64,
    /// When it ended; 0 while it runs.
    pub finished_unix_ms: u64,
    /// Why it failed.
    pub message: String,
    /// In plan order.
    pub steps: Vec<StepView>,
    /// Steps found in the cache when it was planned.
    pub hits: u32,
    /// The node that runs it.
    pub coordinator: Origin,
}

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// A step changed.
    Step(Box<StepView>),
    /// The run changed.
    Run(Box<RunView>),
}

/// An event with its place in the history.
#[derive(Clone, Debug)]
pub struct Happened {
    /// When.
    pub unix_ms: u64,
    /// What.
    pub event: Event,
}

/// A run that this node knows: its present state, its history and the way to stop it.
pub struct Run {
    inner: Mutex<Inner>,
    length: watch::Sender<usize>,
    cancel: CancellationToken,
}

struct Inner {
    view: RunView,
    history: Vec<Happened>,
    /// An ended run gets no more events.
    ended: bool,
}

impl Run {
    /// A run whose first event is its present state.
    #[must_use]
    pub fn new(view: RunView, unix_ms: u64) -> Self {
        let ended = view.state != RunState::Running;
        let first = Happened { unix_ms, event: Event::Run(Box::new(view.clone())) };
        Self {
            inner: Mutex::new(Inner { view, history: vec![first], ended }),
            length: watch::Sender::new(1),
            cancel: CancellationToken::new(),
        }
    }

    /// Its present state.
    #[must_use]
    pub fn view(&self) -> RunView {
        self.lock().view.clone()
    }

    /// Falls when somebody stops the run.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// A step changed. Mere progress is dropped once the history is long.
    pub fn step(&self, step: StepView, unix_ms: u64) {
        let mut inner = self.lock();
        let Some(slot) = inner.view.steps.iter_mut().find(|known| known.id == step.id) else { return };
        let only_progress = slot.state == step.state && slot.attempt == step.attempt;
        *slot = step.clone();
        if only_progress && inner.history.len() >= PROGRESS_EVENTS_MAX {
            return;
        }
        self.push(inner, Happened { unix_ms, event: Event::Step(Box::new(step)) });
    }

    /// The run as a whole changed.
    pub fn change(&self, unix_ms: u64, change: impl FnOnce(&mut RunView)) -> RunView {
        let mut inner = self.lock();
        change(&mut inner.view);
        inner.ended = inner.view.state != RunState::Running;
        let view = inner.view.clone();
        self.push(inner, Happened { unix_ms, event: Event::Run(Box::new(view.clone())) });
        view
    }

    /// Events from `from` on, and whether there will be more after them.
    #[must_use]
    pub fn since(&self, from: usize, max: usize) -> (Vec<Happened>, bool) {
        let inner = self.lock();
        let events: Vec<_> = inner.history.iter().skip(from).take(max).cloned().collect();
        let open = !inner.ended || from + events.len() < inner.history.len();
        (events, open)
    }

    /// Tells how long the history is, at each change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.length.subscribe()
    }

    fn push(&self, mut inner: MutexGuard<'_, Inner>, happened: Happened) {
        inner.history.push(happened);
        let length = inner.history.len();
        drop(inner);
        self.length.send_replace(length);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let step = StepView {
            id: "head".into(),
            kind: "SEGMENT".into(),
            state: StepState::Waiting,
            node: None,
            attempt: 0,
            cid: None,
            ms: 0,
            progress: 0.0,
            message: String::new(),
            cache_id: CacheId([1; 32]),
            action_id: None,
        };
        let view = RunView {
            execution_id: "e".into(),
            run_id: RunId([2; 32]),
            state: RunState::Running,
            recipe_name: "film".into(),
            plan: "bafkqaaa".parse().expect("the empty identity CID"),
            output: None,
            content_hash: None,
            created_unix_ms: 1,
            finished_unix_ms: 0,
            message: String::new(),
            steps: vec![step],
            hits: 0,
            coordinator: Origin([3; 32]),
        };
        Run::new(view, 1)
    }

    fn step(run: &Run, state: StepState, progress: f64) {
        let mut step = run.view().steps.remove(0);
        step.state = state;
        step.progress = progress;
        run.step(step, 2);
    }

    #[test]
    fn a_late_watcher_sees_everything_and_then_the_end() {
        let run = run();
        step(&run, StepState::Running, 0.0);
        step(&run, StepState::Succeeded, 1.0);
        assert_eq!(run.since(0, 100).0.len(), 3);
        assert!(run.since(0, 100).1, "a running run has more to come");
        run.change(3, |view| view.state = RunState::Succeeded);
        let (events, open) = run.since(0, 100);
        assert!(!open);
        assert!(matches!(&events[3].event, Event::Run(view) if view.state == RunState::Succeeded));
        assert!(run.since(0, 2).1, "a page that is not the last says so");
        assert!(run.watch().borrow().eq(&4));
    }

    #[test]
    fn a_long_history_keeps_changes_and_drops_mere_progress() {
        let run = run();
        step(&run, StepState::Running, 0.0);
        for _ in 0..PROGRESS_EVENTS_MAX + 10 {
            step(&run, StepState::Running, 0.5);
        }
        assert_eq!(run.since(0, usize::MAX).0.len(), PROGRESS_EVENTS_MAX);
        step(&run, StepState::Failed, 0.5);
        assert_eq!(run.since(0, usize::MAX).0.len(), PROGRESS_EVENTS_MAX + 1);
        assert_eq!(run.view().steps[0].state, StepState::Failed);
    }

    #[test]
    fn a_stored_run_reads_back_and_a_newer_form_is_not_guessed_at() {
        let view = run().view();
        let bytes = super::super::encode(&view);
        assert_eq!(super::super::decode(&bytes), Some(view));
        let mut newer = bytes.clone();
        newer[0] += 1;
        assert_eq!(super::super::decode(&newer), None);
        assert_eq!(super::super::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(super::super::decode(&[]), None);
    }
}

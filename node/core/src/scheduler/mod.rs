//! One run: which steps are needed, where each goes, what happens when one fails.
//!
//! [`Scheduler::handle`] takes the time and one [`Input`] and returns [`Output`]s to be done in
//! order; it is the only way in. The driver tells nodes, hits and locations, then
//! [`Input::Start`]; hits that come before it decide what is needed at all.
//!
//! What always holds:
//! - a step is handed out only when all its inputs have a CID; there are no levels to wait for;
//! - a node has at most its slots of this run's steps, and a step at most one attempt;
//! - [`Output::Finished`] comes exactly once, after it nothing; it comes after finitely many
//!   failures, because failures of a step, regenerations and lost inputs are all bounded;
//! - a failure stops what depends on the step and nothing else: the rest runs to its end, because
//!   its results are kept for the next run;
//! - order of work: the step with the longest expected way to the end first, then plan order.
//!
//! What it deliberately does not do: hold leases, fetch, or know the cluster. It is correct with
//! every hint about locations, loads and bandwidth wrong.

mod attempt;
mod exchange;
mod placement;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cid::Cid;

pub use exchange::{
    FailureClass, Input, Limits, NodeInfo, Output, Reuse, RunOutcome, StepEvent, StepState, StepStatus,
};

use crate::action::Action;
use crate::identity::Origin;
use crate::planner::{Plan, Step};
use placement::{Choice, Cluster, Node};
use step::{Attempt, From, StepRun};

/// The state of one run.
#[derive(Debug)]
pub struct Scheduler {
    plan_steps: Vec<Step>,
    steps: Vec<StepRun>,
    output: From,
    cluster: Cluster,
    limits: Limits,
    phase: Phase,
    /// Why the first step that failed did.
    first_failure: Option<String>,
    /// Since when no node has the tools; `None` while one has.
    no_tools_since_ms: Option<u64>,
    /// Whether a node ever had them.
    had_tools: bool,
    /// The time last asked for.
    wake_ms: Option<u64>,
    hits: usize,
    outputs: Vec<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Gathering,
    Running,
    Over,
}

impl Scheduler {
    /// A run of this plan, which must be one that `plan` made or `Plan::decode` took.
    pub fn new(plan: &Plan, limits: Limits) -> Self {
        let steps = step::steps_of(plan);
        let output = plan.steps.iter().position(|step| step.id == plan.output);
        let source = || plan.sources.iter().find(|source| source.id == plan.output);
        let output = match output {
            Some(step) => From::Step(step),
            None => From::Source(source().expect("a plan's output is in it").cid),
        };
        Self {
            plan_steps: plan.steps.clone(),
            steps,
            output,
            cluster: Cluster::new(&plan.toolset, limits.node_failures),
            limits,
            phase: Phase::Gathering,
            first_failure: None,
            no_tools_since_ms: None,
            had_tools: false,
            wake_ms: None,
            hits: 0,
            outputs: Vec::new(),
        }
    }

    /// Every step as it is now, in plan order.
    pub fn step_states(&self) -> impl ExactSizeIterator<Item = &StepStatus> {
        self.steps.iter().map(|step| &step.status)
    }

    /// Steps whose results were known when the run started.
    pub fn hits(&self) -> usize {
        self.hits
    }

    /// Whether [`Output::Finished`] was given.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// One thing happened.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Output> {
        if self.phase == Phase::Over {
            return Vec::new();
        }
        match input {
            Input::Start => self.start(),
            Input::Hit { step, cid, node, content_hash, size } => {
                self.hit(step, cid, node, content_hash, size);
            }
            Input::Located { cid, size, nodes } => self.cluster.locations.add(cid, size, nodes),
            Input::NodeUp(info) => self.node_up(info),
            Input::NodeDown(node) => self.node_down(node),
            Input::NodeLoad { node, queue_ms } => {
                if let Some(node) = self.cluster.nodes.get_mut(&node) {
                    node.queue_ms = queue_ms;
                }
            }
            Input::Event { step, attempt, event } => self.event(now_ms, step, attempt, event),
            Input::Cancel => self.finish(RunOutcome::Cancelled, "cancelled"),
            Input::Tick => self.expire(now_ms),
        }
        self.settle(now_ms);
        std::mem::take(&mut self.outputs)
    }

    fn start(&mut self) {
        if self.phase != Phase::Gathering {
            return;
        }
        self.phase = Phase::Running;
        self.hits = self.steps.iter().filter(|step| step.output().is_some()).count();
        self.skip_what_is_not_needed();
    }

    fn hit(&mut self, step: usize, cid: Cid, node: Origin, content_hash: Option<[u8; 32]>, size: Option<u64>) {
        let Some(run) = self.steps.get_mut(step).filter(|run| run.state().is_pending()) else {
            return;
        };
        run.status.state = StepState::Hit;
        run.status.cid = Some(cid);
        run.status.node = Some(node);
        run.status.content_hash = content_hash;
        run.status.size = size;
        run.status.progress = 1.0;
        self.cluster.locations.add(cid, size, [node]);
        self.changed(step);
        if self.phase == Phase::Running {
            self.skip_what_is_not_needed();
        }
    }

    /// A step is needed when its output is asked for, or a step needs it that has no output.
    fn skip_what_is_not_needed(&mut self) {
        let mut needed = BTreeSet::new();
        let mut unseen = vec![self.output];
        while let Some(from) = unseen.pop() {
            if let From::Step(step) = from
                && self.steps[step].output().is_none()
                && needed.insert(step)
            {
                unseen.extend(&self.steps[step].inputs);
            }
        }
        for step in 0..self.steps.len() {
            if self.steps[step].state().is_pending() && !needed.contains(&step) {
                self.steps[step].say("not needed");
                self.set_state(step, StepState::Skipped);
            }
        }
    }

    fn node_up(&mut self, info: NodeInfo) {
        match self.cluster.nodes.get_mut(&info.id) {
            Some(node) => node.info = info,
            None => drop(self.cluster.nodes.insert(info.id, Node::new(info))),
        }
        self.had_tools |= self.cluster.any_can_run();
    }

    /// Brings the run to rest: everything that can go on goes on.
    fn settle(&mut self, now_ms: u64) {
        if self.phase != Phase::Running {
            return;
        }
        if let Some((cid, content_hash)) = self.result() {
            return self.finish(RunOutcome::Succeeded { cid, content_hash }, "not needed");
        }
        self.promote();
        self.watch_tools(now_ms);
        self.place_ready(now_ms);
        let open = |step: &StepRun| step.state().is_pending() || step.state().is_active();
        if !self.steps.iter().any(open) {
            let message = self.first_failure.clone();
            let message = message.unwrap_or_else(|| "nothing is left to run".to_owned());
            return self.finish(RunOutcome::Failed { message }, "");
        }
        self.ask_for_wake(now_ms);
    }

    fn result(&self) -> Option<(Cid, Option<[u8; 32]>)> {
        match self.output {
            From::Source(cid) => Some((cid, None)),
            From::Step(step) => {
                let status = &self.steps[step].status;
                Some((status.cid?, status.content_hash))
            }
        }
    }

    /// Waiting and Ready follow from whether the inputs are there.
    fn promote(&mut self) {
        for step in 0..self.steps.len() {
            let state = self.steps[step].state();
            let next = match self.inputs_of(step) {
                Some(_) => StepState::Ready,
                None => StepState::Waiting,
            };
            if state.is_pending() && state != next {
                self.set_state(step, next);
            }
        }
    }

    /// The CIDs of a step's inputs, when all are there.
    fn inputs_of(&self, step: usize) -> Option<Vec<Cid>> {
        let cid = |from: &From| match *from {
            From::Source(cid) => Some(cid),
            From::Step(input) => self.steps[input].output(),
        };
        self.steps[step].inputs.iter().map(cid).collect()
    }

    /// Fails what no node can ever run: at once when the nodes are known and none has the tools,
    /// after a grace when none is known yet or those that had them are gone.
    fn watch_tools(&mut self, now_ms: u64) {
        if self.cluster.any_can_run() {
            self.no_tools_since_ms = None;
            return;
        }
        let since = *self.no_tools_since_ms.get_or_insert(now_ms);
        let known = !self.cluster.nodes.is_empty() && !self.had_tools;
        if !known && now_ms < since.saturating_add(self.limits.node_grace_ms) {
            return;
        }
        let message = self.no_tools_message();
        for step in 0..self.steps.len() {
            if self.steps[step].state() == StepState::Ready {
                self.fail(step, &message);
            }
        }
    }

    fn no_tools_message(&self) -> String {
        let toolset = &self.cluster.toolset;
        let nodes = self.cluster.nodes.values();
        let there: BTreeSet<&str> = nodes.flat_map(|node| node.info.toolsets.iter().map(String::as_str)).collect();
        let there = match there.len() {
            0 => "no tools at all".to_owned(),
            _ => there.into_iter().collect::<Vec<_>>().join(", "),
        };
        format!(
            "no node can run this: {toolset} is wanted, {} nodes are here with {there}: install it on a node or start one that has it",
            self.cluster.nodes.len()
        )
    }

    /// Hands ready steps to nodes, the most urgent first.
    fn place_ready(&mut self, now_ms: u64) {
        let is_ready = |step: &usize| self.steps[*step].state() == StepState::Ready;
        let mut ready: Vec<usize> = (0..self.steps.len()).filter(is_ready).collect();
        ready.sort_by_key(|&step| (std::cmp::Reverse(self.steps[step].urgency_ms), step));
        for step in ready {
            if !self.cluster.has_room(now_ms) {
                return;
            }
            // Failing one step may have stopped this one.
            if self.steps[step].state() != StepState::Ready {
                continue;
            }
            let inputs = self.inputs_of(step).expect("a ready step has its inputs");
            match self.cluster.choose(&self.steps[step], &inputs, &self.steps, now_ms) {
                Choice::On(node) => self.execute(now_ms, step, node, inputs),
                Choice::Exhausted => {
                    let why = self.steps[step].status.message.clone();
                    self.fail(step, &format!("every node that could has failed it: {why}"));
                }
                Choice::Later | Choice::NoTools => {}
            }
        }
    }

    fn execute(&mut self, now_ms: u64, step: usize, node: Origin, inputs: Vec<Cid>) {
        let holders = self.cluster.place(step, node, &inputs);
        let plan_step = &self.plan_steps[step];
        let action = Action {
            kind: plan_step.kind,
            executor: plan_step.executor.clone(),
            config: plan_step.config.clone(),
            inputs: inputs.clone(),
        };
        let timeout_ms = self.limits.step_timeout_ms;
        let patience_ms = timeout_ms.saturating_add(self.limits.timeout_margin_ms);
        let run = &mut self.steps[step];
        run.status.attempt += 1;
        run.status.node = Some(node);
        run.status.progress = 0.0;
        let deadline_ms = now_ms.saturating_add(patience_ms);
        run.attempt = Some(Attempt { node, deadline_ms, inputs });
        let attempt = run.status.attempt;
        self.set_state(step, StepState::Fetching);
        self.outputs.push(Output::Execute { step, attempt, node, action, holders, timeout_ms });
    }

    fn set_state(&mut self, step: usize, state: StepState) {
        self.steps[step].status.state = state;
        self.changed(step);
    }

    fn changed(&mut self, step: usize) {
        self.outputs.push(Output::StepChanged(self.steps[step].status.clone()));
    }

    /// Ends the run: aborts what is under way and skips what is not done.
    fn finish(&mut self, outcome: RunOutcome, why: &str) {
        self.phase = Phase::Over;
        for step in 0..self.steps.len() {
            self.abort(step);
            let state = self.steps[step].state();
            if state.is_pending() || state.is_active() {
                self.steps[step].say(why);
                self.steps[step].reset(StepState::Skipped);
                self.changed(step);
            }
        }
        self.outputs.push(Output::Finished(outcome));
    }

    fn ask_for_wake(&mut self, now_ms: u64) {
        let attempts = self.steps.iter().filter_map(|step| step.attempt.as_ref());
        let deadline = attempts.map(|attempt| attempt.deadline_ms).min();
        let ready = self.steps.iter().any(|step| step.state() == StepState::Ready);
        let open = self.cluster.next_open_ms(now_ms).filter(|_| ready);
        let grace = self.no_tools_since_ms.map(|since| since.saturating_add(self.limits.node_grace_ms));
        let grace = grace.filter(|&end| end > now_ms);
        let wake = [deadline, open, grace].into_iter().flatten().min();
        if wake.is_some() && wake != self.wake_ms {
            self.outputs.extend(wake.map(Output::WakeAt));
        }
        self.wake_ms = wake;
    }
}

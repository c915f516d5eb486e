//! What becomes of an attempt: its news, its end, and what a failure costs.
//!
//! | failure | costs | then |
//! |---|---|---|
//! | input | the step | the step fails at once |
//! | executor, node, time-out | an attempt; the node is blamed | another node |
//! | broken connection, node gone | an attempt | another node if there is one |
//! | lost bytes | one of the bounded regenerations | the producer runs again |
//! | busy | nothing | the node is left alone for a while |

use std::collections::BTreeSet;

use cid::Cid;

use super::exchange::{FailureClass, Output, Reuse, StepEvent, StepState};
use super::step::From;
use super::{Phase, Scheduler};
use crate::identity::Origin;

/// Who is to blame for a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Node,
    Connection,
}

impl Scheduler {
    /// News of an attempt; of another than the one under way it is passed over.
    pub(super) fn event(&mut self, now_ms: u64, step: usize, attempt: u32, event: StepEvent) {
        let Some(run) = self.steps.get_mut(step) else { return };
        let Some(current) = run.attempt.as_ref().filter(|_| run.status.attempt == attempt) else {
            return;
        };
        let node = current.node;
        match event {
            StepEvent::Fetching => self.set_state(step, StepState::Fetching),
            StepEvent::Running { progress, message } => {
                let inputs = current.inputs.clone();
                let known = if progress.is_nan() { 0.0 } else { progress };
                run.status.progress = known.clamp(0.0, 1.0);
                run.say(&message);
                for cid in inputs {
                    self.cluster.locations.add(cid, None, [node]);
                }
                self.set_state(step, StepState::Running);
            }
            StepEvent::Following { node } => {
                run.status.node = Some(node);
                self.set_state(step, StepState::Following);
            }
            StepEvent::Done { cid, ms, content_hash, size, reused, node: ran_on } => {
                let status = &mut run.status;
                status.cid = Some(cid);
                status.ms = ms;
                status.content_hash = content_hash;
                status.size = Some(size);
                status.node = Some(ran_on);
                status.progress = 1.0;
                self.done(step, node, reused);
            }
            StepEvent::Failed { class, message } => self.failed(now_ms, step, node, class, &message),
        }
    }

    fn done(&mut self, step: usize, node: Origin, reused: Reuse) {
        self.end_attempt(step);
        if let Some(node) = self.cluster.nodes.get_mut(&node) {
            node.busy_times = 0;
        }
        let status = &self.steps[step].status;
        let (cid, size, kind, ms) = (status.cid, status.size, status.kind, status.ms);
        self.cluster.locations.add(cid.expect("a done step has an output"), size, status.node);
        self.steps[step].say("");
        match reused {
            Reuse::Executed => {
                self.cluster.learn_ms(kind, ms);
                self.set_state(step, StepState::Succeeded);
            }
            Reuse::Reused => self.set_state(step, StepState::Hit),
        }
    }

    fn failed(&mut self, now_ms: u64, step: usize, node: Origin, class: FailureClass, message: &str) {
        self.end_attempt(step);
        match class {
            FailureClass::Input => self.fail(step, message),
            FailureClass::Executor | FailureClass::Node => {
                self.cost(step, node, Blame::Node, message);
            }
            FailureClass::Disconnected => self.cost(step, node, Blame::Connection, message),
            FailureClass::LostBytes { missing } => self.lost(step, node, &missing, message),
            FailureClass::Busy => self.busy(now_ms, step, node),
        }
    }

    fn busy(&mut self, now_ms: u64, step: usize, node: Origin) {
        if let Some(node) = self.cluster.nodes.get_mut(&node) {
            let wait_ms = self.limits.busy_first_ms << node.busy_times.min(16);
            node.busy_until_ms = now_ms.saturating_add(wait_ms.min(self.limits.busy_most_ms).max(1));
            node.busy_times = node.busy_times.saturating_add(1);
        }
        // It was never taken up, so its number is free again.
        self.steps[step].status.attempt -= 1;
        self.retry(step, "the node is busy");
    }

    fn retry(&mut self, step: usize, message: &str) {
        self.steps[step].reset(StepState::Ready);
        self.steps[step].say(message);
        self.changed(step);
        // An input may have been lost, even for good, while the attempt was under way.
        self.require_inputs(step);
    }

    /// One attempt less; the step fails with the last.
    fn cost(&mut self, step: usize, node: Origin, blame: Blame, message: &str) {
        let run = &mut self.steps[step];
        run.failures += 1;
        match blame {
            Blame::Node => drop(run.failed_on.insert(node)),
            Blame::Connection => run.left = Some(node),
        }
        if blame == Blame::Node
            && let Some(node) = self.cluster.nodes.get_mut(&node)
        {
            node.failed.insert(step);
        }
        if run.failures >= self.limits.step_failures {
            return self.fail(step, message);
        }
        self.retry(step, message);
    }

    /// Inputs are gone: their producers run again, and this step waits for them.
    fn lost(&mut self, step: usize, node: Origin, missing: &[Cid], message: &str) {
        let producers = self.producers_of(step, missing);
        if producers.is_empty() {
            // Only sources are missing, and nothing makes a source again; another node may reach
            // whoever has it.
            return self.cost(step, node, Blame::Connection, message);
        }
        let run = &mut self.steps[step];
        run.lost_inputs += 1;
        run.reset(StepState::Waiting);
        run.say(message);
        if run.lost_inputs > self.limits.regenerations {
            return self.fail(step, &format!("its inputs are lost again and again: {message}"));
        }
        self.changed(step);
        for producer in producers {
            self.regenerate(producer);
        }
        self.require_inputs(step);
    }

    /// Steps that made the missing inputs; all that made any when none is recognised.
    fn producers_of(&self, step: usize, missing: &[Cid]) -> Vec<usize> {
        let inputs = &self.steps[step].inputs;
        let named_source = |from: &From| matches!(from, From::Source(cid) if missing.contains(cid));
        let named = |producer: &usize| self.steps[*producer].output().is_some_and(|cid| missing.contains(&cid));
        let steps = inputs.iter().filter_map(|from| match *from {
            From::Step(producer) => Some(producer),
            From::Source(_) => None,
        });
        let producers: BTreeSet<usize> = steps.collect();
        let recognised: Vec<usize> = producers.iter().copied().filter(named).collect();
        if recognised.is_empty() && !inputs.iter().any(named_source) {
            return producers.into_iter().collect();
        }
        recognised
    }

    /// Takes a step's output back so that it runs again.
    fn regenerate(&mut self, step: usize) {
        let run = &mut self.steps[step];
        // Another consumer may have found it lost before.
        let Some(cid) = run.output() else { return };
        run.regenerations += 1;
        run.reset(StepState::Waiting);
        let exhausted = run.regenerations > self.limits.regenerations;
        self.cluster.locations.forget(&cid);
        if exhausted {
            return self.fail(step, "its output is lost again and again");
        }
        self.steps[step].say("its output was lost");
        self.changed(step);
    }

    /// Makes sure that everything a pending step needs is there or on its way: what was not needed
    /// so far may be now, and what can never come dooms those that need it.
    fn require_inputs(&mut self, step: usize) {
        let mut unseen = vec![step];
        let mut seen = BTreeSet::from([step]);
        while let Some(step) = unseen.pop() {
            for from in self.steps[step].inputs.clone() {
                let From::Step(input) = from else { continue };
                let run = &mut self.steps[input];
                match run.state() {
                    StepState::Skipped if !run.doomed => {
                        run.say("");
                        self.set_state(input, StepState::Waiting);
                    }
                    StepState::Failed | StepState::Skipped => self.doom_dependents(input),
                    _ => {}
                }
                if self.steps[input].state() == StepState::Waiting && seen.insert(input) {
                    unseen.push(input);
                }
            }
        }
    }

    /// The step has no result and gets no more attempts; what depends on it can never run.
    pub(super) fn fail(&mut self, step: usize, message: &str) {
        let run = &mut self.steps[step];
        run.say(message);
        run.attempt = None;
        let why = format!("step {:?} ({}) failed: {}", run.status.id, run.status.kind, run.status.message);
        self.first_failure.get_or_insert(why);
        self.set_state(step, StepState::Failed);
        self.doom_dependents(step);
    }

    fn doom_dependents(&mut self, failed: usize) {
        let message = format!("needs {:?}, which has no result", self.steps[failed].status.id);
        let mut unseen = self.steps[failed].consumers.clone();
        while let Some(consumer) = unseen.pop() {
            let run = &mut self.steps[consumer];
            if run.state().is_pending() {
                run.doomed = true;
                run.say(&message);
                unseen.extend(&run.consumers);
                self.set_state(consumer, StepState::Skipped);
            }
        }
    }

    /// The node is gone with everything that ran on it.
    pub(super) fn node_down(&mut self, node: Origin) {
        let Some(gone) = self.cluster.nodes.remove(&node) else { return };
        if self.phase != Phase::Running {
            return;
        }
        for step in gone.active {
            self.abort(step);
            self.cost(step, node, Blame::Connection, &format!("node {node} is gone"));
        }
    }

    /// Gives up on attempts whose time has passed.
    pub(super) fn expire(&mut self, now_ms: u64) {
        self.wake_ms = None;
        for step in 0..self.steps.len() {
            let attempt = self.steps[step].attempt.as_ref();
            let Some(attempt) = attempt.filter(|attempt| attempt.deadline_ms <= now_ms) else {
                continue;
            };
            let node = attempt.node;
            self.abort(step);
            self.cost(step, node, Blame::Node, &format!("node {node} gave no answer in time"));
        }
    }

    /// Stops the attempt under way, if there is one.
    pub(super) fn abort(&mut self, step: usize) {
        let attempt = self.steps[step].status.attempt;
        if let Some(node) = self.end_attempt(step) {
            self.outputs.push(Output::Abort { step, attempt, node });
        }
    }

    /// Forgets the attempt under way. Says where it was.
    fn end_attempt(&mut self, step: usize) -> Option<Origin> {
        let node = self.steps[step].attempt.take()?.node;
        self.cluster.release(step, &node);
        Some(node)
    }
}

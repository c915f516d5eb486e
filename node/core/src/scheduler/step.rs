//! One step of a run while it runs.
//!
//! What always holds: a step has an output exactly in the states Succeeded and Hit, and an attempt
//! under way exactly in the active states.

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;

use super::exchange::{StepState, StepStatus};
use crate::identity::Origin;
use crate::limits::MAX_STEP_MESSAGE;
use crate::planner::{Plan, StepInput};

/// Where an input comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    Source(Cid),
    Step(usize),
}

/// An attempt under way.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub node: Origin,
    /// When the coordinator gives up on it.
    pub deadline_ms: u64,
    /// The CIDs it was given.
    pub inputs: Vec<Cid>,
}

#[derive(Debug, Clone)]
pub(super) struct StepRun {
    pub status: StepStatus,
    pub inputs: Vec<From>,
    pub consumers: Vec<usize>,
    /// Expected time from the start of this step to the end of the run.
    pub urgency_ms: u64,
    pub attempt: Option<Attempt>,
    /// Attempts that failed.
    pub failures: u32,
    /// Nodes that are to blame for one of them.
    pub failed_on: BTreeSet<Origin>,
    /// The node whose connection broke last: not the first choice for the next attempt.
    pub left: Option<Origin>,
    /// Times its output was lost and it was run again.
    pub regenerations: u32,
    /// Times it found its inputs gone.
    pub lost_inputs: u32,
    /// Something it needs failed, so it can never run.
    pub doomed: bool,
}

impl StepRun {
    pub fn state(&self) -> StepState {
        self.status.state
    }

    pub fn output(&self) -> Option<Cid> {
        self.status.cid
    }

    pub fn say(&mut self, message: &str) {
        let end = message.floor_char_boundary(MAX_STEP_MESSAGE);
        message[..end].clone_into(&mut self.status.message);
    }

    /// Back to before it was handed to a node or had an output.
    pub fn reset(&mut self, state: StepState) {
        self.attempt = None;
        let status = &mut self.status;
        status.state = state;
        status.node = None;
        status.cid = None;
        status.content_hash = None;
        status.size = None;
        status.progress = 0.0;
    }
}

/// The steps of a plan before anything happened.
pub(super) fn steps_of(plan: &Plan) -> Vec<StepRun> {
    let index: BTreeMap<&str, usize> =
        plan.steps.iter().enumerate().map(|(index, step)| (step.id.as_str(), index)).collect();
    let sources: BTreeMap<&str, Cid> = plan.sources.iter().map(|source| (source.id.as_str(), source.cid)).collect();
    let from = |input: &StepInput| match input {
        StepInput::Source(id) => sources.get(id.as_str()).map(|cid| From::Source(*cid)),
        StepInput::Step(id) => index.get(id.as_str()).map(|step| From::Step(*step)),
    };
    let step_run = |(number, step): (usize, &crate::planner::Step)| StepRun {
        status: StepStatus {
            step: number,
            id: step.id.clone(),
            kind: step.kind,
            cache_id: step.cache_id,
            state: StepState::Waiting,
            node: None,
            attempt: 0,
            cid: None,
            content_hash: None,
            size: None,
            ms: 0,
            progress: 0.0,
            message: String::new(),
        },
        inputs: step.inputs.iter().map(|input| from(input).expect("a plan's inputs are in it")).collect(),
        consumers: Vec::new(),
        urgency_ms: step.kind.expected_ms(),
        attempt: None,
        failures: 0,
        failed_on: BTreeSet::new(),
        left: None,
        regenerations: 0,
        lost_inputs: 0,
        doomed: false,
    };
    let mut steps: Vec<StepRun> = plan.steps.iter().enumerate().map(step_run).collect();
    link(&mut steps);
    steps
}

/// Fills in consumers and urgencies. Inputs stand before their consumers, so going backwards each
/// urgency is final when it is read.
fn link(steps: &mut [StepRun]) {
    for number in (0..steps.len()).rev() {
        let urgency_ms = steps[number].urgency_ms;
        for input in steps[number].inputs.clone() {
            let From::Step(input) = input else { continue };
            let before = &mut steps[input];
            // A step may take one output twice.
            if before.consumers.last() != Some(&number) {
                before.consumers.push(number);
            }
            let own = before.status.kind.expected_ms();
            before.urgency_ms = before.urgency_ms.max(own.saturating_add(urgency_ms));
        }
    }
}

//! Scenarios that read as stories, then many random runs against an oracle. A failing seed is
//! named by the panic; put it into `SEEDS_KEPT`.

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;
use multihash_codetable::{Code, MultihashDigest};

use super::*;
use crate::action::Toolset;
use crate::identity::Namespace;
use crate::planner::{self, Request};
use crate::recipe;

mod simulation;

pub(super) fn content(text: &str) -> Cid {
    Cid::new_v1(0x55, Code::Sha2_256.digest(text.as_bytes()))
}

pub(super) fn node(number: u8) -> Origin {
    Origin([number; 32])
}

pub(super) fn info(number: u8, slots: u32) -> NodeInfo {
    NodeInfo { id: node(number), slots, toolsets: ["ffmpeg-5.1".to_owned()].into(), bandwidth: None }
}

/// A plan from lines `id: input, input`; `clip` is the source, the last line the output.
pub(super) fn plan_of(lines: &str) -> Plan {
    let mut text = "inputs: { clip: {} }\nnodes:\n  - { id: clip, type: SOURCE, config: { input: clip } }\n".to_owned();
    let mut last = "";
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (id, inputs) = line.split_once(':').expect("id: inputs");
        text += &format!("  - {{ id: {id}, type: LAYER, inputs: [{inputs}] }}\n");
        last = id;
    }
    text += &format!("output: {last}\n");
    let recipe = recipe::parse(text.as_bytes(), "r").unwrap_or_else(|errors| panic!("{errors}"));
    let toolset: Toolset = "ffmpeg-5.1".parse().expect("a toolset");
    let request = Request {
        recipe: &recipe,
        recipe_cid: content("recipe"),
        inputs: &[("clip".to_owned(), content("clip"))].into(),
        parameters: &BTreeMap::new(),
        seed: 0,
        namespace: &Namespace([0; 32]),
        toolset: &toolset,
        threads: 1,
    };
    planner::plan(&request).unwrap_or_else(|error| panic!("{error}"))
}

/// A run with what was asked of it so far.
struct Story {
    plan: Plan,
    run: Scheduler,
    now_ms: u64,
    asked: Vec<Output>,
}

impl Story {
    fn new(lines: &str, nodes: &[NodeInfo]) -> Self {
        let plan = plan_of(lines);
        let run = Scheduler::new(&plan, Limits::default());
        let mut story = Self { plan, run, now_ms: 0, asked: Vec::new() };
        nodes.iter().for_each(|info| story.tell(Input::NodeUp(info.clone())));
        story
    }

    fn started(lines: &str, nodes: &[NodeInfo]) -> Self {
        let mut story = Self::new(lines, nodes);
        story.tell(Input::Start);
        story
    }

    fn tell(&mut self, input: Input) {
        let outputs = self.run.handle(self.now_ms, input);
        self.asked.extend(outputs);
    }

    fn step(&self, id: &str) -> usize {
        self.plan.steps.iter().position(|step| step.id == id).expect("a step")
    }

    fn state(&self, id: &str) -> StepState {
        self.status(id).state
    }

    fn status(&self, id: &str) -> &StepStatus {
        self.run.step_states().find(|status| status.id == id).expect("a step")
    }

    /// The attempts asked for since the last call: step, attempt, node.
    fn executed(&mut self) -> Vec<(String, u32, Origin)> {
        let asked = std::mem::take(&mut self.asked);
        let execute = |output| match output {
            Output::Execute { step, attempt, node, .. } => Some((self.plan.steps[step].id.clone(), attempt, node)),
            _ => None,
        };
        asked.into_iter().filter_map(execute).collect()
    }

    fn event(&mut self, id: &str, event: StepEvent) {
        let attempt = self.status(id).attempt;
        self.tell(Input::Event { step: self.step(id), attempt, event });
    }

    fn done(&mut self, id: &str) {
        let node = self.status(id).node.expect("it runs somewhere");
        self.event(
            id,
            StepEvent::Done {
                cid: content(id),
                ms: 10,
                content_hash: Some([1; 32]),
                size: 1000,
                reused: Reuse::Executed,
                node,
            },
        );
    }

    fn failed(&mut self, id: &str, class: FailureClass) {
        self.event(id, StepEvent::Failed { class, message: "it broke".to_owned() });
    }

    fn hit(&mut self, id: &str) {
        let (step, cid) = (self.step(id), content(id));
        self.tell(Input::Hit { step, cid, node: node(9), content_hash: None, size: None });
    }

    fn outcome(&self) -> Option<&RunOutcome> {
        self.asked.iter().find_map(|output| match output {
            Output::Finished(outcome) => Some(outcome),
            _ => None,
        })
    }

    fn failure(&self) -> &str {
        match self.outcome() {
            Some(RunOutcome::Failed { message }) => message,
            other => panic!("{other:?}"),
        }
    }

    fn wake_ms(&self) -> Option<u64> {
        self.asked.iter().rev().find_map(|output| match output {
            Output::WakeAt(time) => Some(*time),
            _ => None,
        })
    }
}

const WIDE: &str = "a: clip\nb: clip\nc: clip\nout: a, b, c";

#[test]
fn equal_work_goes_to_all_idle_nodes() {
    for slots in [1, 2, 8] {
        let mut story = Story::new(WIDE, &[info(1, slots), info(2, slots), info(3, slots)]);
        let cid = content("clip");
        story.tell(Input::Located { cid, size: Some(10_000_000), nodes: vec![node(1)] });
        story.tell(Input::Start);
        let nodes: BTreeSet<_> = story.executed().into_iter().map(|(_, _, node)| node).collect();
        assert_eq!(nodes.len(), 3, "{slots} slots");
    }
}

#[test]
fn a_chain_of_equal_nodes_takes_turns_but_large_inputs_stay() {
    let chain = "a: clip\nb: a\nc: b\nd: c";
    let mut story = Story::started(chain, &[info(1, 1), info(2, 1)]);
    story.executed();
    for id in ["a", "b", "c"] {
        let node = story.status(id).node.expect("it runs");
        story.event(
            id,
            StepEvent::Done {
                cid: content(id),
                ms: 1,
                content_hash: None,
                size: 2_000_000_000,
                reused: Reuse::Executed,
                node,
            },
        );
        assert_eq!(story.executed()[0].2, node, "two gigabytes are not moved");
    }
}

#[test]
fn ready_driven_not_by_level() {
    let mut story = Story::started("a: clip\nb: clip\nc: a\nout: b, c", &[info(1, 2)]);
    assert_eq!(story.executed().len(), 2);
    story.done("a");
    assert_eq!(story.executed(), [("c".to_owned(), 1, node(1))]);
    assert_eq!(story.state("b"), StepState::Fetching);
}

#[test]
fn the_longest_way_goes_first() {
    let story = &mut Story::started("x: clip, clip\na: clip\nb: a\nout: x, b", &[info(1, 1)]);
    assert_eq!(story.executed()[0].0, "a");
}

#[test]
fn a_run_ends_with_its_output() {
    let mut story = Story::started("a: clip\nb: a", &[info(1, 1)]);
    story.done("a");
    story.event("b", StepEvent::Fetching);
    story.event("b", StepEvent::Running { progress: f64::NAN, message: "frame 1".to_owned() });
    assert_eq!((story.state("b"), story.status("b").progress), (StepState::Running, 0.0));
    story.done("b");
    let (cid, content_hash) = (content("b"), Some([1; 32]));
    assert_eq!(story.outcome(), Some(&RunOutcome::Succeeded { cid, content_hash }));
    assert!(story.run.is_over());
    assert!(story.run.handle(9, Input::Cancel).is_empty());
}

#[test]
fn an_output_that_is_known_needs_nothing() {
    let mut story = Story::new("a: clip\nb: a", &[]);
    story.hit("a");
    story.hit("b");
    story.tell(Input::Start);
    assert!(matches!(story.outcome(), Some(RunOutcome::Succeeded { .. })));
    assert_eq!((story.run.hits(), story.state("a"), story.state("b")), (2, StepState::Hit, StepState::Hit));
}

#[test]
fn what_hits_make_needless_is_skipped() {
    let mut story = Story::new("a: clip\nb: a\nc: clip\nout: b, c", &[info(1, 4)]);
    story.hit("b");
    story.tell(Input::Start);
    assert_eq!(story.executed(), [("c".to_owned(), 1, node(1))]);
    assert_eq!((story.state("a"), story.run.hits()), (StepState::Skipped, 1));
}

#[test]
fn a_plan_without_steps_is_its_source() {
    let plan = {
        let mut plan = plan_of("a: clip");
        plan.steps.clear();
        plan.output = "clip".to_owned();
        plan
    };
    let outputs = Scheduler::new(&plan, Limits::default()).handle(0, Input::Start);
    let expected = RunOutcome::Succeeded { cid: content("clip"), content_hash: None };
    assert_eq!(outputs, [Output::Finished(expected)]);
}

#[test]
fn a_node_that_dies_costs_an_attempt_and_the_step_goes_elsewhere() {
    let mut story = Story::started("a: clip", &[info(1, 1), info(2, 1)]);
    let first = story.executed()[0].2;
    story.tell(Input::NodeDown(first));
    let again = story.executed();
    assert_eq!((again[0].0.as_str(), again[0].1), ("a", 2));
    assert_ne!(again[0].2, first);
    story.tell(Input::Event { step: 0, attempt: 1, event: StepEvent::Fetching });
    assert!(story.asked.is_empty(), "news of an attempt that is over is passed over");
    story.done("a");
    assert_eq!(story.status("a").attempt, 2);
}

#[test]
fn busy_costs_no_attempt_and_waits() {
    let mut story = Story::started("a: clip", &[info(1, 1)]);
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(story.executed(), [("a".to_owned(), 1, node(1))]);
        story.failed("a", FailureClass::Busy);
        assert_eq!(story.state("a"), StepState::Ready);
        let wake_ms = story.wake_ms().expect("it asks to be woken");
        waits.push(wake_ms - story.now_ms);
        story.now_ms = wake_ms;
        story.asked.clear();
        story.tell(Input::Tick);
    }
    assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
}

#[test]
fn a_node_fails_a_step_once_and_three_nodes_fail_it() {
    let mut story = Story::started("a: clip", &[info(1, 1), info(2, 1), info(3, 1), info(4, 1)]);
    let mut nodes = BTreeSet::new();
    for attempt in 1..=3 {
        let executed = story.executed();
        assert_eq!(executed[0].1, attempt);
        assert!(nodes.insert(executed[0].2), "the same node again");
        story.failed("a", FailureClass::Executor);
    }
    assert_eq!(story.state("a"), StepState::Failed);
    assert_eq!(story.failure(), "step \"a\" (LAYER) failed: it broke");
}

#[test]
fn two_nodes_that_both_failed_it_are_not_asked_again_but_an_only_one_is() {
    let mut two = Story::started("a: clip", &[info(1, 1), info(2, 1)]);
    two.failed("a", FailureClass::Node);
    two.failed("a", FailureClass::Node);
    assert!(two.failure().contains("every node that could has failed it: it broke"));
    let mut one = Story::started("a: clip", &[info(1, 1)]);
    one.failed("a", FailureClass::Executor);
    one.failed("a", FailureClass::Executor);
    assert_eq!(one.executed().len(), 3);
    one.failed("a", FailureClass::Executor);
    assert!(matches!(one.outcome(), Some(RunOutcome::Failed { .. })));
}

#[test]
fn a_wrong_input_fails_at_once_and_only_what_depends_on_it() {
    let mut story = Story::started("a: clip\nb: a\nc: clip\nd: c\nout: b, d", &[info(1, 4), info(2, 4)]);
    story.failed("a", FailureClass::Input);
    assert_eq!((story.state("a"), story.status("a").attempt), (StepState::Failed, 1));
    assert_eq!((story.state("b"), story.state("out")), (StepState::Skipped, StepState::Skipped));
    assert_eq!(story.outcome(), None, "c and d go on");
    story.done("c");
    story.done("d");
    assert_eq!(story.state("d"), StepState::Succeeded);
    assert!(story.failure().contains("step \"a\""));
}

#[test]
fn three_failed_steps_put_a_node_aside() {
    let lines = "a: clip\nb: clip\nc: clip\nd: clip\nout: a, b, c, d";
    let mut story = Story::started(lines, &[info(1, 4)]);
    story.tell(Input::NodeUp(info(2, 1)));
    story.executed();
    for id in ["a", "b", "c"] {
        story.failed(id, FailureClass::Executor);
    }
    story.failed("d", FailureClass::Disconnected);
    // Node 1 has three free slots and still gets nothing: they wait for node 2.
    let executed = story.executed();
    assert!(executed.iter().all(|(_, _, on)| *on == node(2)), "{executed:?}");
    for id in ["a", "b", "c", "d"] {
        story.done(id);
    }
    let executed = story.executed();
    assert!(executed.iter().all(|(_, _, on)| *on == node(2)), "{executed:?}");
    assert_eq!(story.state("out"), StepState::Fetching);
}

#[test]
fn lost_bytes_are_made_again() {
    let mut story = Story::started("a: clip\nb: clip\nout: a, b", &[info(1, 2)]);
    story.done("a");
    story.done("b");
    story.executed();
    story.failed("out", FailureClass::LostBytes { missing: vec![content("b")] });
    assert_eq!((story.state("a"), story.state("out")), (StepState::Succeeded, StepState::Waiting));
    assert_eq!(story.executed(), [("b".to_owned(), 2, node(1))]);
    story.done("b");
    story.done("out");
    assert!(matches!(story.outcome(), Some(RunOutcome::Succeeded { .. })));
}

#[test]
fn a_lost_hit_brings_back_what_it_made_needless() {
    let mut story = Story::new("a: clip\nb: a\nout: b", &[info(1, 1)]);
    story.hit("b");
    story.tell(Input::Start);
    assert_eq!(story.state("a"), StepState::Skipped);
    story.executed();
    story.failed("out", FailureClass::LostBytes { missing: Vec::new() });
    assert_eq!(story.executed(), [("a".to_owned(), 1, node(1))]);
    for id in ["a", "b", "out"] {
        story.done(id);
    }
    assert!(matches!(story.outcome(), Some(RunOutcome::Succeeded { .. })));
}

#[test]
fn bytes_that_are_lost_again_and_again_end_the_run() {
    let mut story = Story::started("a: clip\nout: a", &[info(1, 1)]);
    for _ in 0..4 {
        story.done("a");
        story.failed("out", FailureClass::LostBytes { missing: vec![content("a")] });
    }
    assert!(story.failure().contains("again and again"), "{}", story.failure());
}

#[test]
fn a_source_that_nobody_has_costs_attempts() {
    let mut story = Story::started("a: clip", &[info(1, 1)]);
    for _ in 0..3 {
        story.failed("a", FailureClass::LostBytes { missing: vec![content("clip")] });
    }
    assert!(story.failure().contains("it broke"));
}

#[test]
fn what_no_node_can_run_fails_at_once_and_says_why() {
    let builtin = NodeInfo { toolsets: ["builtin-1".to_owned()].into(), ..info(1, 1) };
    let story = Story::started("a: clip\nb: a", &[builtin]);
    assert!(story.failure().contains("ffmpeg-5.1 is wanted, 1 nodes are here with builtin-1"));
    assert_eq!((story.state("a"), story.state("b")), (StepState::Failed, StepState::Skipped));
}

#[test]
fn with_no_node_known_it_waits_a_while() {
    let mut story = Story::started("a: clip", &[]);
    assert_eq!((story.outcome(), story.wake_ms()), (None, Some(10_000)));
    story.now_ms = 9_000;
    story.tell(Input::NodeUp(info(1, 1)));
    assert_eq!(story.executed().len(), 1);
    story.tell(Input::NodeDown(node(1)));
    story.now_ms = 18_999;
    story.tell(Input::Tick);
    assert_eq!(story.outcome(), None);
    story.now_ms = 19_000;
    story.tell(Input::Tick);
    assert!(story.failure().contains("0 nodes are here"));
}

#[test]
fn an_attempt_without_an_answer_ends() {
    let mut story = Story::started("a: clip", &[info(1, 1), info(2, 1)]);
    let wake_ms = story.wake_ms().expect("a deadline");
    let first = story.executed()[0].2;
    story.now_ms = wake_ms;
    story.tell(Input::Tick);
    assert_eq!(story.asked[0], Output::Abort { step: 0, attempt: 1, node: first });
    let again = story.executed();
    assert_eq!(again[0].1, 2);
    assert_ne!(again[0].2, first);
}

#[test]
fn cancel_aborts_all() {
    let mut story = Story::started(WIDE, &[info(1, 2)]);
    story.executed();
    story.tell(Input::Cancel);
    let aborts = story.asked.iter().filter(|output| matches!(output, Output::Abort { .. }));
    assert_eq!(aborts.count(), 2);
    assert_eq!(story.asked.last(), Some(&Output::Finished(RunOutcome::Cancelled)));
    assert!(story.run.step_states().all(|status| status.state == StepState::Skipped));
}

#[test]
fn holders_are_named_and_a_reused_result_is_a_hit() {
    let mut story = Story::new("a: clip\nout: a", &[info(1, 1), info(2, 1)]);
    let cid = content("clip");
    story.tell(Input::Located { cid, size: None, nodes: vec![node(2), node(7)] });
    story.tell(Input::Start);
    let held = story.asked.iter().find_map(|output| match output {
        Output::Execute { holders, node, .. } => Some((holders.clone(), *node)),
        _ => None,
    });
    assert_eq!(held, Some((vec![vec![node(2)]], node(2))), "a holder that is gone is not named");
    story.event("a", StepEvent::Following { node: node(1) });
    assert_eq!((story.state("a"), story.status("a").node), (StepState::Following, Some(node(1))));
    story.event(
        "a",
        StepEvent::Done { cid: content("a"), ms: 3, content_hash: None, size: 1, reused: Reuse::Reused, node: node(1) },
    );
    assert_eq!(story.state("a"), StepState::Hit);
}

#[test]
fn a_late_hit_spares_the_work() {
    let mut story = Story::started("a: clip\nb: clip\nout: a, b", &[info(1, 1)]);
    let running = story.executed()[0].0.clone();
    assert_eq!(running, "a");
    story.hit("b");
    story.done("a");
    assert_eq!(story.executed()[0].0, "out");
    assert_eq!(story.state("b"), StepState::Hit);
}

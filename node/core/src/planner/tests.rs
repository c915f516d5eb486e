//! Laws of planning: what changes a name and what does not; the bytes of names and plans.

use std::collections::BTreeMap;

use cid::Cid;
use multihash_codetable::{Code, MultihashDigest};
use proptest::prelude::*;

use super::{Plan, PlanError, Request, StepInput, plan};
use crate::action::{Action, Toolset};
use crate::identity::{CacheId, Namespace};
use crate::recipe;

const NAMESPACE: Namespace = Namespace([7; 32]);

fn content(text: &str) -> Cid {
    Cid::new_v1(0x55, Code::Sha2_256.digest(text.as_bytes()))
}

fn try_plan(text: &str, inputs: &[&str], parameters: &[(&str, serde_json::Value)]) -> Result<Plan, PlanError> {
    let recipe = recipe::parse(text.as_bytes(), "r").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    let inputs = inputs.iter().map(|name| ((*name).to_owned(), content(name))).collect();
    let parameters: BTreeMap<_, _> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let toolset: Toolset = "ffmpeg-5.1".parse().expect("a toolset");
    plan(&Request {
        recipe: &recipe,
        recipe_cid: content("recipe"),
        inputs: &inputs,
        parameters: &parameters,
        seed: 1,
        namespace: &NAMESPACE,
        toolset: &toolset,
        threads: 2,
    })
}

fn plan_of(text: &str) -> Plan {
    try_plan(text, &["clip"], &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id.as_str()).collect()
}

fn output_name(plan: &Plan) -> CacheId {
    plan.steps.iter().find(|step| step.id == plan.output).expect("a step").cache_id
}

const HEAD: &str = "inputs: { clip: { description: any clip }, other: {} }\nparameters: { s: { default: 1 } }\nnodes:\n  - { id: clip, type: SOURCE, config: { input: clip } }\n";

#[test]
fn only_what_the_output_needs_inputs_first() {
    let plan = plan_of(&format!(
        "{HEAD}  - {{ id: out, type: BLEND, inputs: [z, a] }}
  - {{ id: unused, type: SEGMENT, inputs: [clip] }}
  - {{ id: other, type: SOURCE, config: {{ input: other }} }}
  - {{ id: z, type: SEGMENT, inputs: [clip] }}
  - {{ id: a, type: SEGMENT, config: {{ offset: 1 }}, inputs: [clip] }}
output: out\n"
    ));
    assert_eq!(ids(&plan), ["z", "a", "out"]);
    assert_eq!(plan.sources.len(), 1);
    assert_eq!(plan.steps[0].executor, "SEGMENT/1+t2+ffmpeg-5.1");
    assert!(plan.names_hold(&NAMESPACE));
    assert!(!plan.names_hold(&Namespace([8; 32])));
}

#[test]
fn a_sequence_of_one_is_its_input() {
    let one = plan_of(&format!(
        "{HEAD}  - {{ id: a, type: SEGMENT, inputs: [clip] }}\n  - {{ id: q, type: SEQUENCE, inputs: [a] }}\n  - {{ id: r, type: SEQUENCE, inputs: [q] }}\noutput: r\n"
    ));
    assert_eq!((ids(&one), one.output.as_str()), (vec!["a"], "a"));
    let none = plan_of(&format!("{HEAD}  - {{ id: q, type: SEQUENCE, inputs: [clip] }}\noutput: q\n"));
    assert_eq!((none.steps.len(), none.output.as_str()), (0, "clip"));
    let used = plan_of(&format!(
        "{HEAD}  - {{ id: q, type: SEQUENCE, inputs: [clip] }}\n  - {{ id: a, type: SEGMENT, inputs: [q] }}\noutput: a\n"
    ));
    assert_eq!(used.steps[0].inputs, [StepInput::Source("clip".to_owned())]);
    assert_eq!(output_name(&used), output_name(&one));
}

#[test]
fn the_order_of_inputs_is_part_of_a_name() {
    let with = |inputs: &str| {
        output_name(&plan_of(&format!(
            "{HEAD}  - {{ id: a, type: SEGMENT, inputs: [clip] }}\n  - {{ id: q, type: SEQUENCE, inputs: [{inputs}] }}\noutput: q\n"
        )))
    };
    assert_ne!(with("a, clip"), with("clip, a"));
    assert_ne!(with("a, clip"), with("a, a"));
}

#[test]
fn parameters_enter_names_by_their_value() {
    let text = format!("{HEAD}  - {{ id: a, type: SEGMENT, config: {{ offset: $s }}, inputs: [clip] }}\noutput: a\n");
    let with = |value: serde_json::Value| try_plan(&text, &["clip"], &[("s", value)]).expect("a plan");
    let default = plan_of(&text);
    assert_eq!(with(serde_json::json!(1.0)), default);
    let two = with(serde_json::json!(2));
    assert_ne!(two.run_id, default.run_id);
    assert_ne!(two.plan_id, default.plan_id);
    assert_ne!(output_name(&two), output_name(&default));
}

#[test]
fn what_is_missing_is_named() {
    let text = format!("{HEAD}  - {{ id: a, type: SEGMENT, config: {{ offset: $s }}, inputs: [clip] }}\noutput: a\n");
    let error = try_plan(&text, &[], &[]).expect_err("no input").to_string();
    assert!(error.contains("input \"clip\" (any clip) is missing: give clip=PATH or clip=CID"), "{error}");
    let error = try_plan(&text, &["clip", "clop"], &[]).expect_err("unknown").to_string();
    assert!(error.contains("no input \"clop\": give \"clip\""), "{error}");
    let error = try_plan(&text, &["clip"], &[("s", serde_json::json!(-4))]).expect_err("range").to_string();
    assert!(error.starts_with("r:5:47: offset must be a number"), "{error}");
    let builtin = "toolset: builtin\nnodes: [{ id: a, type: GENERATE, config: { kind: tone } }]\noutput: a\n";
    let error = try_plan(builtin, &[], &[]).expect_err("another toolset").to_string();
    assert!(error.contains("wants the toolset builtin"), "{error}");
}

#[test]
fn a_plan_survives_its_bytes_and_others_are_refused() {
    let plan = plan_of(&format!(
        "{HEAD}  - {{ id: a, type: SEGMENT, inputs: [clip] }}\n  - {{ id: q, type: SEQUENCE, inputs: [a, clip] }}\noutput: q\n"
    ));
    let bytes = plan.encode();
    assert_eq!(Plan::decode(&bytes), Ok(plan.clone()));
    for length in 0..bytes.len() {
        assert!(Plan::decode(&bytes[..length]).is_err());
    }
    let wrong: [fn(&mut Plan); 8] = [
        |plan| plan.version = 9,
        |plan| plan.output = "nope".to_owned(),
        |plan| plan.threads = 3,
        |plan| plan.toolset = "ffmpeg-6".to_owned(),
        |plan| plan.steps[0].id = "clip".to_owned(),
        |plan| plan.steps[0].inputs[0] = StepInput::Step("q".to_owned()),
        |plan| plan.steps[0].config = ipld_core::ipld::Ipld::Null,
        |plan| plan.steps[1].inputs = vec![StepInput::Step("clip".to_owned())],
    ];
    for (number, spoil) in wrong.into_iter().enumerate() {
        let mut spoilt = plan.clone();
        spoil(&mut spoilt);
        assert!(Plan::decode(&spoilt.encode()).is_err(), "{number}");
    }
    let mut long = bytes.clone();
    long.push(0);
    assert!(Plan::decode(&long).is_err());
}

#[test]
fn an_action_survives_its_bytes_and_others_are_refused() {
    let plan = plan_of(&format!("{HEAD}  - {{ id: a, type: SEGMENT, inputs: [clip] }}\noutput: a\n"));
    let step = &plan.steps[0];
    let action = Action {
        kind: step.kind,
        executor: step.executor.clone(),
        config: step.config.clone(),
        inputs: vec![content("clip")],
    };
    let bytes = action.encode();
    assert_eq!(Action::decode(&bytes), Ok(action.clone()));
    for length in 0..bytes.len() {
        assert!(Action::decode(&bytes[..length]).is_err());
    }
    let wrong: [fn(&mut Action); 6] = [
        |action| action.inputs.clear(),
        |action| action.executor = "SEGMENT/2+t2+ffmpeg-5.1".to_owned(),
        |action| action.executor = "RESIZE/1+t2+ffmpeg-5.1".to_owned(),
        |action| action.executor = "SEGMENT/1+t02+ffmpeg-5.1".to_owned(),
        |action| action.executor = "SEGMENT/1+t2+paint-5.1".to_owned(),
        |action| action.config = ipld_core::ipld::Ipld::Float(1.0),
    ];
    for (number, spoil) in wrong.into_iter().enumerate() {
        let mut spoilt = action.clone();
        spoil(&mut spoilt);
        assert!(Action::decode(&spoilt.encode()).is_err(), "{number}");
    }
}

/// A recipe as a shape: each node takes some of the nodes before it, node 0 being the source.
#[derive(Debug, Clone)]
struct Shape {
    nodes: Vec<(f64, Vec<usize>)>,
}

impl Shape {
    fn write(&self, name: impl Fn(usize) -> String, keys: Keys) -> String {
        let mut nodes = vec![(0, format!("  - {{ id: {}, type: SOURCE, config: {{ input: clip }} }}\n", name(0)))];
        for (index, (opacity, inputs)) in self.nodes.iter().enumerate() {
            let inputs: Vec<String> = inputs.iter().map(|&input| name(input)).collect();
            let (id, inputs) = (name(index + 1), inputs.join(", "));
            let layers = format!("[{{ opacity: {opacity}, position: [3, 4] }}]");
            let layers_turned = format!("[{{ position: [3.0, 4], opacity: {opacity} }}]");
            nodes.push((index + 1, match keys {
                Keys::Straight => format!("  - {{ id: {id}, type: LAYER, config: {{ inputs: {layers} }}, inputs: [{inputs}] }}\n"),
                Keys::Turned => format!("  - inputs: [{inputs}]\n    config:\n      inputs: {layers_turned}\n    type: LAYER\n    id: {id}\n"),
            }));
        }
        if keys == Keys::Turned {
            nodes.reverse();
        }
        let body: String = nodes.into_iter().map(|(_, node)| node).collect();
        let output = name(self.nodes.len());
        format!("inputs: {{ clip: {{}} }}\nnodes:\n{body}output: {output}\n")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    Straight,
    Turned,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let node = (0.0..=1.0, proptest::collection::vec(any::<prop::sample::Index>(), 1..4));
    proptest::collection::vec(node, 1..12).prop_map(|nodes| Shape {
        nodes: nodes
            .into_iter()
            .enumerate()
            .map(|(number, (opacity, inputs))| {
                (opacity, inputs.into_iter().map(|input| input.index(number + 1)).collect())
            })
            .collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Names of nodes, the order of nodes and of keys, and the spelling of numbers enter no id.
    #[test]
    fn names_and_spelling_change_no_id(shape in shapes()) {
        let plain = plan_of(&shape.write(|node| format!("n{node}"), Keys::Straight));
        let turned = plan_of(&shape.write(|node| format!("x-{}", 99 - node), Keys::Turned));
        prop_assert_eq!(output_name(&plain), output_name(&turned));
        let mut names: [Vec<_>; 2] = [&plain, &turned].map(|plan| plan.steps.iter().map(|step| step.cache_id).collect());
        names.iter_mut().for_each(|names| names.sort());
        prop_assert_eq!(&names[0], &names[1]);
    }

    /// A plan is in order and its bytes are itself.
    #[test]
    fn plans_hold_together(shape in shapes()) {
        let plan = plan_of(&shape.write(|node| format!("n{node}"), Keys::Turned));
        prop_assert!(plan.names_hold(&NAMESPACE));
        prop_assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
    }

    /// Turning the inputs of one node round changes its name, unless that changes nothing.
    #[test]
    fn turning_inputs_round_changes_the_name(shape in shapes()) {
        let mut turned = shape.clone();
        let last = turned.nodes.last_mut().expect("a node");
        last.1.reverse();
        let write = |shape: &Shape| plan_of(&shape.write(|node| format!("n{node}"), Keys::Straight));
        let (before, after) = (write(&shape), write(&turned));
        let keys = |shape: &Shape, plan: &Plan| -> Vec<Option<CacheId>> {
            let id = |input: &usize| {
                let name = format!("n{input}");
                plan.steps.iter().find(|step| step.id == name).map(|step| step.cache_id)
            };
            shape.nodes.last().expect("a node").1.iter().map(id).collect()
        };
        let same = keys(&shape, &before) == keys(&turned, &after);
        prop_assert_eq!(output_name(&before) == output_name(&after), same);
    }
}

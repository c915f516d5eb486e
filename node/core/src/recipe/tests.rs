//! Laws of reading a recipe, and a table of what is refused, where, and with which words.

use ipld_core::ipld::Ipld;

use super::document::Value;
use super::normalise::{Context, check, normalise};
use super::{NodeType, Recipe, config, parse};
use crate::limits::{MAX_RECIPE_BYTES, MAX_RECIPE_ERRORS};

const FILM: &str = r##"# every node type of the ffmpeg toolset
name: film
version: "1"
inputs: { clip: { description: the clip }, song: }
parameters: { warmth: { default: 1.2 }, seconds: { description: no default } }
nodes:
  - { id: clip, type: SOURCE, config: { input: clip } }
  - { id: song, type: SOURCE, config: { input: song } }
  - { id: head, type: SEGMENT, config: { duration: $seconds }, inputs: [clip] }
  - id: small
    type: RESIZE
    config:
      width: 640.0
      height: 360
      background: White
    inputs: head
  - { id: graded, type: TRANSFORM, config: { effects: { saturation: $warmth, hue: -0.0 } }, inputs: [small] }
  - { id: both, type: BLEND, config: { mode: screen }, inputs: [small, graded] }
  - { id: top, type: LAYER, config: { inputs: [null, { position: [10, -4], opacity: 1 } ] }, inputs: [both, small, graded] }
  - { id: joined, type: SEQUENCE, config: { transition: { type: fade } }, inputs: [top, graded] }
  - { id: sound, type: AUDIO_MIX, config: { gains: [2] }, inputs: [song, song] }
  - { id: film, type: MUX, inputs: [joined, sound] }
output: film
"##;

fn film() -> Recipe {
    parse(FILM.as_bytes(), "film.yaml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn config_of(recipe: &Recipe, id: &str) -> Ipld {
    let given = [("seconds".to_owned(), serde_json::json!(2))].into();
    let bound = recipe.bind(&given).expect("all parameters are given");
    let node = recipe.nodes.iter().find(|node| node.id == id).expect("the node is there");
    recipe.normal_config(node, &bound, 7).expect("the config is right")
}

#[test]
fn a_film_reads_into_typed_configs_with_all_defaults() {
    let recipe = film();
    assert_eq!(recipe.toolset, "ffmpeg");
    assert_eq!(recipe.nodes.len(), 10);
    let head = config::Segment::from_ipld(&config_of(&recipe, "head")).expect("typed");
    assert_eq!(head, config::Segment { offset: 0.0, duration: Some(2.0), precise: true });
    let small = config::Resize::from_ipld(&config_of(&recipe, "small")).expect("typed");
    assert_eq!((small.width, small.height, small.mode), (640, 360, config::ResizeMode::Fit));
    assert_eq!(small.background, "#ffffff");
    let graded = config::Transform::from_ipld(&config_of(&recipe, "graded")).expect("typed");
    assert_eq!((graded.effects.saturation, graded.effects.speed), (1.2, 1.0));
    let both = config::Blend::from_ipld(&config_of(&recipe, "both")).expect("typed");
    assert_eq!(both, config::Blend { mode: config::BlendMode::Screen, opacity: 0.5 });
    let top = config::Layer::from_ipld(&config_of(&recipe, "top")).expect("typed");
    assert_eq!(top.inputs.len(), 3);
    assert_eq!(top.inputs[1].position, [10, -4]);
    assert_eq!(top.inputs[2], top.inputs[0]);
    let joined = config::Sequence::from_ipld(&config_of(&recipe, "joined")).expect("typed");
    assert_eq!(joined.transition.kind, config::TransitionType::Fade);
    assert_eq!((joined.target_size, joined.width), (config::TargetSize::First, None));
    let sound = config::AudioMix::from_ipld(&config_of(&recipe, "sound")).expect("typed");
    assert_eq!(sound.gains, [2.0, 1.0]);
    let mux = config::Mux::from_ipld(&config_of(&recipe, "film")).expect("typed");
    assert_eq!((mux.video_stream, mux.audio_stream), (0, 1));
    assert_eq!(mux.container, config::Container::Mp4);
    let clip = config::Source::from_ipld(&config_of(&recipe, "clip")).expect("typed");
    assert_eq!(clip.input, "clip");
}

#[test]
fn generate_takes_the_seed_of_the_plan() {
    let text = "toolset: builtin\nnodes: [{ id: a, type: GENERATE, config: { kind: plasma } }]\noutput: a\n";
    let recipe = parse(text.as_bytes(), "a.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    let bound = recipe.bind(&Default::default()).expect("no parameters");
    let config = recipe.normal_config(&recipe.nodes[0], &bound, u64::MAX).expect("right");
    let typed = config::Generate::from_ipld(&config).expect("typed");
    assert_eq!((typed.seed, typed.kind), (u64::MAX, config::Pattern::Plasma));
}

/// Two spellings of one meaning have one normal form, whatever the order of keys.
#[test]
fn spellings_of_one_meaning_have_one_normal_form() {
    let same = [
        ("SEGMENT", "{ offset: 0, duration: 2 }", "{ duration: 2.0 }"),
        ("SEGMENT", "{ precise: true, offset: -0.0 }", ""),
        ("SEGMENT", "{ duration: null }", "{}"),
        ("RESIZE", "{ width: 64, height: 32 }", "{ height: 32.0, width: 6.4e1, background: black, mode: fit }"),
        ("RESIZE", "{ width: 1, height: 1, background: \"#FF0000\" }", "{ width: 1, height: 1, background: red }"),
        ("TRANSFORM", "{ effects: { hue: 0 } }", "{}"),
    ];
    let form = |kind: &str, config: &str| {
        let config = super::document::read(config.as_bytes()).expect("readable");
        let kind: NodeType = kind.parse().expect("a type");
        normalise(kind.schema(), &config, Context { inputs: 1, seed: 0 }).expect("right")
    };
    for (kind, a, b) in same {
        assert_eq!(
            serde_ipld_dagcbor::to_vec(&form(kind, a)).expect("encodes"),
            serde_ipld_dagcbor::to_vec(&form(kind, b)).expect("encodes"),
            "{kind} {a} {b}"
        );
    }
}

#[test]
fn a_normal_form_normalises_to_itself() {
    let recipe = film();
    for node in &recipe.nodes {
        let normal = config_of(&recipe, &node.id);
        assert_eq!(check(node.kind.schema(), &normal, node.inputs.len()), Ok(()), "{}", node.id);
        let again =
            normalise(node.kind.schema(), &Value::from_ipld(&normal), Context { inputs: node.inputs.len(), seed: 9 });
        assert_eq!(again, Ok(normal));
    }
}

/// JSON is the same recipe: the walk goes over the parsed text, so it holds for every part.
#[test]
fn json_gives_the_same_recipe() {
    let yaml = "name: a\nnodes:\n  - { id: a, type: SEGMENT, config: { offset: 1 }, inputs: [s] }\n  - { id: s, type: SOURCE, config: { input: x } }\ninputs: { x: {} }\noutput: a\n";
    let json = r#"{"name":"a","inputs":{"x":{}},"output":"a","nodes":[
        {"id":"a","type":"SEGMENT","config":{"offset":1},"inputs":["s"]},
        {"id":"s","type":"SOURCE","config":{"input":"x"}}]}"#;
    let (yaml, json) = (parse(yaml.as_bytes(), "a"), parse(json.as_bytes(), "a"));
    let (yaml, json) = (yaml.expect("yaml"), json.expect("json"));
    assert_eq!((&yaml.name, &yaml.output, &yaml.inputs), (&json.name, &json.output, &json.inputs));
    let bound = yaml.bind(&Default::default()).expect("no parameters");
    for (a, b) in yaml.nodes.iter().zip(&json.nodes) {
        assert_eq!((&a.id, a.kind, &a.inputs), (&b.id, b.kind, &b.inputs));
        assert_eq!(yaml.normal_config(a, &bound, 0), json.normal_config(b, &bound, 0));
    }
}

/// Each: the end of a recipe with a `^` before the place of its error, and what is said there.
#[test]
fn every_error_has_its_place_and_what_to_write() {
    let head = "inputs: { clip: {} }\nnodes:\n  - { id: clip, type: SOURCE, config: { input: clip } }\n";
    let cases: &[(&str, &str)] = &[
        (
            "  - { id: a, type: SEGMENT, config: { ^ofset: 1 }, inputs: [clip] }\noutput: a\n",
            "unknown key \"ofset\" in the config of SEGMENT: write \"offset\"",
        ),
        (
            "  - { id: a, type: SEGMENT, config: { offset: ^\"1\" }, inputs: [clip] }\noutput: a\n",
            "offset must be a number from 0 to 86400, this is the text \"1\": write offset: 1 without quotes",
        ),
        (
            "  - { id: a, type: SEGMENT, config: { offset: ^-1 }, inputs: [clip] }\noutput: a\n",
            "offset must be a number from 0 to 86400, this is -1: write offset: a number from 0 to 86400",
        ),
        (
            "  - { id: a, type: SEGMENT, config: { precise: ^yes }, inputs: [clip] }\noutput: a\n",
            "precise must be true or false, this is the text \"yes\": write precise: true or false",
        ),
        (
            "  - { id: a, type: SEGMENT, config: ^[1], inputs: [clip] }\noutput: a\n",
            "the config of SEGMENT must be a map, this is a list: write { offset: ..., duration: ..., precise: ... }",
        ),
        ("  - { id: a, type: SEGMENT, config: { offset: .nan }, inputs: [clip] }\noutput: a\n", "finite"),
        (
            "  - { id: a, type: RESIZE, config: ^{ width: 64 }, inputs: [clip] }\noutput: a\n",
            "height is missing in the config of RESIZE: write height: a whole number from 1 to 16384",
        ),
        (
            "  - { id: a, type: RESIZE, config: { width: ^6.5, height: 1 }, inputs: [clip] }\noutput: a\n",
            "width must be a whole number, this is 6.5",
        ),
        (
            "  - { id: a, type: RESIZE, config: { width: ^99999, height: 1 }, inputs: [clip] }\noutput: a\n",
            "width must be a whole number from 1 to 16384, this is 99999",
        ),
        (
            "  - { id: a, type: RESIZE, config: { width: 6, height: 1, mode: ^fitt }, inputs: [clip] }\noutput: a\n",
            "mode cannot be \"fitt\": write \"fit\"",
        ),
        (
            "  - { id: a, type: RESIZE, config: { width: 6, height: 1, background: ^\"red,movie=x\" }, inputs: [clip] }\noutput: a\n",
            "background must be a colour",
        ),
        (
            "  - { id: a, type: ^SEGMNT, inputs: [clip] }\noutput: a\n",
            "unknown node type \"SEGMNT\": write \"SEGMENT\"",
        ),
        (
            "  - { id: a, type: ^EXPLODE, inputs: [clip] }\noutput: a\n",
            "unknown node type \"EXPLODE\": write one of SOURCE, SEGMENT, RESIZE",
        ),
        (
            "  - { id: a, type: ^GENERATE, config: { kind: tone } }\noutput: a\n",
            "the toolset ffmpeg has no GENERATE: write toolset: builtin at the top",
        ),
        ("  - { id: a, type: SEGMENT, inputs: [^clap] }\noutput: a\n", "no node has the id \"clap\": write \"clip\""),
        ("  - ^{ id: a, type: SEGMENT }\noutput: a\n", "SEGMENT takes 1 input, node \"a\" has 0: write inputs: [id]"),
        (
            "  - ^{ id: a, type: BLEND, inputs: [clip] }\noutput: a\n",
            "BLEND takes 2 inputs, node \"a\" has 1: write inputs: [id, id]",
        ),
        (
            "  - { id: a, type: SOURCE, config: { input: ^clop } }\noutput: a\n",
            "no input is called \"clop\": write \"clip\", or declare it under inputs",
        ),
        (
            "  - ^{ id: a, type: SEGMENT, inputs: [b] }\n  - { id: b, type: SEGMENT, inputs: [a] }\noutput: a\n",
            "a cycle: a needs b needs a: write other inputs for \"a\"",
        ),
        ("  - ^{ id: a, type: SEGMENT, inputs: [a] }\noutput: a\n", "a cycle: a needs a"),
        (
            "  - { id: ^clip, type: SEGMENT, inputs: [clip] }\noutput: clip\n",
            "the id \"clip\" stands twice: write another id",
        ),
        (
            "  - { id: a, type: SEGMENT, config: { duration: ^$len }, inputs: [clip] }\noutput: a\n",
            "unknown parameter \"$len\": write parameters: { len: { default: ... } } at the top",
        ),
        (
            "  - { id: a, type: SEGMENT, ^input: [clip] }\noutput: a\n",
            "unknown key \"input\" in a node: write \"inputs\"",
        ),
        ("  - { id: ^\"a b\", type: SEGMENT, inputs: [clip] }\noutput: a b\n", "\"a b\" cannot be an id"),
        (
            "  - { id: a, type: LAYER, config: { inputs: ^[{}, {}] }, inputs: [clip] }\noutput: a\n",
            "inputs has 2 values for 1 inputs",
        ),
        (
            "  - { id: a, type: LAYER, config: { inputs: [{ position: ^[1] }] }, inputs: [clip] }\noutput: a\n",
            "position must have 2 values, this has 1: write position: [..., ...]",
        ),
        (
            "  - { id: a, type: MUX, config: { audio_stream: ^2 }, inputs: [clip, clip] }\noutput: a\n",
            "audio_stream 2 is not one of the 2 inputs: write a number from 0 to 1",
        ),
        (
            "  - { id: a, type: SEQUENCE, config: { target_size: ^explicit, width: 6 }, inputs: [clip] }\noutput: a\n",
            "an explicit target size needs height",
        ),
        (
            "  - { id: a, type: SEQUENCE, config: { width: ^6 }, inputs: [clip] }\noutput: a\n",
            "width means nothing without an explicit target size",
        ),
        ("output: ^nope\n", "no node has the id \"nope\": write \"clip\""),
        ("", "the output is missing: write output: the id of a node"),
        ("output: clip\n^nmae: x\n", "unknown key \"nmae\" in a recipe: write \"name\""),
        ("output: clip\n^dag: {}\n", "unknown key \"dag\" in a recipe: write nodes and output at the top of the file"),
        ("output: clip\ntoolset: ^fmpeg\n", "unknown toolset \"fmpeg\": write \"ffmpeg\""),
        ("output: clip\nversion: ^1\n", "version must be a text, this is 1: write version: \"...\" in quotes"),
        (
            "output: clip\nparameters: { a: { ^defalt: 1 } }\n",
            "unknown key \"defalt\" in parameter \"a\": write \"default\"",
        ),
        ("output: clip\nparameters: { a: { default: ^[1] } }\n", "this default is a list or a map"),
        ("output: clip\n^output: clip\n", ""),
        ("output: [\n", "not readable as YAML or JSON"),
        ("output: \"\\e[31m\"\nname: \"\\e[31m\"\n", "control characters"),
    ];
    for (tail, said) in cases {
        let marked = format!("{head}{tail}");
        let before = marked.split('^').next().expect("a text has a beginning");
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        let expected = match marked.contains('^') {
            true => format!("r:{line}:{column}: {said}"),
            false => (*said).to_owned(),
        };
        let errors = parse(marked.replace('^', "").as_bytes(), "r").expect_err(tail).to_string();
        assert!(errors.contains(&expected), "\nfor  {tail}\nwant {expected}\ngot  {errors}");
    }
}

#[test]
fn several_errors_are_told_at_once_in_the_order_of_the_file() {
    let text = "nodes:\n  - { id: a, type: SEGMNT }\n  - { id: b, type: RESIZE, config: { wdth: 1 }, inputs: [a] }\noutput: c\n";
    let errors = parse(text.as_bytes(), "r").expect_err("wrong");
    let lines: Vec<u32> = errors.errors.iter().map(|error| error.place.line).collect();
    assert_eq!(lines, [2, 3, 3, 3, 4], "{errors}");
}

#[test]
fn errors_are_bounded() {
    let nodes: String = (0..500).map(|n| format!("  - {{ id: n{n}, type: NOPE }}\n")).collect();
    let errors = parse(format!("nodes:\n{nodes}output: n0\n").as_bytes(), "r").expect_err("wrong");
    assert_eq!(errors.errors.len(), MAX_RECIPE_ERRORS);
    let long = format!("{}: 1\n", "k".repeat(900));
    let errors = parse(long.as_bytes(), "r").expect_err("wrong").to_string();
    assert!(errors.len() < 4000, "{}", errors.len());
}

#[test]
fn bombs_and_other_bytes_are_refused() {
    let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (name, before) in ('b'..='i').zip('a'..) {
        let many = vec![format!("*{before}"); 9].join(",");
        bomb.push_str(&format!("{name}: &{name} [{many}]\n"));
    }
    let deep = format!("nodes: {}{}", "[".repeat(5000), "]".repeat(5000));
    let block: String = (0..3000).map(|depth| format!("{}- \n", " ".repeat(depth))).collect();
    let huge = " ".repeat(MAX_RECIPE_BYTES + 1);
    let many = format!("nodes: [{}]\noutput: a\n", "{ id: a, type: SOURCE },".repeat(5000));
    for text in [
        bomb.as_bytes(),
        deep.as_bytes(),
        block.as_bytes(),
        huge.as_bytes(),
        many.as_bytes(),
        b"name: \xff\n",
        b"",
        b"- 1\n",
        b"{",
    ] {
        let errors = parse(text, "r").expect_err("refused");
        assert!(!errors.errors.is_empty());
    }
}

#[test]
fn a_parameter_without_a_default_is_checked_when_it_is_known() {
    let recipe = film();
    assert!(recipe.bind(&Default::default()).expect_err("missing")[0].contains("seconds"));
    let bind = |name: &str, value| recipe.bind(&[(name.to_owned(), value)].into());
    let unknown = bind("warmht", serde_json::json!(1)).expect_err("unknown");
    assert!(unknown[0].contains("give \"warmth\""), "{unknown:?}");
    assert!(bind("seconds", serde_json::json!([1])).is_err());
    let bound = bind("seconds", serde_json::json!("long")).expect("a value");
    let head = recipe.nodes.iter().find(|node| node.id == "head").expect("there");
    let wrong = recipe.normal_config(head, &bound, 0).expect_err("a text is no number");
    assert_eq!(wrong[0].place.line, 9);
    assert!(wrong[0].message.contains("duration must be a number"), "{wrong:?}");
}

#[test]
fn a_doubled_dollar_is_a_dollar() {
    let text = "inputs: { $x: {} }\nnodes: []\noutput: a\n";
    assert!(parse(text.as_bytes(), "r").is_err());
    let values = [("x".to_owned(), super::document::Data::Bool(true))].into();
    let read = |text: &str| super::document::read(text.as_bytes()).expect("readable");
    let mut errors = Vec::new();
    let value = super::parameters::substitute(&read("[$x, $$x, a$x]"), &values, &mut errors);
    assert!(errors.is_empty());
    let super::document::Data::List(items) = value.data else { panic!("a list") };
    let data: Vec<_> = items.into_iter().map(|item| item.data).collect();
    use super::document::Data::{Bool, Text};
    assert_eq!(data, [Bool(true), Text("$x".to_owned()), Text("a$x".to_owned())]);
}

//! The built-in toolset against the contract, and what its files hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artdag_core::recipe::NodeType;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Builtin;
use crate::executor::contract::{Bench, Case, contract_suite};

contract_suite!(bench());

/// All media here are made by the toolset itself.
async fn bench() -> Option<Bench> {
    let scratch = tempfile::tempdir().expect("a scratch directory can be made");
    let mut bench = Bench {
        executor: Arc::new(Builtin),
        scratch,
        cases: Vec::new(),
        endless: Case::new("endless", NodeType::Generate, generate("plasma", (2000, 2000), 1000, 2.0), &[]),
    };
    let gradient = Case::new("gradient", NodeType::Generate, generate("gradient", (64, 36), 1, 1.0), &[]);
    let plasma = Case::new("plasma", NodeType::Generate, generate("plasma", (48, 48), 12, 1.0), &[]);
    let tone = Case::new("tone", NodeType::Generate, generate("tone", (1, 1), 1, 0.6), &[]);
    let (still, moving, sound) = (
        made(&bench, &gradient, "still").await,
        made(&bench, &plasma, "moving").await,
        made(&bench, &tone, "sound").await,
    );
    bench.cases = vec![gradient, plasma, tone];
    bench.cases.extend(cases(&still, &moving, &sound));
    Some(bench)
}

async fn made(bench: &Bench, case: &Case, name: &str) -> PathBuf {
    let path = bench.scratch.path().join(name);
    fs::copy(bench.run(case).await.path, &path).expect("scratch is writable");
    path
}

fn generate(kind: &str, size: (u32, u32), frames: u32, duration: f64) -> serde_json::Value {
    json!({ "kind": kind, "width": size.0, "height": size.1, "frames": frames,
        "frequency": 440.0, "duration": duration, "seed": 11 })
}

fn sequence(kind: &str, duration: f64) -> serde_json::Value {
    json!({ "transition": { "type": kind, "duration": duration }, "target_size": "first",
        "width": null, "height": null, "background": "#102030" })
}

fn cases(still: &PathBuf, moving: &PathBuf, sound: &PathBuf) -> Vec<Case> {
    let effects = json!({ "effects": { "saturation": 1.5, "contrast": 1.1, "brightness": 0.05,
        "gamma": 1.2, "hue": 40.0, "blur": 2.0, "sharpen": 0.5, "speed": 2.0 } });
    let resize = |mode: &str| json!({ "width": 51, "height": 40, "mode": mode, "background": "#203040" });
    let layer = json!({ "inputs": [
        { "position": [0, 0], "opacity": 1.0, "scale": 1.0 },
        { "position": [-5, 10], "opacity": 0.7, "scale": 0.5 } ] });
    let blend = json!({ "mode": "screen", "opacity": 0.5 });
    let mux = json!({ "video_stream": 0, "audio_stream": 1, "shortest": true, "container": "mp4" });
    let segment = json!({ "offset": 0.1, "duration": 0.25, "precise": true });
    let mix = json!({ "gains": [1.0, 0.5], "normalize": true });
    vec![
        Case::new("segment", NodeType::Segment, segment, &[sound]),
        Case::new("fit", NodeType::Resize, resize("fit"), &[moving]),
        Case::new("fill", NodeType::Resize, resize("fill"), &[still]),
        Case::new("transform", NodeType::Transform, effects, &[moving]),
        Case::new("layer", NodeType::Layer, layer, &[still, moving]),
        Case::new("blend", NodeType::Blend, blend, &[moving, still]),
        Case::new("cut", NodeType::Sequence, sequence("cut", 0.5), &[still, moving]),
        Case::new("crossfade", NodeType::Sequence, sequence("crossfade", 0.2), &[moving, still]),
        Case::new("fade", NodeType::Sequence, sequence("fade", 0.1), &[moving, still]),
        Case::new("sounds", NodeType::Sequence, sequence("crossfade", 0.2), &[sound, sound]),
        Case::new("mix", NodeType::AudioMix, mix, &[sound, sound]),
        Case::new("mux", NodeType::Mux, mux, &[moving, sound]),
    ]
}

async fn output(bench: &Bench, name: &str) -> PathBuf {
    let case = bench.cases.iter().find(|case| case.name == name);
    bench.run(case.expect("a case of this name")).await.path
}

/// Size, pictures and milliseconds.
fn looked(path: &Path) -> ((u32, u32), u32, u32) {
    let file = std::io::BufReader::new(fs::File::open(path).expect("it is there"));
    let mut reader = png::Decoder::new(file).read_info().expect("a picture");
    let info = reader.info();
    let (size, animated) = (info.size(), info.animation_control().copied());
    let count = animated.map_or(1, |control| control.num_frames);
    let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
    let mut ms = 0;
    for _ in 0..count {
        reader.next_frame(&mut pixels).expect("whole");
        ms += reader.info().frame_control().map_or(0, |control| u32::from(control.delay_num));
    }
    (size, count, ms)
}

fn seconds(path: &Path) -> f64 {
    let reader = hound::WavReader::open(path).expect("a sound");
    assert_eq!(reader.spec().channels, 2);
    f64::from(reader.duration()) / f64::from(reader.spec().sample_rate)
}

#[tokio::test]
async fn pictures_have_the_size_and_length_that_the_config_says() {
    let bench = bench().await.expect("always here");
    for (name, expected) in [
        ("gradient", ((64, 36), 1, 0)),
        ("plasma", ((48, 48), 12, 480)),
        ("fit", ((51, 40), 12, 480)),
        ("fill", ((51, 40), 1, 0)),
        ("transform", ((48, 48), 12, 240)),
        ("layer", ((64, 36), 12, 480)),
        ("blend", ((48, 48), 12, 480)),
    ] {
        assert_eq!(looked(&output(&bench, name).await), expected, "{name}");
    }
    for (name, size, ms) in [("cut", (64, 36), 1480), ("crossfade", (48, 48), 1280), ("fade", (48, 48), 1480)] {
        let (found, _, length) = looked(&output(&bench, name).await);
        assert_eq!((found, length), (size, ms), "{name}");
    }
}

#[tokio::test]
async fn sounds_have_the_length_that_the_config_says() {
    let bench = bench().await.expect("always here");
    for (name, expected) in [("tone", 0.6), ("segment", 0.25), ("sounds", 1.0), ("mix", 0.6)] {
        let found = seconds(&output(&bench, name).await);
        assert!((found - expected).abs() < 1e-3, "{name}: {found}");
    }
}

#[tokio::test]
async fn the_page_holds_both_files_whole() {
    use base64::Engine as _;
    let bench = bench().await.expect("always here");
    let page = fs::read_to_string(output(&bench, "mux").await).expect("a text");
    let case = bench.cases.iter().find(|case| case.name == "mux").expect("there");
    for (mark, input) in [("image/png;base64,", 0), ("audio/wav;base64,", 1)] {
        let start = page.find(mark).expect("inlined") + mark.len();
        let end = start + page[start..].find('"').expect("closed");
        let bytes = base64::engine::general_purpose::STANDARD.decode(&page[start..end]).expect("base64");
        assert_eq!(bytes, fs::read(&case.inputs[input]).expect("it is there"));
    }
    assert!(!page.contains("http"));
}

#[tokio::test]
async fn order_of_inputs_matters() {
    let bench = bench().await.expect("always here");
    let case = bench.cases.iter().find(|case| case.name == "cut").expect("there").clone();
    let mut turned = case.clone();
    turned.inputs.reverse();
    let (one, other) = (bench.run(&case).await.path, bench.run(&turned).await.path);
    assert_ne!(fs::read(one).expect("there"), fs::read(other).expect("there"));
}

/// The bytes of builtin-1. When a change here is meant, `VERSION` goes up: nodes of both kinds
/// would otherwise disagree about one action.
#[tokio::test]
async fn bytes_are_those_of_version_one() {
    let bench = bench().await.expect("always here");
    let mut all = Sha256::new();
    for case in &bench.cases {
        all.update(fs::read(bench.run(case).await.path).expect("there"));
    }
    assert_eq!(hex::encode(all.finalize()), GOLDEN);
}

const GOLDEN: &str = "f3b5fdee75c6fffd994be057c7fc8200bc1d8d4eb8a4813c92356ba4fc9e4385";

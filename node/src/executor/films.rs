//! The demo's recipes, planned and executed step by step: what the demo does without a network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use artdag_core::identity::Namespace;
use artdag_core::planner::{Plan, Request, StepInput, plan};
use artdag_core::recipe::parse;
use cid::Cid;
use tokio_util::sync::CancellationToken;

use super::{Builtin, Executor, Ffmpeg, Job, Launcher, progress};

const FILM: &str = include_str!("../demo/film.yaml");
const BUILTIN: &str = include_str!("../demo/builtin.yaml");

fn planned(text: &str, toolset: &super::Toolset, parameters: &[(&str, f64)]) -> Plan {
    let recipe = parse(text.as_bytes(), "demo").unwrap_or_else(|errors| panic!("{errors}"));
    let cid: Cid = "bafkqaaa".parse().expect("the empty identity CID");
    let inputs = recipe.inputs.keys().map(|name| (name.clone(), cid)).collect();
    let parameters = parameters.iter().map(|(name, value)| {
        let whole = value.fract() == 0.0;
        let value = if whole { serde_json::json!(*value as i64) } else { serde_json::json!(value) };
        ((*name).to_owned(), value)
    });
    let request = Request {
        recipe: &recipe,
        recipe_cid: cid,
        inputs: &inputs,
        parameters: &parameters.collect(),
        seed: 3,
        namespace: &Namespace([1; 32]),
        toolset,
        threads: 2,
    };
    plan(&request).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs every step of a plan, in order; gives the last one's file.
async fn render(plan: &Plan, executor: &dyn Executor, scratch: &Path, clip: &Path) -> PathBuf {
    let mut done: BTreeMap<String, PathBuf> = BTreeMap::new();
    for step in &plan.steps {
        let inputs = step.inputs.iter().map(|input| match input {
            StepInput::Source(_) => clip.to_path_buf(),
            StepInput::Step(id) => done[id].clone(),
        });
        let job = Job {
            kind: step.kind,
            config: step.config.clone(),
            threads: plan.threads,
            inputs: inputs.collect(),
            workspace: tempfile::tempdir_in(scratch).expect("scratch is writable").keep(),
            timeout: Duration::from_secs(120),
            disk_bytes: 1 << 30,
        };
        let (sender, _receiver) = progress();
        let output = executor.execute(&job, &sender, &CancellationToken::new()).await;
        let output = output.unwrap_or_else(|failure| panic!("{}: {failure}\n{}", step.id, failure.log));
        done.insert(step.id.clone(), output.path);
    }
    done.remove(&plan.output).expect("the output is a step")
}

#[tokio::test]
async fn the_built_in_page_renders() {
    let scratch = tempfile::tempdir().expect("a scratch directory can be made");
    let toolset = Builtin.probe().await.expect("always here");
    let plan = planned(BUILTIN, &toolset, &[("width", 96.0), ("height", 54.0), ("frames", 25.0)]);
    let page = render(&plan, &Builtin, scratch.path(), Path::new("/dev/null")).await;
    let page = std::fs::read_to_string(page).expect("a text");
    assert!(page.contains("<img") && page.contains("<audio") && page.ends_with("</html>\n"));
}

#[tokio::test]
async fn the_film_renders() {
    let ffmpeg = Ffmpeg::new(Launcher::this_program());
    let toolset = match ffmpeg.probe().await {
        Ok(toolset) => toolset,
        Err(missing) => {
            let required = std::env::var("VERIFY_REQUIRE").is_ok_and(|value| value == "all");
            assert!(!required, "{missing}");
            eprintln!("SKIPPED the_film_renders: {missing}");
            return;
        }
    };
    let scratch = tempfile::tempdir().expect("a scratch directory can be made");
    let clip = scratch.path().join("clip.mp4");
    let mut process = Process::new("ffmpeg");
    process.args("-v error -f lavfi -i testsrc2=s=320x180:r=25:d=5 -f lavfi -i sine=d=5".split(' '));
    process.args("-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac".split(' ')).arg(&clip);
    assert!(process.status().expect("ffmpeg runs").success());
    // Everything a quarter as long, in a quarter of the size.
    let parameters = [
        ("width", 320.0),
        ("height", 180.0),
        ("piece", 0.8),
        ("second", 0.8),
        ("third", 1.6),
        ("fourth", 2.4),
        ("fifth", 3.2),
        ("sixth", 4.0),
        ("crossfade", 0.4),
    ];
    let plan = planned(FILM, &toolset, &parameters);
    let film = render(&plan, &ffmpeg, scratch.path(), &clip).await;
    let mut process = Process::new("ffprobe");
    process.args("-v error -show_entries stream=codec_name:format=duration -of csv=p=0".split(' '));
    let said = process.arg(&film).output().expect("ffprobe runs");
    // Four pieces of 0.8 s, three crossfades of 0.4 s.
    assert_eq!(String::from_utf8_lossy(&said.stdout), "h264\naac\n2.000000\n");
}

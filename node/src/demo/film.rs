//! What the demo renders: once for real, and once more where nothing of it lies.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, bail};
use artdag_client::{
    AddOptions, Cid, Client, ContentPath, Error, Folders, Run, RunState, StepState, StepStatus, Submission,
    board::StepBoard, size_text,
};

use super::{
    cluster::{Cluster, Node},
    report::SecondRun,
    tell,
};
use crate::clock::{self, Stopwatch};

const FILM: &str = include_str!("film.yaml");
const BUILTIN: &str = include_str!("builtin.yaml");
/// The name of the film's only input.
const INPUT: &str = "clip";
/// The film takes under a minute on two cores; a clip of the user's may take longer.
const RUN_LIMIT_MS: u64 = 30 * 60 * 1000;
/// News travels in milliseconds; what is lost on the way comes by reconcile within seconds.
const NEWS_LIMIT_MS: u64 = 15_000;
const POLL_MS: u64 = 10;

/// A recipe and what it needs.
pub(super) struct Script {
    pub(super) recipe_name: &'static str,
    pub(super) file_name: &'static str,
    recipe: &'static str,
    clip: Option<PathBuf>,
    parameters: BTreeMap<String, serde_json::Value>,
}

impl Script {
    /// The recipe as it is written, for the clip that the demo makes.
    pub(super) fn film(clip: PathBuf) -> Self {
        let parameters = BTreeMap::new();
        Self { recipe_name: "film.yaml", file_name: "film.mp4", recipe: FILM, clip: Some(clip), parameters }
    }

    /// The same for a clip of so many seconds: the film is as long as it.
    pub(super) fn film_of(clip: PathBuf, seconds: f64) -> Self {
        Self { parameters: cuts(seconds), ..Self::film(clip) }
    }

    /// Needs no tool and no input; its output is a page with picture and sound in it.
    pub(super) fn builtin() -> Self {
        let parameters = BTreeMap::new();
        Self { recipe_name: "builtin.yaml", file_name: "film.html", recipe: BUILTIN, clip: None, parameters }
    }
}

/// Six pieces spread over the clip; four of them follow each other with a crossfade, so that
/// `4 piece - 3 crossfade` is the length of the clip.
fn cuts(seconds: f64) -> BTreeMap<String, serde_json::Value> {
    let crossfade = seconds / 40.0;
    let piece = (seconds + 3.0 * crossfade) / 4.0;
    let starts = ["second", "third", "fourth", "fifth", "sixth"];
    let between = (seconds - piece) / starts.len() as f64;
    let starts = starts.iter().zip(1_u32..).map(|(name, number)| (*name, f64::from(number) * between));
    // Whole milliseconds: shorter to read, and never beyond the clip's end.
    let text = |(name, value): (&str, f64)| (name.to_owned(), ((value * 1000.0).floor() / 1000.0).into());
    starts.chain([("piece", piece), ("crossfade", crossfade)]).map(text).collect()
}

/// Adds the clip to the first node.
pub(super) async fn submission(cluster: &Cluster, script: &Script) -> anyhow::Result<Submission> {
    let mut inputs = BTreeMap::new();
    if let Some(clip) = &script.clip {
        let options = AddOptions { folders: Folders::Refuse, ..AddOptions::default() };
        let added = cluster.first().client.add_path(clip, &options, &mut |_| Ok(())).await?;
        tell(&format!("added the clip to node {}: {} ({})", cluster.first().name, added.cid, size_text(added.size)));
        inputs.insert(INPUT.to_owned(), added.cid);
    }
    let recipe = script.recipe.as_bytes().to_vec();
    let recipe_name = script.recipe_name.to_owned();
    let parameters = script.parameters.clone();
    Ok(Submission { recipe, recipe_name, inputs, parameters, ..Submission::default() })
}

/// Renders through the first node, with a live line per step.
pub(super) async fn first_run(cluster: &Cluster, submission: &Submission) -> anyhow::Result<Run> {
    render(cluster, &cluster.first().client, submission).await
}

/// The same through a node that lacks the results, once it has heard of them.
pub(super) async fn second_run(cluster: &Cluster, submission: &Submission, first: &Run) -> anyhow::Result<SecondRun> {
    let output = first.output_cid.context("a run that succeeded has an output")?;
    let node = stranger(cluster, first, &output).await;
    news_has_arrived(node, first).await?;
    tell(&format!("the same again through node {}, which lacks the film", node.name));
    let watch = Stopwatch::start();
    let run = render(cluster, &node.client, submission).await?;
    let ms = watch.elapsed_ms();
    let second_run = count(&run, ms);
    tell(&format!("{} of {} steps looked up were hits, in {ms} ms", second_run.hits, second_run.steps));
    if run.output_cid != Some(output) {
        bail!("the second run gave {:?} and not {output}", run.output_cid);
    }
    Ok(second_run)
}

async fn render(cluster: &Cluster, client: &Client, submission: &Submission) -> anyhow::Result<Run> {
    let names = cluster.nodes().iter().map(|node| (node.peer_id.clone(), node.name.to_string())).collect();
    let mut board = StepBoard::new(names);
    let submitted = client.submit_run(submission).await?;
    let mut show = |event: &_| {
        board.show(event);
        Ok(())
    };
    let followed = client.follow_run(&submitted.execution_id, &mut show);
    let Some(run) = clock::within_ms(RUN_LIMIT_MS, followed).await else {
        bail!("{} was not rendered within {} min", submission.recipe_name, RUN_LIMIT_MS / 60_000);
    };
    let run = run?;
    drop(board);
    if run.state != RunState::Succeeded {
        bail!("{} was not rendered: {}", submission.recipe_name, complaint(&run));
    }
    Ok(run)
}

fn complaint(run: &Run) -> String {
    let failed = run.steps.iter().filter(|step| step.state == StepState::Failed);
    let mut text = run.message.clone();
    for step in failed {
        text.push_str(&format!("\n  step {}: {}", step.id, step.message));
    }
    text
}

/// A node that neither made the film nor holds it; the best there is, if all do.
async fn stranger<'a>(cluster: &'a Cluster, run: &Run, output: &Cid) -> &'a Node {
    let maker = final_step(run, output).map(|step| step.node.as_str()).unwrap_or_default();
    let mut best: Option<((bool, bool, bool), &Node)> = None;
    for node in cluster.nodes() {
        let stat = node.client.stat(&ContentPath::from(output)).await;
        let holds = stat.is_ok_and(|stat| stat.local);
        let rank = (node.peer_id == maker, holds, node.peer_id == run.coordinator);
        if best.is_none_or(|(least, _)| rank < least) {
            best = Some((rank, node));
        }
    }
    best.expect("a cluster has three nodes").1
}

/// The step whose output is the film: the last of them in the order of the plan.
fn final_step<'a>(run: &'a Run, output: &Cid) -> Option<&'a StepStatus> {
    run.steps.iter().rev().find(|step| step.cid.as_ref() == Some(output))
}

/// Waits until the node knows every result; it has them from the others, not from us.
async fn news_has_arrived(node: &Node, run: &Run) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    for id in run.steps.iter().filter_map(|step| step.cache_id) {
        loop {
            match node.client.get_record(&id).await {
                Ok(_) => break,
                Err(Error::NotFound(_)) if watch.elapsed_ms() < NEWS_LIMIT_MS => clock::sleep_ms(POLL_MS).await,
                Err(Error::NotFound(_)) => {
                    let seconds = NEWS_LIMIT_MS / 1000;
                    tell(&format!("node {} has not heard of all results after {seconds} s", node.name));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// A step that was never looked up, since its result was not needed, is neither hit nor miss.
fn count(run: &Run, ms: u64) -> SecondRun {
    let not_looked_up = |step: &&StepStatus| matches!(step.state, StepState::Waiting | StepState::Skipped);
    let steps = run.steps.iter().filter(|step| !not_looked_up(step)).count();
    let hits = run.steps.iter().filter(|step| step.state == StepState::Hit).count();
    SecondRun { steps, hits, ms }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use artdag_client::{Digest, parse_cid};

    pub(in crate::demo) const CID: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

    pub(in crate::demo) fn step(id: &str, state: StepState) -> StepStatus {
        StepStatus {
            id: id.to_owned(),
            kind: "MUX".to_owned(),
            state,
            node: "12D3KooWx".to_owned(),
            attempt: 1,
            cid: Some(parse_cid(CID).expect("valid")),
            ms: 7,
            progress: 0.0,
            message: format!("{id} says why"),
            cache_id: None,
            action_id: None,
        }
    }

    pub(in crate::demo) fn run_of(steps: Vec<StepStatus>) -> Run {
        Run {
            execution_id: "e".to_owned(),
            run_id: None,
            state: RunState::Succeeded,
            recipe_name: "film.yaml".to_owned(),
            plan_cid: None,
            output_cid: Some(parse_cid(CID).expect("valid")),
            content_hash: Some(Digest([0xab; 32])),
            created_unix_ms: 0,
            finished_unix_ms: 0,
            message: "a step failed".to_owned(),
            steps,
            hits: 0,
            coordinator: "12D3KooWx".to_owned(),
        }
    }

    #[test]
    fn steps_not_looked_up_count_neither_as_hit_nor_as_miss() {
        let states = [StepState::Hit, StepState::Skipped, StepState::Waiting, StepState::Succeeded];
        let steps = states.into_iter().enumerate().map(|(n, state)| step(&n.to_string(), state)).collect();
        let second = count(&run_of(steps), 5);
        assert_eq!((second.steps, second.hits, second.ms), (2, 1, 5));
    }

    #[test]
    fn the_final_step_is_the_last_that_gave_the_film() {
        let run = run_of(vec![step("copy", StepState::Hit), step("film", StepState::Hit)]);
        let output = parse_cid(CID).expect("valid");
        assert_eq!(final_step(&run, &output).map(|step| step.id.as_str()), Some("film"));
    }

    #[test]
    fn a_complaint_names_the_failed_steps_alone() {
        let run = run_of(vec![step("head", StepState::Failed), step("film", StepState::Skipped)]);
        assert_eq!(complaint(&run), "a step failed\n  step head: head says why");
    }
}

//! Films: rendered by all, found by all, and the same whoever dies meanwhile.

use std::collections::BTreeSet;

use artdag_tests::client::{Client, Run, RunState, StepState, Submission, content_hash};
use artdag_tests::cluster::{Cluster, Isolation};
use artdag_tests::film::{self, STEPS};
use artdag_tests::skip::{needs_root, needs_tool, skip};
use artdag_tests::{media, process, wait};
use std::time::Duration;

/// Gossip takes milliseconds; a loaded machine gets more.
const NEWS: Duration = Duration::from_secs(20);

fn without_ffmpeg(test: &str) -> bool {
    !needs_tool(test, "ffmpeg", "-version")
}

/// Steps that some node ran in this run, not hits.
fn executed(run: &Run) -> Vec<(&str, &str, u32)> {
    let ran = run.steps.iter().filter(|step| step.attempt > 0 && step.state() == StepState::Succeeded);
    ran.map(|step| (step.id.as_str(), step.node.as_str(), step.attempt)).collect()
}

#[track_caller]
fn learns(client: &Client, results: usize) {
    wait::until("the results to be known", NEWS, || (client.results() >= results).then_some(()));
}

/// Three nodes that cannot see each other's files render one film, hold it, and find it again.
#[test]
fn three_nodes_render_one_film_without_sharing_a_file() {
    let test = "three_nodes_render_one_film_without_sharing_a_file";
    if without_ffmpeg(test) || !needs_root(test) {
        return;
    }
    let cluster = Cluster::start(3, Isolation::MountNamespaces);
    for node in &cluster.nodes {
        for other in cluster.nodes.iter().filter(|other| other.name != node.name) {
            let seen = process::seen_by(node.pid(), &other.data);
            let entries = std::fs::read_dir(&seen).expect("the mask is a folder").count();
            assert_eq!(entries, 0, "{} sees the files of {}", node.name, other.name);
        }
    }
    let submission = film::small(&cluster);
    let run = cluster.nodes[0].client().render(&submission);

    let ran = executed(&run);
    assert_eq!(ran.len(), STEPS, "every step ran once: {ran:?}");
    let nodes: BTreeSet<&str> = ran.iter().map(|(_, node, _)| *node).collect();
    assert_eq!(nodes.len(), 3, "all three nodes ran steps: {ran:?}");

    for node in &cluster.nodes {
        let copy = cluster.file(&format!("film-{}.mp4", node.name));
        node.get(&run.output_cid, &copy).ok();
        assert_eq!(content_hash(&copy), hex::encode(&run.content_hash), "from node {}", node.name);
    }
    the_film_is_right(&cluster.file("film-a.mp4"));
    everything_is_a_hit_elsewhere(&cluster, &submission, &run);
}

#[track_caller]
fn the_film_is_right(film: &std::path::Path) {
    media::plays(film);
    let probe = media::probe(film);
    assert_eq!((probe.width, probe.height), (u64::from(film::WIDTH), u64::from(film::HEIGHT)), "{probe:?}");
    assert_eq!((probe.videos, probe.sounds), (1, 1), "{probe:?}");
    assert!(probe.container.contains("mp4"), "{probe:?}");
    let expected = 2.0 * film::SEGMENT_S;
    assert!((probe.duration_s - expected).abs() < 0.2, "{probe:?}, expected {expected} s");
}

#[track_caller]
fn everything_is_a_hit_elsewhere(cluster: &Cluster, submission: &Submission, first: &Run) {
    let client = cluster.nodes[2].client();
    learns(&client, STEPS);
    let second = client.render(submission);
    assert_eq!(second.output_cid, first.output_cid);
    assert_eq!(second.run_id, first.run_id, "the same things asked for are the same run id");
    assert_ne!(second.execution_id, first.execution_id, "each submission is an execution of its own");
    assert!(executed(&second).is_empty(), "nothing runs again: {:?}", executed(&second));
    assert!(second.hits >= 1, "{second:?}");
    let missed = second.steps.iter().filter(|step| step.state() != StepState::Hit && step.r#type != "SOURCE");
    assert_eq!(missed.count(), 0, "every step looked up is a hit: {:#?}", second.steps);
}

/// Law: who dies while a step runs changes who runs it, never what comes out.
#[test]
fn a_node_killed_while_it_runs_a_step_costs_an_attempt_and_nothing_else() {
    if without_ffmpeg("a_node_killed_while_it_runs_a_step_costs_an_attempt_and_nothing_else") {
        return;
    }
    let undisturbed = {
        let cluster = Cluster::start(1, Isolation::None);
        cluster.nodes[0].client().render(&film::slow(&cluster))
    };

    let mut cluster = Cluster::empty(Isolation::None);
    // The first one coordinates and runs nothing, so that the one that dies is another.
    cluster.grow(|options| options.slots = Some(0));
    cluster.grow(|options| options.slots = Some(1));
    cluster.grow(|options| options.slots = Some(1));
    cluster.wait_for_members();
    let submission = film::slow(&cluster);
    let client = cluster.nodes[0].client();
    let accepted = client.submit(&submission).expect("accepted");
    let mut watch = client.watch(&accepted.execution_id).expect("watched");
    let hurt = watch
        .until_step(|step| step.state() == StepState::Running && cluster.by_peer(&step.node).is_some_and(|at| at > 0))
        .expect("some step runs on a node that does not coordinate");
    let victim = cluster.by_peer(&hurt.node).expect("it is one of ours");
    let victim_peer = hurt.node.clone();
    cluster.nodes[victim].kill();

    while watch.next().is_some() {}
    let run = client.run(&accepted.execution_id).expect("it can be looked up");
    assert_eq!(run.state(), RunState::Succeeded, "{}: {:#?}", run.message, run.steps);
    let step = run.steps.iter().find(|step| step.id == hurt.id).expect("the step is in the run");
    assert_eq!(step.attempt, 2, "{step:?}");
    assert_ne!(step.node, victim_peer, "{step:?}");
    assert_eq!(run.output_cid, undisturbed.output_cid, "the film is the same");
    assert_eq!(run.content_hash, undisturbed.content_hash);
}

/// Two runs of the same thing at the same time compute it once.
#[test]
fn the_same_film_asked_for_twice_at_once_is_rendered_once() {
    if without_ffmpeg("the_same_film_asked_for_twice_at_once_is_rendered_once") {
        return;
    }
    let cluster = Cluster::start(2, Isolation::None);
    let submission = film::small(&cluster);
    let other = (cluster.nodes[1].client(), submission.clone());
    let second = std::thread::spawn(move || other.0.render(&other.1));
    let first = cluster.nodes[0].client().render(&submission);
    let second = second.join().expect("the other run ended well");
    assert_eq!(first.output_cid, second.output_cid);
    let began = |run: &Run| executed(run).len();
    // Each action is executed in one of the runs; the other follows it or finds it.
    let total = began(&first) + began(&second);
    assert_eq!(total, STEPS, "executions in a network without a fault");
    let results: BTreeSet<&str> = first.steps.iter().map(|step| step.cid.as_str()).collect();
    assert!(second.steps.iter().all(|step| results.contains(step.cid.as_str())), "both runs bind the same results");
}

/// The clip of the shared data, where there is one: real footage rather than a test picture.
#[test]
fn real_footage_renders_too() {
    let test = "real_footage_renders_too";
    if without_ffmpeg(test) {
        return;
    }
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/media/bigbuckbunny.mp4");
    if !std::path::Path::new(clip).exists() {
        return; // extra data of some machines; the made clip covers the same code
    }
    let cluster = Cluster::start(2, Isolation::None);
    let cid = cluster.nodes[1].add(std::path::Path::new(clip));
    // Submitted where the clip is not: it travels as blocks.
    let run = cluster.nodes[0].client().render(&Submission::new(film::RECIPE, &[("clip", &cid)]));
    let film = cluster.file("film.mp4");
    cluster.nodes[0].get(&run.output_cid, &film).ok();
    the_film_is_right(&film);
}

/// Without ffmpeg on any node the built-in steps still render something.
#[test]
fn the_built_in_toolset_needs_no_outside_tool() {
    let recipe = r#"name: built in
version: "1"
toolset: builtin
nodes:
  - { id: sky, type: GENERATE, config: { kind: gradient, width: 64, height: 36 } }
  - { id: fire, type: GENERATE, config: { kind: plasma, width: 64, height: 36, seed: 7 } }
  - { id: both, type: BLEND, config: { mode: screen, opacity: 0.5 }, inputs: [sky, fire] }
output: both
"#;
    let mut cluster = Cluster::empty(Isolation::None);
    let nowhere = cluster.file("empty-path");
    std::fs::create_dir(&nowhere).expect("an empty folder");
    cluster.grow(|options| options.path = Some(nowhere.clone().into()));
    cluster.grow(|options| options.path = Some(nowhere.into()));
    cluster.wait_for_members();
    let run = cluster.nodes[0].client().render(&Submission::new(recipe, &[]));
    let picture = cluster.file("both.png");
    cluster.nodes[1].get(&run.output_cid, &picture).ok();
    let bytes = std::fs::read(&picture).expect("the picture is there");
    assert!(bytes.starts_with(b"\x89PNG"), "a PNG comes out");
}

/// A cancelled run ends as cancelled and its processes are gone.
#[test]
fn cancelling_reaches_the_process() {
    let test = "cancelling_reaches_the_process";
    if without_ffmpeg(test) {
        return;
    }
    let cluster = Cluster::start(2, Isolation::None);
    let client = cluster.nodes[0].client();
    let accepted = client.submit(&film::slow(&cluster)).expect("accepted");
    let mut watch = client.watch(&accepted.execution_id).expect("watched");
    let running = watch.until_step(|step| step.state() == StepState::Running);
    if running.is_none() {
        return skip(test, "the steps ended before one was seen running");
    }
    let busy = wait::until("ffmpeg to start", NEWS, || {
        let all: Vec<u32> =
            cluster.nodes.iter().flat_map(artdag_tests::node::NodeProcess::children).map(|(pid, _)| pid).collect();
        (!all.is_empty()).then_some(all)
    });
    client.cancel(&accepted.execution_id).expect("it can be cancelled");
    while watch.next().is_some() {}
    let run = client.run(&accepted.execution_id).expect("it can be looked up");
    assert_eq!(run.state(), RunState::Cancelled, "{run:?}");
    wait::until("the processes to be gone", NEWS, || busy.iter().all(|pid| !process::is_alive(*pid)).then_some(()));
}

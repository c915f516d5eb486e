//! The demo's film on a cluster of three beside the same ffmpeg commands run by hand, one after the other.
//!
//! The commands are read off the ffmpeg processes of a node that runs one step at a time, and given the same inputs
//! from a plain folder; that they are the same is checked each time: both films must have the same SHA3-256.
//! Three nodes share this machine's cores here, so the ratio shows what being a cluster costs (blocks, hashes,
//! fetches, ffprobe, records), not what it wins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use artdag_core::recipe::{self, NodeType, Recipe};
use artdag_tests::client::{Event, StepState, Submission, content_hash};
use artdag_tests::cluster::{Cluster, Isolation};
use artdag_tests::{command, media, process};

use crate::rows::{Better, Row};

/// What `artdag-node demo` makes and renders.
const SECONDS: u32 = 20;
const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const RECIPE: &str = include_str!("../../node/src/demo/film.yaml");

pub fn measure(pairs: usize) -> Vec<Row> {
    let (bound_by, beside) = ("ffmpeg: decoding, filters, x264", "ffmpeg by hand");
    let mut wall = Row::new("film on 3 nodes of one machine, wall time", "s", Better::Lower, bound_by).beside(beside);
    let mut cpu = Row::new("the same, processor time of all nodes", "s", Better::Lower, bound_by).beside(beside);
    let mut again = Row::new("the same film again, all hits", "ms", Better::Lower, "one look-up for each step");
    let folder = tempfile::tempdir().expect("a scratch folder");
    let clip = folder.path().join("clip.mp4");
    media::make_clip(&clip, SECONDS, WIDTH, HEIGHT);
    eprintln!("demo: reading the commands off a node");
    let film = Script::read_off(&clip);
    for pair in 1..=pairs {
        eprintln!("demo: pair {pair} of {pairs}");
        let ours = cluster(&clip);
        let peer = film.by_hand(folder.path());
        assert_eq!(ours.content_hash, peer.content_hash, "the commands by hand give another film");
        wall.samples_ours.push(ours.wall.as_secs_f64());
        wall.samples_peer.push(peer.wall.as_secs_f64());
        cpu.samples_ours.push(ours.cpu.as_secs_f64());
        cpu.samples_peer.push(peer.cpu.as_secs_f64());
        again.samples_ours.push(ours.again.as_secs_f64() * 1000.0);
    }
    vec![wall, cpu, again]
}

struct Taken {
    wall: Duration,
    cpu: Duration,
    again: Duration,
    content_hash: String,
}

/// From the submission to the film, on a cluster that has seen nothing before.
fn cluster(clip: &Path) -> Taken {
    let cluster = Cluster::start(3, Isolation::None);
    let cid = cluster.nodes[0].add(clip);
    let submission = Submission::new(RECIPE, &[("clip", &cid)]);
    let client = cluster.nodes[0].client();
    let used = || cluster.nodes.iter().map(|node| process::cpu_time(node.pid())).sum::<Duration>();
    let (before, began) = (used(), Instant::now());
    let run = client.render(&submission);
    let (wall, cpu) = (began.elapsed(), used() - before);
    let began = Instant::now();
    client.render(&submission);
    Taken { wall, cpu, again: began.elapsed(), content_hash: hex::encode(run.content_hash) }
}

/// The film as ffmpeg commands, in the order in which a lone node ran them.
struct Script {
    recipe: Recipe,
    /// Ids of the steps with the words of their commands.
    steps: Vec<(String, Vec<String>)>,
}

impl Script {
    fn read_off(clip: &Path) -> Script {
        let mut cluster = Cluster::empty(Isolation::None);
        cluster.grow(|options| options.slots = Some(1));
        let node = &cluster.nodes[0];
        let cid = node.add(clip);
        let client = node.client();
        let accepted = client.submit(&Submission::new(RECIPE, &[("clip", &cid)])).expect("accepted");
        let over = AtomicBool::new(false);
        let seen = Mutex::new(BTreeMap::new());
        let mut order: Vec<String> = Vec::new();
        std::thread::scope(|threads| {
            threads.spawn(|| while_not(&over, || look(node.pid(), &mut seen.lock().expect("nobody panicked"))));
            for event in client.watch(&accepted.execution_id).expect("watched") {
                let Some(Event::Step(step)) = event.event else { continue };
                if step.state() == StepState::Running && !order.contains(&step.id) {
                    order.push(step.id);
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        // Process ids grow, and with one slot the steps follow each other: first process, first step.
        let commands: Vec<Vec<String>> = seen.into_inner().expect("nobody panicked").into_values().collect();
        let names: BTreeSet<&String> = order.iter().collect();
        assert_eq!(commands.len(), names.len(), "one ffmpeg for each step of {order:?}");
        let recipe = recipe::parse(RECIPE.as_bytes(), "film.yaml").expect("the demo's recipe is right");
        Script { recipe, steps: order.into_iter().zip(commands).collect() }
    }

    fn by_hand(&self, folder: &Path) -> Taken {
        let file = |id: &str| folder.join(format!("{id}.media"));
        for (id, _) in &self.steps {
            let _ = std::fs::remove_file(file(id));
        }
        let me = std::process::id();
        let (before, began) = (process::children_cpu_time(me), Instant::now());
        for (id, words) in &self.steps {
            let inputs: Vec<PathBuf> = self
                .inputs(id)
                .iter()
                .map(|(name, kind)| match kind {
                    NodeType::Source => folder.join("clip.mp4"),
                    _ => file(name),
                })
                .collect();
            command::finish(Command::new("ffmpeg").args(with_files(words, &inputs, &file(id))).current_dir(folder))
                .ok();
        }
        let (wall, cpu) = (began.elapsed(), process::children_cpu_time(me) - before);
        let hash = content_hash(&file(&self.recipe.output));
        Taken { wall, cpu, again: Duration::ZERO, content_hash: hash }
    }

    fn inputs(&self, id: &str) -> Vec<(&str, NodeType)> {
        let node = |id: &str| self.recipe.nodes.iter().find(|node| node.id == id).expect("the recipe was checked");
        node(id).inputs.iter().map(|input| (input.as_str(), node(input).kind)).collect()
    }
}

fn while_not(over: &AtomicBool, mut again: impl FnMut()) {
    while !over.load(Ordering::Relaxed) {
        again();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Notes the command of every ffmpeg below the node, by process id.
fn look(node: u32, seen: &mut BTreeMap<u32, Vec<String>>) {
    for (pid, name) in process::descendants(node) {
        if name != "ffmpeg" || seen.contains_key(&pid) {
            continue;
        }
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).skip(1);
        let words: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        // Its version was asked for as well.
        if words.iter().any(|word| word == "-i") {
            seen.insert(pid, words);
        }
    }
}

/// The same command on other files.
fn with_files(words: &[String], inputs: &[PathBuf], output: &Path) -> Vec<String> {
    let mut words = words.to_vec();
    let named = |path: &Path| format!("file:{}", path.display());
    let places: Vec<usize> = (1..words.len()).filter(|at| words[at - 1] == "-i").collect();
    assert_eq!(places.len(), inputs.len(), "one -i for each input: {words:?}");
    for (at, input) in places.into_iter().zip(inputs) {
        words[at] = named(input);
    }
    *words.last_mut().expect("a command ends with its output") = named(output);
    words
}

//! Bad input and broken surroundings: a clear error that names the next action, exit code ≠ 0, nothing lost, no half file.

use std::net::TcpListener;
use std::path::Path;

use artdag_tests::client::Submission;
use artdag_tests::cluster::{Cluster, Isolation, KEY};
use artdag_tests::film;
use artdag_tests::node::{NodeProcess, Options};
use artdag_tests::place::Place;
use artdag_tests::process;
use artdag_tests::skip::{needs_root, needs_tool};

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

#[track_caller]
fn says(message: &str, words: &[&str]) {
    let lower = message.to_lowercase();
    for word in words {
        assert!(lower.contains(&word.to_lowercase()), "`{word}` is not in: {message}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let cluster = Cluster::empty(Isolation::None);
    let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let port = taken.local_addr().expect("it is bound").port();
    for flag in ["--grpc", "--http", "--gateway"] {
        let mut options = Options::new(KEY);
        options.more = vec![flag.into(), format!("127.0.0.1:{port}")];
        says(&NodeProcess::refuses(&cluster.data("a"), &options), &[&port.to_string(), "in use"]);
        assert!(!cluster.data("a").join("node.json").exists(), "a node that did not start is not ready");
    }
    let mut options = Options::new(KEY);
    options.listen = vec![format!("/ip4/127.0.0.1/tcp/{port}")];
    says(&NodeProcess::refuses(&cluster.data("a"), &options), &[&port.to_string(), "in use"]);
}

#[test]
fn a_data_directory_belongs_to_one_node() {
    let cluster = Cluster::start(1, Isolation::None);
    let data = cluster.data("a");
    says(&NodeProcess::refuses(&data, &Options::new(KEY)), &[text(&data), "in use"]);
    assert!(cluster.nodes[0].client().nodes().is_ok(), "the first one does not notice");
    assert!(data.join("node.json").exists(), "and is still found");
}

#[test]
fn a_corrupt_config_is_named_with_its_line() {
    let cluster = Cluster::empty(Isolation::None);
    let config = cluster.file("node.toml");
    let refuse = |content: &str| {
        std::fs::write(&config, content).expect("written");
        let mut options = Options::new(KEY);
        options.more = vec!["--config".into(), text(&config).into()];
        NodeProcess::refuses(&cluster.data("a"), &options)
    };
    says(&refuse("slots = 1\nslots = = 2\n"), &["node.toml", "line 2"]);
    says(&refuse("slotz = 1\n"), &["node.toml", "slotz"]);
    says(&refuse("slots = \"many\"\n"), &["node.toml", "slots"]);
}

#[test]
fn a_damaged_identity_stops_the_node() {
    let mut cluster = Cluster::start(1, Isolation::None);
    cluster.nodes[0].kill();
    std::fs::write(cluster.data("a").join("identity.key"), b"short").expect("written");
    says(&NodeProcess::refuses(&cluster.data("a"), &Options::new(KEY)), &["identity.key"]);
}

/// A recipe no node can run fails at once and says why, instead of waiting for a tool that nobody has.
#[test]
fn a_missing_ffmpeg_is_said_at_once() {
    if !needs_tool("a_missing_ffmpeg_is_said_at_once", "ffmpeg", "-version") {
        return;
    }
    let mut cluster = Cluster::empty(Isolation::None);
    let nowhere = cluster.file("empty-path");
    std::fs::create_dir(&nowhere).expect("an empty folder");
    cluster.grow(|options| options.path = Some(nowhere.into()));
    let submission = film::small(&cluster);
    let told = run_by_command(&cluster, &submission.recipe, &submission.inputs["clip"]);
    says(&told, &["ffmpeg"]);
}

#[test]
fn what_is_not_media_fails_the_step_that_reads_it() {
    if !needs_tool("what_is_not_media_fails_the_step_that_reads_it", "ffmpeg", "-version") {
        return;
    }
    let cluster = Cluster::start(1, Isolation::None);
    let letter = cluster.file("letter.txt");
    std::fs::write(&letter, "dear reader, this is no film\n".repeat(1000)).expect("written");
    let cid = cluster.nodes[0].add(&letter);
    let told = run_by_command(&cluster, film::RECIPE, &cid);
    says(&told, &["head"]);
    // A failure is never remembered as a result.
    assert_eq!(cluster.nodes[0].client().results(), 0);
    let run = cluster.nodes[0].client().finish(&Submission::new(film::RECIPE, &[("clip", &cid)]));
    assert_eq!(run.hits, 0, "{run:?}");
}

#[test]
fn a_bad_recipe_is_refused_with_file_line_and_advice() {
    let cluster = Cluster::start(1, Isolation::None);
    let recipe = cluster.file("bad.yaml");
    let refuse = |content: &str| {
        std::fs::write(&recipe, content).expect("written");
        cluster.nodes[0].artdag(&["run", text(&recipe), "--follow"]).failed()
    };
    let head = "name: x\nversion: \"1\"\nnodes:\n";
    let unknown_key = format!("{head}  - {{ id: a, type: SEGMENT, config: {{ ofset: 1 }}, inputs: [a] }}\noutput: a\n");
    says(&refuse(&unknown_key), &["bad.yaml", "4", "ofset"]);
    let wrong_type = format!("{head}  - {{ id: a, type: SEGMNT }}\noutput: a\n");
    says(&refuse(&wrong_type), &["bad.yaml", "4", "SEGMNT", "SEGMENT"]);
    let missing =
        format!("{head}  - {{ id: a, type: RESIZE, config: {{ width: 2, height: 2 }}, inputs: [b] }}\noutput: a\n");
    says(&refuse(&missing), &["bad.yaml", "4", "b"]);
    let cycle = format!(
        "{head}  - {{ id: a, type: TRANSFORM, inputs: [b] }}\n  - {{ id: b, type: TRANSFORM, inputs: [a] }}\noutput: a\n"
    );
    says(&refuse(&cycle), &["bad.yaml", "cycle"]);
    says(&refuse("{ not: [yaml"), &["bad.yaml"]);
    assert!(cluster.nodes[0].client().nodes().is_ok());
}

#[test]
fn a_command_without_a_node_says_where_it_looked() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let url = format!("http://{nobody}");
    let told = artdag_tests::command::run(process::program("artdag"), &["--node", &url, "nodes"]).failed();
    says(&told, &[&nobody.port().to_string()]);
}

/// A full disk refuses what does not fit, keeps what is there, and goes on serving.
#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    if !needs_root("a_full_disk_refuses_and_loses_nothing") {
        return;
    }
    // The node keeps 64 MiB back for its own records, so that a full disk cannot stop it.
    const DISK: u64 = 128 << 20;
    let mut cluster = Cluster::empty(Isolation::None);
    let folder = cluster.data("a");
    cluster.grow(|options| options.place = Place::SmallDisk { folder, size_bytes: DISK });
    let node = &cluster.nodes[0];
    let inside = |name: &str| process::seen_by(node.pid(), &cluster.data("a").join(name));
    let file = |name: &str, byte: u8, size: usize| {
        std::fs::write(cluster.file(name), vec![byte; size]).expect("written");
        cluster.file(name)
    };
    let kept = node.add(&file("small", 7, 2_000_000));

    says(&node.artdag(&["add", text(&file("large", 8, 100 << 20))]).failed(), &["space"]);
    assert!(largest_file(&inside("blobs")) < 8_000_000, "no half file is left");
    assert!(largest_file(&inside("incoming")) < 8_000_000, "nor one that was being written");

    // Somebody else fills the disk to the last byte.
    let filler = inside("filler");
    let full = std::fs::write(&filler, vec![1; usize::try_from(DISK).expect("small")]).expect_err("it is too small");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    says(&node.artdag(&["add", text(&file("another", 9, 1_000_000))]).failed(), &["space"]);
    let copy = cluster.file("copy");
    node.get(&kept, &copy).ok();
    assert_eq!(std::fs::read(&copy).expect("copied"), vec![7; 2_000_000]);

    std::fs::remove_file(&filler).expect("it was just written");
    node.add(&cluster.file("another"));
}

fn largest_file(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| {
        let path = entry.path();
        if path.is_dir() { largest_file(&path) } else { entry.metadata().map_or(0, |metadata| metadata.len()) }
    });
    sizes.max().unwrap_or(0)
}

/// `artdag run`, which must fail; what it said. The node goes on.
#[track_caller]
fn run_by_command(cluster: &Cluster, recipe: &str, clip: &str) -> String {
    let file = cluster.file("recipe.yaml");
    std::fs::write(&file, recipe).expect("written");
    let node = &cluster.nodes[0];
    let told = node.artdag(&["run", text(&file), "-i", &format!("clip={clip}"), "--follow"]).failed();
    assert!(node.client().nodes().is_ok(), "the node goes on");
    told
}

//! Who is a member, who is a peer, and how a node finds the others.

use std::time::Duration;

use artdag_tests::client::Submission;
use artdag_tests::cluster::{Cluster, Isolation, KEY};
use artdag_tests::command;
use artdag_tests::node::{Key, Mdns, NodeProcess};
use artdag_tests::place::Wire;
use artdag_tests::skip::needs_root;
use artdag_tests::{process, wait};

const MEET: Duration = Duration::from_secs(30);

/// Bytes that no codec shortens and no other test adds.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    use rand::{RngExt, SeedableRng};
    let mut bytes = vec![0; length];
    rand::rngs::StdRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

/// As `artdag nodes` shows them: one line for each node.
fn members_by_command(node: &NodeProcess) -> usize {
    let finished = node.artdag(&["nodes", "--json"]);
    if !finished.status.success() {
        return 0;
    }
    let nodes = finished.json_lines();
    nodes.iter().filter(|node| node["member"] == true || node["self"] == true).count()
}

/// A node with another key is no member, says why, and is served what is public and nothing else.
#[test]
fn a_wrong_key_makes_a_public_peer_and_no_member() {
    let mut cluster = Cluster::start(1, Isolation::None);
    cluster.grow(|options| options.key = Key::Environment("quite another key, also longer than 32 bytes".into()));
    let (member, stranger) = (&cluster.nodes[0], &cluster.nodes[1]);

    let refused = || member.log_text().contains("refused") || stranger.log_text().contains("refused");
    wait::until("the refusal to be logged", MEET, || refused().then_some(()));
    let connected = || {
        let nodes = member.client().nodes().expect("the node answers");
        nodes.into_iter().find(|node| node.peer_id == stranger.ready.peer_id)
    };
    let seen = wait::until("the stranger to be a peer", MEET, connected);
    assert!(!seen.member, "{seen:?}");

    let (open, closed) = (cluster.file("open"), cluster.file("closed"));
    std::fs::write(&open, noise(3_000_000, 1)).expect("written");
    std::fs::write(&closed, noise(3_000_000, 2)).expect("written");
    let (open_cid, closed_cid) = (member.add(&open), member.add(&closed));
    member.artdag(&["public", "add", &open_cid]).ok();

    let copy = cluster.file("copy");
    stranger.get(&open_cid, &copy).ok();
    assert_eq!(std::fs::read(&copy).expect("copied"), noise(3_000_000, 1));

    let private = cluster.file("private");
    let told = stranger.get(&closed_cid, &private).failed();
    assert!(!told.is_empty() && !private.exists(), "nothing private comes out, not even a half file: {told}");

    // Nor does it get work or results.
    let run = Submission::new(
        "name: x\nversion: \"1\"\ntoolset: builtin\nnodes:\n  - { id: a, type: GENERATE, config: { kind: gradient } }\noutput: a\n",
        &[],
    );
    let run = member.client().render(&run);
    assert!(run.steps.iter().all(|step| step.node != stranger.ready.peer_id));
    assert_eq!(stranger.client().results(), 0, "no result of the cluster is told to a stranger");
}

/// One string is all a new node needs.
#[test]
fn an_invite_makes_a_member() {
    let mut cluster = Cluster::empty(Isolation::None);
    // It makes its own key and keeps it.
    cluster.grow(|options| options.key = Key::Unsaid);
    let data = cluster.data("a");
    let data = data.to_str().expect("test paths are text");
    let invite = command::run(process::program("artdag-node"), &["invite", "--data-dir", data]).ok().text();
    let invite = invite.split_whitespace().find(|word| word.starts_with("artdag1")).expect("an invite is printed");
    let joined = cluster.grow(|options| {
        options.key = Key::Unsaid;
        options.join = vec![invite.to_string()];
    });
    let joined = joined.ready.peer_id.clone();
    cluster.wait_for_members();
    let known = cluster.nodes[0].client().nodes().expect("the node answers");
    assert!(known.iter().any(|node| node.peer_id == joined && node.member), "{known:?}");

    // A lost letter is noticed before anything is dialled.
    let broken = invite.replacen(&invite[10..12], "zz", 1);
    let mut options = artdag_tests::node::Options::new(KEY);
    options.key = Key::Unsaid;
    options.join = vec![broken];
    let told = NodeProcess::refuses(&cluster.data("c"), &options);
    assert!(told.contains("invite"), "{told}");
}

/// A node to which nothing was said is closed: it makes a key, keeps it to itself, and lets nobody in.
#[test]
fn a_lone_node_is_closed_by_default() {
    use std::os::unix::fs::PermissionsExt;
    let mut cluster = Cluster::empty(Isolation::None);
    cluster.grow(|options| options.key = Key::Unsaid);
    cluster.grow(|options| options.key = Key::Unsaid);
    let both = || cluster.nodes.iter().all(|node| node.client().nodes().is_ok_and(|nodes| nodes.len() == 2));
    wait::until("the two to be connected", MEET, || both().then_some(()));
    for node in &cluster.nodes {
        assert_eq!(node.client().members(), 1, "only itself");
        let secrets = std::fs::read_dir(&node.data).expect("the data directory can be listed").flatten();
        for entry in secrets.filter(|entry| entry.file_name().to_string_lossy().contains("key")) {
            let mode = entry.metadata().expect("it has a mode").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
        }
    }
}

/// Members come back by themselves when a node was away.
#[test]
fn a_node_that_was_away_is_a_member_again() {
    let mut cluster = Cluster::start(3, Isolation::None);
    let before = cluster.nodes[2].ready.peer_id.clone();
    cluster.restart(2);
    assert_eq!(cluster.nodes[2].ready.peer_id, before, "the identity is kept");
    cluster.wait_for_members();
}

/// Two machines on one wire find each other, with nothing said.
#[test]
fn nodes_on_one_wire_find_each_other() {
    if !needs_root("nodes_on_one_wire_find_each_other") {
        return;
    }
    let wire = Wire::lay();
    let mut cluster = Cluster::empty(Isolation::None);
    for place in wire.ends() {
        cluster.grow(|options| {
            options.place = place;
            options.mdns = Mdns::On;
            options.join.clear();
            options.listen = vec!["/ip4/0.0.0.0/tcp/0".into()];
        });
    }
    for node in &cluster.nodes {
        let what = format!("node {} to find the other", node.name);
        wait::until(&what, MEET, || (members_by_command(node) == 2).then_some(()));
    }
}

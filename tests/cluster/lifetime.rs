//! Stopping, being killed, coming back.

use std::time::Duration;

use artdag_tests::client::StepState;
use artdag_tests::cluster::{Cluster, Isolation};
use artdag_tests::node::STOP;
use artdag_tests::skip::needs_tool;
use artdag_tests::{command, film, process, wait};
use rustix::process::Signal;

const START: Duration = Duration::from_secs(20);

#[test]
fn sigterm_and_ctrl_c_stop_a_busy_node_in_time_with_its_steps() {
    if !needs_tool("sigterm_and_ctrl_c_stop_a_busy_node_in_time_with_its_steps", "ffmpeg", "-version") {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let mut cluster = Cluster::start(1, Isolation::None);
        let submission = film::slow(&cluster);
        let client = cluster.nodes[0].client();
        let accepted = client.submit(&submission).expect("accepted");
        let mut watch = client.watch(&accepted.execution_id).expect("watched");
        watch.until_step(|step| step.state() == StepState::Running).expect("a step runs");
        let busy = wait::until("ffmpeg to start", START, || {
            let children = cluster.nodes[0].children();
            children.iter().any(|(_, name)| name.contains("ffmpeg")).then_some(children)
        });
        let (status, took) = cluster.nodes[0].stop(signal);
        assert!(took <= STOP, "{signal:?} took {took:?}");
        assert!(status.success(), "{signal:?}: {status}");
        for (pid, name) in busy {
            assert!(!process::is_alive(pid), "{name} ({pid}) outlived its node");
        }
        assert!(!cluster.data("a").join("node.json").exists(), "a stopped node is not ready");
        cluster.restart(0);
    }
}

/// A node that dies takes its steps with it: nothing renders on for nobody.
#[test]
fn a_killed_node_leaves_no_process_behind() {
    if !needs_tool("a_killed_node_leaves_no_process_behind", "ffmpeg", "-version") {
        return;
    }
    let mut cluster = Cluster::start(1, Isolation::None);
    let submission = film::slow(&cluster);
    let client = cluster.nodes[0].client();
    client.submit(&submission).expect("accepted");
    let busy = wait::until("ffmpeg to start", START, || {
        let children = cluster.nodes[0].children();
        children.iter().any(|(_, name)| name.contains("ffmpeg")).then_some(children)
    });
    cluster.nodes[0].kill();
    let gone = || busy.iter().all(|(pid, _)| !process::is_alive(*pid));
    wait::until("the steps to die with their node", START, || gone().then_some(()));
}

/// Acknowledged is durable.
#[test]
fn what_was_acknowledged_survives_kill_9() {
    let mut cluster = Cluster::start(1, Isolation::None);
    let sizes = [0_usize, 1, 1 << 20, (1 << 20) + 1, 9_000_000];
    let mut known = Vec::new();
    for (number, size) in sizes.into_iter().enumerate() {
        let file = cluster.file(&format!("file-{number}"));
        std::fs::write(&file, vec![u8::try_from(number).expect("few files"); size]).expect("written");
        known.push((cluster.nodes[0].add(&file), std::fs::read(&file).expect("read back")));
        // Killed right after each answer, in the middle of whatever else it does.
        cluster.nodes[0].kill();
        cluster.restart(0);
    }
    for (cid, bytes) in known {
        let answer = cluster.nodes[0].artdag(&["cat", &cid]).ok();
        assert!(answer.stdout == bytes, "{cid} of {} bytes", bytes.len());
    }
}

/// The index may be lost: it is made again from what may not be lost, on start and by `repair`.
#[test]
fn a_lost_index_is_made_again() {
    let mut cluster = Cluster::start(1, Isolation::None);
    let file = cluster.file("file");
    std::fs::write(&file, vec![5; 5_000_000]).expect("written");
    let cid = cluster.nodes[0].add(&file);
    cluster.nodes[0].stop(Signal::TERM);
    std::fs::remove_dir_all(cluster.data("a").join("index")).expect("there is an index");
    cluster.restart(0);
    assert_eq!(cluster.nodes[0].artdag(&["cat", &cid]).ok().stdout.len(), 5_000_000);

    cluster.nodes[0].stop(Signal::TERM);
    std::fs::remove_dir_all(cluster.data("a").join("index")).expect("there is an index");
    let data = cluster.data("a");
    let data = data.to_str().expect("test paths are text");
    command::run(process::program("artdag-node"), &["repair", "--data-dir", data]).ok();
    cluster.restart(0);
    assert_eq!(cluster.nodes[0].artdag(&["cat", &cid]).ok().stdout.len(), 5_000_000);
}

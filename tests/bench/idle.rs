//! A node that does nothing: how soon it answers on an empty directory, what it keeps in memory, how large the
//! program is. The peer is a Kubo daemon, where there is one.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use artdag_tests::client::Client;
use artdag_tests::cluster::KEY;
use artdag_tests::kubo::{self, Kubo, Transport};
use artdag_tests::{command, process};

use crate::rows::{Better, Row};

/// After this long a node that was just started has nothing left to do.
const SETTLE: Duration = Duration::from_secs(3);
/// A node that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(30);
const MIB: f64 = 1024.0 * 1024.0;

pub fn measure(pairs: usize) -> Vec<Row> {
    let kubo = kubo::program();
    let mut answer = Row::new("first gRPC answer on an empty directory", "ms", Better::Lower, "start of the process")
        .goal("ours", "<=", 500.0);
    let mut memory =
        Row::new("resident memory, idle", "MiB", Better::Lower, "program and buffers").goal("ours", "<=", 80.0);
    let mut size = Row::new("size of the program", "MB", Better::Lower, "code").goal("ours", "<", 80.0);
    let megabytes = |path: &Path| std::fs::metadata(path).map_or(f64::NAN, |file| file.len() as f64 / 1e6);
    size.samples_ours.push(megabytes(&process::program("artdag-node")));
    if let Some(program) = &kubo {
        (answer, memory, size) = (answer.beside("Kubo"), memory.beside("Kubo"), size.beside("Kubo"));
        // The program on PATH may be named without a folder.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(program));
        size.samples_peer.push(found.map(|path| megabytes(&path)).find(|size| size.is_finite()).unwrap_or(f64::NAN));
    }
    for pair in 1..=pairs {
        eprintln!("idle: pair {pair} of {pairs}");
        let (first_answer_ms, resident_mib) = ours();
        answer.samples_ours.push(first_answer_ms);
        memory.samples_ours.push(resident_mib);
        if let Some(program) = &kubo {
            let (first_answer_ms, resident_mib) = peer(program);
            answer.samples_peer.push(first_answer_ms);
            memory.samples_peer.push(resident_mib);
        }
    }
    vec![answer, memory, size]
}

/// Milliseconds to the first answer, and MiB once settled.
fn ours() -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let port = free_port();
    let began = Instant::now();
    let mut node = start(folder.path(), port);
    wait_until_open(port);
    let client = Client::connect(&format!("http://127.0.0.1:{port}"));
    // The port is open a moment before the service answers on it.
    while client.nodes().is_err() {
        assert!(began.elapsed() < PATIENCE, "the node does not answer");
    }
    let first_answer = began.elapsed();
    std::thread::sleep(SETTLE);
    let resident = process::resident_bytes(node.id());
    command::end(&mut node);
    (first_answer.as_secs_f64() * 1000.0, resident as f64 / MIB)
}

fn start(data: &Path, port: u16) -> Child {
    let mut command = Command::new(process::program("artdag-node"));
    command.arg("run").arg("--data-dir").arg(data).args(["--grpc", &format!("127.0.0.1:{port}")]);
    command.args(["--http", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--no-mdns"]);
    command.args(["--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"]);
    command.env("ARTDAG_CLUSTER_KEY", KEY).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the node was built")
}

/// Free a moment ago; a bench may take the chance that it still is.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("some port is free");
    listener.local_addr().expect("it is bound").port()
}

fn wait_until_open(port: u16) {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < PATIENCE, "the node does not open port {port}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The same of a Kubo daemon; its repository is made beforehand, ours is made while it starts.
fn peer(program: &Path) -> (f64, f64) {
    let kubo = Kubo::start(program, Transport::Tcp);
    std::thread::sleep(SETTLE);
    (kubo.started_in.as_secs_f64() * 1000.0, process::resident_bytes(kubo.pid()) as f64 / MIB)
}

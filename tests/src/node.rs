//! One node as an OS process, and the `artdag` command pointed at it.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;

use crate::client::Client;
use crate::command::{self, Finished};
use crate::place::Place;
use crate::{process, wait};

/// Far more than a node needs to start on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// What the node promises for SIGTERM and Ctrl-C.
pub const STOP: Duration = Duration::from_secs(5);
/// A signal or an exit is noticed late on a machine that builds and renders beside.
const SLACK: Duration = Duration::from_secs(2);

/// Where the cluster key comes from.
#[derive(Clone, Debug)]
pub enum Key {
    /// `ARTDAG_CLUSTER_KEY`.
    Environment(String),
    /// Nothing is said: an invite brings it, or the node makes its own.
    Unsaid,
}

/// How to start a node. Everything that is not said has the harness's default: ports 0, no mDNS.
#[derive(Clone, Debug)]
pub struct Options {
    pub key: Key,
    pub listen: Vec<String>,
    pub join: Vec<String>,
    pub mdns: Mdns,
    pub slots: Option<u32>,
    /// `PATH` of the node, if not ours.
    pub path: Option<OsString>,
    pub place: Place,
    /// More arguments, which may repeat and so override the harness's own.
    pub more: Vec<String>,
}

/// Whether a node looks around by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mdns {
    On,
    Off,
}

impl Options {
    pub fn new(key: &str) -> Options {
        Options {
            key: Key::Environment(key.to_string()),
            listen: vec!["/ip4/127.0.0.1/tcp/0".into(), "/ip4/127.0.0.1/udp/0/quic-v1".into()],
            join: Vec::new(),
            mdns: Mdns::Off,
            slots: None,
            path: None,
            place: Place::Shared,
            more: Vec::new(),
        }
    }
}

/// `node.json`, written when the node is ready.
#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    pub peer_id: String,
    pub pid: u32,
    pub listen: Vec<String>,
    pub grpc: String,
    pub http: String,
    pub gateway: String,
}

/// A running node. Dropping it kills it; when a test fails the end of its log is shown.
pub struct NodeProcess {
    pub name: String,
    pub data: PathBuf,
    pub ready: Ready,
    log: PathBuf,
    place: Place,
    child: Child,
}

impl NodeProcess {
    /// Starts a node and waits until it is ready; panics with its log when it does not get there.
    #[track_caller]
    pub fn start(name: &str, data: &Path, options: &Options) -> NodeProcess {
        let log = data.with_extension("log");
        let mut child = spawn(data, options, &log);
        let ready = wait::within(READY, || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("node {name} ended with {status} before it was ready:\n{}", tail(&log));
            }
            read_ready(child.id(), data)
        });
        let Some(ready) = ready else {
            command::end(&mut child);
            panic!("node {name} was not ready in {READY:?}:\n{}", tail(&log));
        };
        let (data, place) = (data.to_path_buf(), options.place.clone());
        NodeProcess { name: name.to_string(), data, ready, log, place, child }
    }

    /// Runs a node that should refuse to start, to its end.
    #[track_caller]
    pub fn refuses(data: &Path, options: &Options) -> String {
        command::finish(&mut prepare(data, options)).failed()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn grpc_url(&self) -> String {
        url(&self.ready.grpc)
    }

    /// The gateway's address of a path.
    pub fn gateway_url(&self, path: &str) -> String {
        format!("{}{path}", url(&self.ready.gateway))
    }

    /// The first address that speaks `transport` (`/tcp/`, `/quic-v1`), with the peer id.
    #[track_caller]
    pub fn address(&self, transport: &str) -> String {
        let found = self.ready.listen.iter().find(|address| address.contains(transport));
        let address = found.unwrap_or_else(|| panic!("no {transport} in {:?}", self.ready.listen));
        if address.contains("/p2p/") { address.clone() } else { format!("{address}/p2p/{}", self.ready.peer_id) }
    }

    /// `artdag --node THIS …` to its end, in the node's own place where that matters.
    #[track_caller]
    pub fn artdag(&self, arguments: &[&str]) -> Finished {
        let mut command = match &self.place {
            Place::Network(_) => self.place.command(&process::program("artdag")),
            _ => Command::new(process::program("artdag")),
        };
        command::finish(command.args(["--node", &self.grpc_url()]).args(arguments).env_remove("ARTDAG_NODE"))
    }

    /// `artdag add PATH`: the CID of the root.
    #[track_caller]
    pub fn add(&self, path: &Path) -> String {
        let path = path.to_str().expect("test paths are text");
        let root = self.artdag(&["add", "-r", path, "--json"]).ok().json();
        root["cid"].as_str().unwrap_or_else(|| panic!("no cid in {root}")).to_string()
    }

    /// `artdag get CID -o TO`.
    #[track_caller]
    pub fn get(&self, cid: &str, to: &Path) -> Finished {
        self.artdag(&["get", cid, "-o", to.to_str().expect("test paths are text")])
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.grpc_url())
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Programs that the node has running, itself apart, as (pid, name).
    pub fn children(&self) -> Vec<(u32, String)> {
        process::descendants(self.pid())
    }

    /// Kills the node as a power cut would.
    pub fn kill(&mut self) {
        command::end(&mut self.child);
    }

    /// Asks the node to stop and waits for it; panics when it takes longer than it promises.
    #[track_caller]
    pub fn stop(&mut self, signal: Signal) -> (ExitStatus, Duration) {
        let began = Instant::now();
        process::signal(self.pid(), signal);
        let what = format!("node {} to stop on {signal:?}", self.name);
        let status = wait::until(&what, STOP + SLACK, || self.child.try_wait().expect("a child can be waited for"));
        (status, began.elapsed())
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        command::end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("--- end of the log of node {}\n{}", self.name, tail(&self.log));
        }
    }
}

fn prepare(data: &Path, options: &Options) -> Command {
    let mut command = options.place.command(&process::program("artdag-node"));
    command.arg("run").arg("--data-dir").arg(data);
    for address in &options.listen {
        command.args(["--listen", address]);
    }
    for address in &options.join {
        command.args(["--join", address]);
    }
    for (flag, value) in [("--grpc", "127.0.0.1:0"), ("--http", "127.0.0.1:0"), ("--gateway", "127.0.0.1:0")] {
        if !options.more.iter().any(|argument| argument == flag) {
            command.args([flag, value]);
        }
    }
    if options.mdns == Mdns::Off {
        command.arg("--no-mdns");
    }
    if let Some(slots) = options.slots {
        command.args(["--slots", &slots.to_string()]);
    }
    command.args(&options.more).env_remove("ARTDAG_CLUSTER_KEY");
    if let Key::Environment(key) = &options.key {
        command.env("ARTDAG_CLUSTER_KEY", key);
    }
    if let Some(path) = &options.path {
        command.env("PATH", path);
    }
    command
}

fn spawn(data: &Path, options: &Options, log: &Path) -> Child {
    std::fs::create_dir_all(data).expect("the data directory can be made");
    // What an earlier process left must not be taken for this one's.
    let _ = std::fs::remove_file(data.join("node.json"));
    let out = File::options().create(true).append(true).open(log).expect("the log can be opened");
    let err = out.try_clone().expect("a file can be shared");
    let mut command = prepare(data, options);
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    command.spawn().unwrap_or_else(|e| panic!("{command:?} cannot be started: {e}"))
}

fn read_ready(pid: u32, data: &Path) -> Option<Ready> {
    // Through /proc, because the node may see another file system there than the test does.
    let text = std::fs::read_to_string(process::seen_by(pid, &data.join("node.json"))).ok()?;
    let ready: Ready = serde_json::from_str(&text).ok()?;
    (ready.pid == pid).then_some(ready)
}

fn url(address: &str) -> String {
    if address.starts_with("http") { address.trim_end_matches('/').to_string() } else { format!("http://{address}") }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    const LINES: usize = 40;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

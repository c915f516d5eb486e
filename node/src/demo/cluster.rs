//! Three nodes as three processes: each its own data folder, identity and ports on loopback.
//!
//! They are started as anyone starts them, by `artdag-node run`, found by their `node.json` and
//! stopped by SIGTERM; one that does not listen is killed. Each runs in a process group of its
//! own, so that a Ctrl-C on the terminal reaches the demo alone, which then stops them in order.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use artdag_client::{Client, short_peer};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};

use super::{report::Report, tell};
use crate::{
    clock::{self, Stopwatch},
    entropy,
};

const NAMES: [char; 3] = ['A', 'B', 'C'];
/// A node is ready within half a second; a machine under load may take far longer.
const READY_LIMIT_MS: u64 = 30_000;
/// The proof of membership is two round trips.
const MEMBERS_LIMIT_MS: u64 = 30_000;
const POLL_MS: u64 = 20;
/// A node promises to stop within 5 s.
const STOP_LIMIT_MS: u64 = 6_000;
/// Lines of a dead node's log that are worth showing.
const LOG_LINES: usize = 8;
/// The end of a log is enough; a log may be long.
const LOG_BYTES: u64 = 16 * 1024;

/// What becomes of the nodes when the demo has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    GoDown,
    StayUp,
}

/// A node that answers.
pub(super) struct Node {
    pub(super) name: char,
    pub(super) peer_id: String,
    pub(super) client: Client,
    pub(super) gateway: String,
}

/// What a ready node writes; it may hold more.
#[derive(Debug, Deserialize)]
struct NodeFile {
    peer_id: String,
    listen: Vec<String>,
    grpc: String,
    gateway: String,
}

struct Process {
    name: char,
    data: PathBuf,
    log: PathBuf,
    child: Child,
}

pub(super) struct Cluster {
    root: PathBuf,
    ending: Ending,
    key: String,
    processes: Vec<Process>,
    nodes: Vec<Node>,
}

impl Cluster {
    pub(super) fn new(root: &Path, ending: Ending) -> Self {
        let key = hex::encode(entropy::random::<32>());
        Self { root: root.to_owned(), ending, key, processes: Vec::new(), nodes: Vec::new() }
    }

    /// Starts A, then B and C that join it; returns when each knows all three as members.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        self.spawn(NAMES[0], None)?;
        let address = join_address(&self.ready(0).await?)?;
        for name in &NAMES[1..] {
            self.spawn(*name, Some(&address))?;
        }
        for index in 1..NAMES.len() {
            self.ready(index).await?;
        }
        for node in &self.nodes {
            tell(&format!("node {} is {} at {}", node.name, node.peer_id, node.client.url()));
        }
        self.all_are_members().await
    }

    /// The node that takes the clip and the recipe.
    pub(super) fn first(&self) -> &Node {
        self.nodes.first().expect("start() succeeded, so there are three")
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Names of the nodes that are not among `busy`.
    pub(super) fn idle_nodes(&self, busy: &[&str]) -> Vec<char> {
        self.nodes.iter().filter(|node| !busy.contains(&node.peer_id.as_str())).map(|node| node.name).collect()
    }

    /// SIGTERM to all, then SIGKILL to who is still there.
    pub(super) async fn stop(&mut self) {
        self.nodes.clear();
        for process in &mut self.processes {
            if let (Ok(None), Some(pid)) = (process.child.try_wait(), pid(&process.child)) {
                // One that has just ended is what we want anyway.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let watch = Stopwatch::start();
        for process in &mut self.processes {
            let left_ms = STOP_LIMIT_MS.saturating_sub(watch.elapsed_ms());
            if clock::within_ms(left_ms, process.child.wait()).await.is_none() {
                tell(&format!("node {} did not stop on SIGTERM and is killed", process.name));
                // It fails only for a process that is gone.
                let _ = process.child.kill().await;
            }
        }
        self.processes.clear();
    }

    /// Lets the processes live on without us.
    pub(super) fn release(self) {
        debug_assert_eq!(self.ending, Ending::StayUp, "otherwise dropping kills them");
        drop(self);
    }

    /// Shows the last words of nodes that ended by themselves.
    pub(super) fn tell_of_the_dead(&mut self) {
        for process in &mut self.processes {
            if let Ok(Some(status)) = process.child.try_wait() {
                tell(&format!("node {} ended ({status}); its log ends:\n{}", process.name, last_lines(&process.log)));
            }
        }
    }

    /// What to type to use the nodes, and how to be rid of them.
    pub(super) fn usage(&self, report: &Report, root: &Path) -> String {
        let mut lines = vec!["the nodes stay up; to use them:".to_owned()];
        for node in &self.nodes {
            lines.push(format!("  export ARTDAG_NODE={}   # node {}", node.client.url(), node.name));
        }
        lines.push("  artdag nodes".to_owned());
        lines.push(format!("  artdag get {} -o copy", report.output_cid));
        lines.push(format!("the film in a browser: {}", report.url));
        let pids: Vec<String> = self.processes.iter().filter_map(|p| p.child.id()).map(|id| id.to_string()).collect();
        lines.push(format!(
            "to stop them: kill {}; to remove all, the film too: rm -r {}",
            pids.join(" "),
            root.display()
        ));
        lines.join("\n")
    }

    fn spawn(&mut self, name: char, join: Option<&str>) -> anyhow::Result<()> {
        let data = self.root.join(name.to_ascii_lowercase().to_string());
        let log = self.root.join(format!("{}.log", name.to_ascii_lowercase()));
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let program = std::env::current_exe().context("finding this program again to start the nodes")?;
        let mut command = Command::new(program);
        command.arg("run").arg("--data-dir").arg(&data);
        command.args(["--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"]);
        command.args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--no-mdns"]);
        if let Some(address) = join {
            command.args(["--join", address]);
        }
        let child = command
            .env("ARTDAG_CLUSTER_KEY", &self.key)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            // A last resort, for a panic; otherwise `stop` has ended them by then.
            .kill_on_drop(self.ending == Ending::GoDown)
            .spawn()
            .with_context(|| format!("starting node {name}"))?;
        self.processes.push(Process { name, data, log, child });
        Ok(())
    }

    /// Waits until a node has said that it is ready, and connects.
    async fn ready(&mut self, index: usize) -> anyhow::Result<NodeFile> {
        let process = &mut self.processes[index];
        let watch = Stopwatch::start();
        let file = loop {
            if let Some(file) = read_node_file(&process.data) {
                break file;
            }
            if let Some(status) = process.child.try_wait()? {
                bail!("node {} did not start ({status})", process.name);
            }
            if watch.elapsed_ms() > READY_LIMIT_MS {
                let words = last_lines(&process.log);
                bail!("node {} was not ready within {} s; its log ends:\n{words}", process.name, READY_LIMIT_MS / 1000);
            }
            clock::sleep_ms(POLL_MS).await;
        };
        let url = format!("http://{}", file.grpc);
        let client = Client::wait_ready(&url, Duration::from_millis(READY_LIMIT_MS)).await?;
        let (name, peer_id, gateway) = (process.name, file.peer_id.clone(), file.gateway.clone());
        self.nodes.push(Node { name, peer_id, client, gateway });
        Ok(file)
    }

    async fn all_are_members(&mut self) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        for node in &self.nodes {
            loop {
                let known = node.client.nodes().await?;
                // A member whose tools are not known yet would be given no step.
                let offers = |known: &&artdag_client::Node| known.is_self || known.member && !known.toolsets.is_empty();
                let members = known.iter().filter(offers).count();
                if members >= NAMES.len() {
                    break;
                }
                if watch.elapsed_ms() > MEMBERS_LIMIT_MS {
                    bail!(
                        "node {} ({}) knows {members} of {} members after {} s",
                        node.name,
                        short_peer(&node.peer_id),
                        NAMES.len(),
                        MEMBERS_LIMIT_MS / 1000
                    );
                }
                clock::sleep_ms(POLL_MS).await;
            }
        }
        Ok(())
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// `None` until the node has written all of it.
fn read_node_file(data: &Path) -> Option<NodeFile> {
    serde_json::from_slice(&std::fs::read(data.join("node.json")).ok()?).ok()
}

/// TCP costs less than QUIC on loopback; the peer id makes sure that it is this node.
fn join_address(file: &NodeFile) -> anyhow::Result<String> {
    let address = file.listen.iter().find(|address| address.contains("/tcp/")).or(file.listen.first());
    let address = address.context("node A listens nowhere")?;
    if address.contains("/p2p/") {
        return Ok(address.clone());
    }
    Ok(format!("{address}/p2p/{}", file.peer_id))
}

fn last_lines(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || {
        let mut file = File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(LOG_BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    lines[first..].iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_file(listen: &[&str]) -> NodeFile {
        NodeFile {
            peer_id: "12D3KooWx".to_owned(),
            listen: listen.iter().map(|address| (*address).to_owned()).collect(),
            grpc: String::new(),
            gateway: String::new(),
        }
    }

    #[test]
    fn joins_by_tcp_and_by_peer_id() {
        let both = node_file(&["/ip4/127.0.0.1/udp/5/quic-v1", "/ip4/127.0.0.1/tcp/6"]);
        assert_eq!(join_address(&both).expect("listens"), "/ip4/127.0.0.1/tcp/6/p2p/12D3KooWx");
        let full = node_file(&["/ip4/127.0.0.1/tcp/6/p2p/12D3KooWy"]);
        assert_eq!(join_address(&full).expect("listens"), "/ip4/127.0.0.1/tcp/6/p2p/12D3KooWy");
        assert!(join_address(&node_file(&[])).is_err());
    }

    #[test]
    fn a_node_file_is_taken_when_whole() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        assert!(read_node_file(scratch.path()).is_none());
        let whole = r#"{"peer_id":"p","pid":1,"listen":["/ip4/127.0.0.1/tcp/6"],"grpc":"127.0.0.1:1",
            "http":"127.0.0.1:2","gateway":"127.0.0.1:3"}"#;
        std::fs::write(scratch.path().join("node.json"), &whole[..20]).expect("written");
        assert!(read_node_file(scratch.path()).is_none());
        std::fs::write(scratch.path().join("node.json"), whole).expect("written");
        assert_eq!(read_node_file(scratch.path()).expect("whole").gateway, "127.0.0.1:3");
    }

    #[test]
    fn of_a_log_the_end_is_shown() {
        let log = tempfile::NamedTempFile::new().expect("a scratch file");
        let text: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(log.path(), text).expect("written");
        let shown = last_lines(log.path());
        assert_eq!(shown.lines().count(), LOG_LINES);
        assert!(shown.ends_with("  line 9999"), "{shown}");
        assert_eq!(last_lines(Path::new("/nonexistent/log")), "");
    }
}

//! Nodes that share a cluster key, each with a folder of its own below one scratch folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::node::{NodeProcess, Options};
use crate::place::Place;
use crate::wait;

/// Long enough to be no weak key.
pub const KEY: &str = "a cluster key for tests, longer than 32 bytes";
/// Members know each other in well under a second; a loaded machine gets more.
const MEET: Duration = Duration::from_secs(30);
/// Folders are made beforehand, so that a node can be shut out of folders of nodes that come later.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Whether nodes are kept from seeing each other's folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    None,
    MountNamespaces,
}

/// A cluster under test.
pub struct Cluster {
    pub nodes: Vec<NodeProcess>,
    isolation: Isolation,
    folder: TempDir,
}

impl Cluster {
    /// `count` nodes; the later ones join the first. Returns when each sees all others as members.
    #[track_caller]
    pub fn start(count: usize, isolation: Isolation) -> Cluster {
        let mut cluster = Cluster::empty(isolation);
        for _ in 0..count {
            cluster.grow(|_| {});
        }
        cluster.wait_for_members();
        cluster
    }

    /// A scratch folder and no node yet.
    pub fn empty(isolation: Isolation) -> Cluster {
        let folder = tempfile::Builder::new().prefix("artdag-cluster-").tempdir().expect("a scratch folder");
        for name in NAMES {
            std::fs::create_dir(folder.path().join(name)).expect("a folder for each node");
        }
        Cluster { nodes: Vec::new(), isolation, folder }
    }

    /// One node more, which joins the first; `change` may alter how it starts.
    #[track_caller]
    pub fn grow(&mut self, change: impl FnOnce(&mut Options)) -> &NodeProcess {
        let name = NAMES[self.nodes.len()];
        let mut options = self.options(name);
        change(&mut options);
        let node = NodeProcess::start(name, &self.data(name), &options);
        self.nodes.push(node);
        self.nodes.last().expect("one was just added")
    }

    /// Starts a node again that was killed or stopped, on the same data.
    #[track_caller]
    pub fn restart(&mut self, index: usize) {
        self.nodes[index].kill();
        let name = self.nodes[index].name.clone();
        let mut options = self.options(&name);
        let other = (0..self.nodes.len()).find(|other| *other != index && self.is_up(*other));
        options.join = other.map(|other| self.nodes[other].address("/tcp/")).into_iter().collect();
        self.nodes[index] = NodeProcess::start(&name, &self.data(&name), &options);
    }

    fn is_up(&self, index: usize) -> bool {
        crate::process::is_alive(self.nodes[index].pid())
    }

    fn options(&self, name: &str) -> Options {
        let mut options = Options::new(KEY);
        options.join = self.nodes.first().map(|first| first.address("/tcp/")).into_iter().collect();
        if self.isolation == Isolation::MountNamespaces {
            let others = NAMES.iter().filter(|other| **other != name).map(|other| self.data(other));
            options.place = Place::Masked(others.collect());
        }
        options
    }

    /// The data directory of a node.
    pub fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in the scratch folder, for the test's own files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn by_peer(&self, peer_id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.ready.peer_id == peer_id)
    }

    /// Waits until every node sees every other as a member.
    #[track_caller]
    pub fn wait_for_members(&self) {
        for node in &self.nodes {
            let client = node.client();
            let what = format!("node {} to see {} members", node.name, self.nodes.len());
            wait::until(&what, MEET, || (client.members() >= self.nodes.len()).then_some(()));
        }
    }
}

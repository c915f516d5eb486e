//! Which node a step goes to.
//!
//! The one where it would start first: what waits there already, plus the bytes it lacks over the
//! bandwidth to it. Times are compared in whole milliseconds, and among equals the node that was
//! chosen longest ago wins, so that equal work spreads over all nodes.
//!
//! What always holds: a node never has more steps of this run than slots; it never gets a step
//! that it failed, unless no other node is there; a node put aside gets one only when all others
//! are out of the question.

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;

use super::exchange::NodeInfo;
use super::step::StepRun;
use crate::identity::Origin;
use crate::limits::{ASSUMED_SIZE_BYTES, DEFAULT_BANDWIDTH, MAX_HOLDERS, MAX_SLOTS};
use crate::recipe::NodeType;

/// A node as a run sees it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub info: NodeInfo,
    /// This run's steps there.
    pub active: BTreeSet<usize>,
    /// Steps that failed there by its fault.
    pub failed: BTreeSet<usize>,
    pub queue_ms: u64,
    /// It said that it is busy: not before this.
    pub busy_until_ms: u64,
    /// How often in a row it said so.
    pub busy_times: u32,
    /// When it was chosen last, by the count of choices.
    pub chosen: u64,
}

impl Node {
    pub fn new(info: NodeInfo) -> Self {
        Self {
            info,
            active: BTreeSet::new(),
            failed: BTreeSet::new(),
            queue_ms: 0,
            busy_until_ms: 0,
            busy_times: 0,
            chosen: 0,
        }
    }

    fn slots(&self) -> usize {
        self.info.slots.min(MAX_SLOTS) as usize
    }

    fn has_room(&self, now_ms: u64) -> bool {
        self.active.len() < self.slots() && self.busy_until_ms <= now_ms
    }
}

/// Where contents are and how large.
#[derive(Debug, Default)]
pub(super) struct Locations {
    known: BTreeMap<Cid, Location>,
}

#[derive(Debug, Default)]
struct Location {
    size: Option<u64>,
    nodes: BTreeSet<Origin>,
}

impl Locations {
    pub fn add(&mut self, cid: Cid, size: Option<u64>, nodes: impl IntoIterator<Item = Origin>) {
        let location = self.known.entry(cid).or_default();
        location.size = size.or(location.size);
        location.nodes.extend(nodes);
    }

    pub fn forget(&mut self, cid: &Cid) {
        self.known.remove(cid);
    }

    /// Bytes of these contents that a node lacks.
    fn missing(&self, inputs: &[Cid], node: &Origin) -> u64 {
        let lacks = |cid: &Cid| match self.known.get(cid) {
            Some(location) if location.nodes.contains(node) => 0,
            Some(location) => location.size.unwrap_or(ASSUMED_SIZE_BYTES),
            None => ASSUMED_SIZE_BYTES,
        };
        inputs.iter().map(lacks).fold(0, u64::saturating_add)
    }

    /// Nodes that are there and have it.
    fn holders(&self, cid: &Cid, nodes: &BTreeMap<Origin, Node>) -> Vec<Origin> {
        let known = self.known.get(cid).map(|location| &location.nodes);
        let there = known.into_iter().flatten().filter(|node| nodes.contains_key(*node));
        there.take(MAX_HOLDERS).copied().collect()
    }
}

/// What choosing a node gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    On(Origin),
    /// A node that may have it has no room now.
    Later,
    /// Every node that could has failed it.
    Exhausted,
    /// No node has the tools.
    NoTools,
}

/// Nodes, contents and experience of one run.
#[derive(Debug)]
pub(super) struct Cluster {
    pub nodes: BTreeMap<Origin, Node>,
    pub locations: Locations,
    pub toolset: String,
    node_failures: usize,
    /// Milliseconds a step of a type took here.
    seen_ms: BTreeMap<NodeType, u64>,
    choices: u64,
}

impl Cluster {
    pub fn new(toolset: &str, node_failures: usize) -> Self {
        Self {
            nodes: BTreeMap::new(),
            locations: Locations::default(),
            toolset: toolset.to_owned(),
            node_failures,
            seen_ms: BTreeMap::new(),
            choices: 0,
        }
    }

    pub fn can_run(&self, node: &Node) -> bool {
        node.slots() > 0 && node.info.toolsets.contains(&self.toolset)
    }

    pub fn any_can_run(&self) -> bool {
        self.nodes.values().any(|node| self.can_run(node))
    }

    /// Whether any node could take a step now.
    pub fn has_room(&self, now_ms: u64) -> bool {
        self.nodes.values().any(|node| self.can_run(node) && node.has_room(now_ms))
    }

    pub fn learn_ms(&mut self, kind: NodeType, ms: u64) {
        let seen = self.seen_ms.entry(kind).or_insert(ms);
        // The mean of the old belief and the news follows a run without jumping.
        *seen = seen.midpoint(ms);
    }

    fn expected_ms(&self, kind: NodeType) -> u64 {
        self.seen_ms.get(&kind).copied().unwrap_or_else(|| kind.expected_ms())
    }

    /// The node for a step whose inputs are these.
    pub fn choose(&self, step: &StepRun, inputs: &[Cid], steps: &[StepRun], now_ms: u64) -> Choice {
        let capable: Vec<&Node> = self.nodes.values().filter(|node| self.can_run(node)).collect();
        let candidates = match self.candidates(step, &capable) {
            Ok(candidates) => candidates,
            Err(none) => return none,
        };
        let open = candidates.into_iter().filter(|node| node.has_room(now_ms));
        let start = |node: &&Node| (self.start_ms(node, inputs, steps), node.chosen, node.info.id);
        open.min_by_key(start).map_or(Choice::Later, |node| Choice::On(node.info.id))
    }

    fn candidates<'n>(&self, step: &StepRun, capable: &[&'n Node]) -> Result<Vec<&'n Node>, Choice> {
        let may: Vec<&Node> = match capable {
            [] => return Err(Choice::NoTools),
            [only] => vec![only],
            many => {
                let failed = |node: &Node| step.failed_on.contains(&node.info.id);
                many.iter().copied().filter(|node| !failed(node)).collect()
            }
        };
        if may.is_empty() {
            return Err(Choice::Exhausted);
        }
        let well = |node: &&Node| node.failed.len() < self.node_failures;
        let stayed = |node: &&Node| step.left != Some(node.info.id);
        // Each preference holds only while it leaves somebody.
        let well = preferred(may, well);
        Ok(preferred(well, stayed))
    }

    /// When the step would start there, from now, in milliseconds.
    fn start_ms(&self, node: &Node, inputs: &[Cid], steps: &[StepRun]) -> u64 {
        let running = node.active.iter().map(|&step| self.expected_ms(steps[step].status.kind));
        let running: u64 = running.fold(0, u64::saturating_add);
        let slots = u64::from(node.info.slots.clamp(1, MAX_SLOTS));
        let bandwidth = node.info.bandwidth.unwrap_or(DEFAULT_BANDWIDTH).max(1);
        let missing = self.locations.missing(inputs, &node.info.id);
        let fetch_ms = missing.saturating_mul(1000) / bandwidth;
        node.queue_ms.saturating_add(running / slots).saturating_add(fetch_ms)
    }

    /// Notes that a step goes to a node. Returns for each input who has it.
    pub fn place(&mut self, step: usize, node: Origin, inputs: &[Cid]) -> Vec<Vec<Origin>> {
        self.choices += 1;
        let choices = self.choices;
        if let Some(node) = self.nodes.get_mut(&node) {
            node.active.insert(step);
            node.chosen = choices;
        }
        inputs.iter().map(|cid| self.locations.holders(cid, &self.nodes)).collect()
    }

    /// Notes that a node has a step no longer.
    pub fn release(&mut self, step: usize, node: &Origin) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.active.remove(&step);
        }
    }

    /// The earliest time at which a node that is busy may be asked again.
    pub fn next_open_ms(&self, now_ms: u64) -> Option<u64> {
        let times = self.nodes.values().map(|node| node.busy_until_ms);
        times.filter(|&time| time > now_ms).min()
    }
}

fn preferred(nodes: Vec<&Node>, better: impl Fn(&&Node) -> bool) -> Vec<&Node> {
    let chosen: Vec<&Node> = nodes.iter().copied().filter(|node| better(node)).collect();
    if chosen.is_empty() { nodes } else { chosen }
}

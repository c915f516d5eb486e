//! What one seed means: how many nodes, how bad the network, which faults when, who wants what.
//!
//! What always holds: everything heals at [`HEAL_MS`]; what is wanted from [`CALM_MS`] on is
//! wanted in a stable network; nothing is said after [`QUIET_MS`], so that at [`END_MS`] all that
//! was said must be everywhere.

use super::dice::Dice;

/// From here on every node is up, runs, and reaches every other.
pub const HEAL_MS: u64 = 60_000;
/// From here on the network counts as stable.
pub const CALM_MS: u64 = HEAL_MS + SETTLE_MS;
/// Members stop to publish.
pub const QUIET_MS: u64 = 140_000;
/// The states are compared.
pub const END_MS: u64 = 170_000;
/// How long after the last change the promises about executions hold: failure detection (3 s), a
/// new arbiter's wait (5 s), one TTL (10 s), and rounds of reconcile.
pub const SETTLE_MS: u64 = 25_000;
/// How long a new arbiter waits; ours to say, so that the oracle does not ask the code under test.
pub const WAIT_MS: u64 = 5_000;
/// The slowest a change of reachability is seen.
pub const DETECT_MS: u64 = 3_000;

/// A fault, or its end.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nodes with different numbers cannot reach each other.
    Partition(Vec<u8>),
    /// Memory is gone, the disk stays.
    Crash(usize),
    /// The disk is gone too; comes back as a new incarnation.
    LoseDisk(usize),
    /// Starts again.
    Restart(usize),
    /// The process stands still until then.
    Pause(usize, u64),
    /// A pause is over: the process runs again.
    Resume,
    /// The wall clock is set.
    SetClock(usize, i64),
}

/// What one seed means.
#[derive(Debug)]
pub struct Plan {
    /// Nodes, 3 to 8.
    pub nodes: usize,
    /// The node that lies in its records, if one does; the last.
    pub liar: Option<usize>,
    /// Wall clocks, milliseconds off.
    pub skew_ms: Vec<i64>,
    /// Lost gossip, of a thousand.
    pub gossip_loss: u64,
    /// Lost requests and answers, of a thousand, until the network heals.
    pub call_loss: u64,
    /// Whether calls are neither lost nor stuck in queues: then fewer excuses count.
    pub reliable_calls: bool,
    /// The longest usual delay of a message.
    pub delay_ms: u64,
    /// Of a thousand: a crash at any one point around the persisting and telling of an own batch.
    pub crash_between: u64,
    /// Whether equal actions give different CIDs on different nodes.
    pub reproducible: bool,
    /// Faults in time order.
    pub faults: Vec<(u64, Fault)>,
    /// Who wants which action when.
    pub wants: Vec<(u64, usize, u32)>,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(dice: &mut Dice) -> Plan {
        let nodes = 3 + dice.index(6);
        let liar = dice.permille(500).then_some(nodes - 1);
        let reliable_calls = dice.permille(500);
        let skew_ms = (0..nodes).map(|_| skew(dice)).collect();
        Plan {
            nodes,
            liar,
            skew_ms,
            gossip_loss: dice.range(0, 300),
            call_loss: if reliable_calls { 0 } else { dice.range(0, 80) },
            reliable_calls,
            delay_ms: dice.range(5, 250),
            crash_between: dice.range(0, 30),
            reproducible: dice.permille(700),
            faults: faults(dice, nodes),
            wants: wants(dice, nodes),
        }
    }
}

fn skew(dice: &mut Dice) -> i64 {
    i64::try_from(dice.range(0, 240_000)).expect("minutes fit") - 120_000
}

fn faults(dice: &mut Dice, nodes: usize) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    let mut at = dice.range(2_000, 10_000);
    while at < HEAL_MS - 2_000 {
        let node = dice.index(nodes);
        match dice.range(0, 10) {
            0..=3 => {
                let sides = 2 + dice.range(0, 2);
                let side = |_| u8::try_from(dice.next() % sides).expect("few sides");
                faults.push((at, Fault::Partition((0..nodes).map(side).collect())));
            }
            4 => faults.push((at, Fault::Partition(vec![0; nodes]))),
            5..=6 => {
                faults.push((at, Fault::Crash(node)));
                let back = at + dice.range(100, 20_000);
                faults.push((back.min(HEAL_MS), Fault::Restart(node)));
            }
            7 => {
                faults.push((at, Fault::LoseDisk(node)));
                let back = at + dice.range(1_000, 20_000);
                faults.push((back.min(HEAL_MS), Fault::Restart(node)));
            }
            8 => {
                let until = (at + dice.range(1_000, 30_000)).min(HEAL_MS);
                faults.push((at, Fault::Pause(node, until)));
                faults.push((until, Fault::Resume));
            }
            _ => faults.push((at, Fault::SetClock(node, skew(dice)))),
        }
        // Some gaps are long enough for the promises of a settled side to be tested.
        at += if dice.permille(250) { 30_000 } else { dice.range(500, 12_000) };
    }
    faults.push((HEAL_MS, Fault::Partition(vec![0; nodes])));
    faults.extend((0..nodes).map(|node| (HEAL_MS, Fault::Restart(node))));
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn wants(dice: &mut Dice, nodes: usize) -> Vec<(u64, usize, u32)> {
    let mut wants = Vec::new();
    for action in 0..40 {
        let first = dice.range(0, HEAL_MS + 5_000);
        for _ in 0..dice.range(1, 6) {
            wants.push((first + dice.range(0, 8_000), dice.index(nodes), action));
        }
    }
    // Fresh actions, and some of the old, in the stable network: many at once.
    for action in (40..55).chain(0..10) {
        let first = dice.range(CALM_MS, CALM_MS + 20_000);
        for _ in 0..dice.range(2, 6) {
            wants.push((first + dice.range(0, 300), dice.index(nodes), action));
        }
    }
    wants.sort_unstable();
    wants.dedup();
    wants
}

//! The simulation: the real records and leases of artdag-core, with a clock, a network, disks and
//! faults that one seed decides, and an oracle that keeps its own account.
//!
//! What always holds: the same seed gives the same run, event for event.
//! What it does not do: test the drivers of the real node; `node.rs` here is the driver.

mod dice;
mod liar;
mod node;
mod oracle;
mod plan;
mod wire;
mod world;

pub use world::Report;

/// Runs one seed.
///
/// # Errors
/// The broken promise.
pub fn run(seed: u64) -> Result<Report, String> {
    world::World::new(seed).run()
}

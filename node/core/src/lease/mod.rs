//! Leases: the right to run one action until a deadline.
//!
//! One call, three answers: done, granted, follow. Leases live in the memory of the action's
//! arbiter (`arbiter`), the first live member in rendezvous order (`rendezvous`); the node that
//! runs renews (`holder`). Everything is correct with every lease lost: they only save work.
//!
//! What always holds: times are milliseconds of one node's own steady clock and never travel;
//! only durations do.
//! What this module does not do: send, wait, or know records. The driver tells the arbiter which
//! result is known.

pub mod arbiter;
pub mod holder;
pub mod rendezvous;

use serde::{Deserialize, Serialize};

pub use arbiter::{Answer, Arbiter, Ask, Released, Renewed, Start};
pub use holder::Holder;
pub use rendezvous::rendezvous;

/// How long a lease lasts without renewal. Short, because it is what a crash costs the others;
/// it is renewed while the holder's process lives.
pub const TTL_MS: u64 = 10_000;
/// How often a holder renews: two renewals may be lost.
pub const RENEWAL_MS: u64 = TTL_MS / 3;
/// How long a holder waits for the answer to a renewal before it sends another.
pub const RENEWAL_RETRY_MS: u64 = 500;

/// The fencing token of one grant: no two grants of any arbiter have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// One life of one arbiter.
    pub incarnation: u64,
    /// Counts its grants.
    pub counter: u64,
}

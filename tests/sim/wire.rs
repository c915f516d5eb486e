//! What travels between simulated nodes, and what a node's step asks the world to do.

use artdag_core::identity::ActionId;
use artdag_core::lease::{Answer, Epoch, Released, Renewed};
use artdag_core::records::Write;
use cid::Cid;

use super::oracle::Seen;

/// One message.
#[derive(Debug, Clone)]
pub enum Packet {
    /// A batch, in no order, perhaps never.
    Gossip(Vec<u8>),
    /// One message of a reconcile stream; in order until the stream is cut.
    Reconcile {
        stream: Stream,
        bytes: Vec<u8>,
    },
    /// A call to an arbiter, and its answer. `asked_ms` is the caller's clock and comes back.
    Acquire {
        asked_ms: u64,
        action: ActionId,
    },
    Answer {
        asked_ms: u64,
        action: ActionId,
        answer: Answer,
    },
    Renew {
        asked_ms: u64,
        action: ActionId,
        epoch: Epoch,
    },
    Renewed {
        asked_ms: u64,
        action: ActionId,
        epoch: Epoch,
        renewed: Renewed,
    },
    Release {
        action: ActionId,
        epoch: Epoch,
        cid: Cid,
    },
    Released {
        action: ActionId,
        epoch: Epoch,
        released: Released,
    },
}

/// A reconcile stream: who opened it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    pub opener: usize,
    pub number: u64,
}

/// What a node asks for, in the order in which it is to happen. The world may crash the node
/// between any two.
#[derive(Debug)]
pub enum Effect {
    /// Durable when the next effect begins.
    Persist(Vec<Write>),
    /// To one node.
    Send { to: usize, packet: Packet },
    /// To every member in view.
    Gossip(Vec<u8>),
    /// A fact for the oracle.
    Tell(Seen),
    /// An execution ends after so long.
    FinishAfter { ms: u64, action: ActionId, epoch: Epoch },
}

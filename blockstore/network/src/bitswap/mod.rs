//! Bitswap, client and server: 1.2.0, 1.1.0 and 1.0.0 (ipfs/specs, bitswap-protocol.md).
//!
//! `message` parses, `engine` decides (with `client`, `ask`, `wantlist` for what we want and `server`
//! for what is wanted of us), `driver` acts, `link` moves bytes. It is message-based: an answer travels
//! on a stream that its sender opened. There is no provider search here, and no reciprocity ledger.

pub mod ask;
pub mod client;
pub mod driver;
pub mod engine;
pub mod link;
pub mod message;
pub mod server;
pub mod wantlist;
mod wire;

/// Names one waiter.
pub type WantId = u64;

#[cfg(test)]
mod tests;

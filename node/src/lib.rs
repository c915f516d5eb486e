//! The node: everything that acts. What it does is decided in `artdag-core`; where bytes lie is
//! `artdag-blockstore`; who is reached is `artdag-network`. [`node::Node`] is the only place that
//! sees all of them.

pub mod clock;
pub mod config;
pub mod demo;
pub mod entropy;
pub mod executor;
pub mod fetch;
pub mod http;
pub mod invite;
pub mod lease;
pub mod members;
pub mod metrics;
pub mod node;
pub mod records;
pub mod rpc;
pub mod scheduler;
pub mod secrets;
pub mod task;

/// What the node says it is, in identify.
pub const AGENT: &str = concat!("artdag/", env!("CARGO_PKG_VERSION"));

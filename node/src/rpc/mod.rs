//! The gRPC edges. Each service decodes, makes one call and encodes.
//!
//! Two edges: clients on a TCP port (Content, Pins, Runs, Records, Cluster) and proved members
//! over the peer connection (Steps, Leases). No service stands on both.

mod add;
mod answers;
pub mod channel;
mod cluster;
mod content;
pub mod edge;
mod guard;
mod leases;
pub mod members;
mod pins;
mod records;
mod runs;
pub mod status;
mod steps;
pub mod trace;

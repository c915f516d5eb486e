//! The harness: real processes, real files, loopback or namespaces of the test's own making.
//!
//! What always holds: nothing here outlives the value that started it, no port is fixed, and every wait has a
//! deadline. A thing the machine cannot do is a skip that is written down ([`skip`]), never a silent pass.

pub mod client;
pub mod cluster;
pub mod command;
pub mod film;
pub mod kubo;
pub mod media;
pub mod node;
pub mod place;
pub mod process;
pub mod skip;
pub mod wait;

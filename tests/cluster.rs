//! Clusters of real processes on loopback: what they promise, and what they do when they are hurt.

#[path = "cluster/mod.rs"]
mod on_real_processes;

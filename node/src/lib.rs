//! The node: everything that acts. What it does is decided in `artdag-core`.

pub mod executor;

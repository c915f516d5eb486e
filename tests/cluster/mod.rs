//! One file per kind of promise. Every test starts its own nodes and leaves nothing behind.

mod content;
mod edges;
mod faults;
mod film;
mod lifetime;
mod members;

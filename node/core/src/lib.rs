//! What artdag decides. Every function here takes a state, the time and one input and returns
//! outputs: no await, file, clock, random number or wire format of another's lives in this
//! package, so that a seed can replay all of it.

pub mod action;
pub mod identity;
pub mod lease;
pub mod limits;
pub mod planner;
pub mod recipe;
pub mod records;
pub mod scheduler;

//! Membership: who is one of us.
//!
//! `handshake` proves it (sans-IO), `link` carries the proof and then addresses over one stream,
//! `circle` keeps who is connected, proved and where (sans-IO). A proof dies with the connection. It
//! is no access list: whoever has the cluster key is a member.

pub mod circle;
pub mod handshake;
pub mod link;
pub mod roster;

/// The protocol of the proof.
pub const PROTOCOL: &str = "/artdag/member/1";

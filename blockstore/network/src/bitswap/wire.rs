//! The protobuf of bitswap, field by field as in the specification (bitswap-protocol.md, "Wire format").
//!
//! Written by hand with derives, so that no build script is needed. Nothing here is checked; `message`
//! turns these into values that cannot be wrong.

use prost::bytes::Bytes;

/// The one message of the protocol.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    #[prost(message, optional, tag = "1")]
    pub wantlist: Option<Wantlist>,
    /// Bitswap 1.0.0: whole blocks, always CIDv0.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub blocks: Vec<Bytes>,
    /// Bitswap 1.1.0 and later.
    #[prost(message, repeated, tag = "3")]
    pub payload: Vec<Payload>,
    /// Bitswap 1.2.0.
    #[prost(message, repeated, tag = "4")]
    pub block_presences: Vec<Presence>,
    #[prost(int32, tag = "5")]
    pub pending_bytes: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Wantlist {
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
    #[prost(bool, tag = "2")]
    pub full: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// A CID.
    #[prost(bytes = "vec", tag = "1")]
    pub block: Vec<u8>,
    #[prost(int32, tag = "2")]
    pub priority: i32,
    #[prost(bool, tag = "3")]
    pub cancel: bool,
    /// 0 want-block, 1 want-have.
    #[prost(int32, tag = "4")]
    pub want_type: i32,
    #[prost(bool, tag = "5")]
    pub send_dont_have: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Payload {
    /// Version, codec, hash code, digest length: a CID without its digest.
    #[prost(bytes = "vec", tag = "1")]
    pub prefix: Vec<u8>,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Presence {
    #[prost(bytes = "vec", tag = "1")]
    pub cid: Vec<u8>,
    /// 0 HAVE, 1 DONT_HAVE.
    #[prost(int32, tag = "2")]
    pub kind: i32,
}

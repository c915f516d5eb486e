//! Bitswap messages as values that cannot be wrong: CIDs that parse, blocks whose hash was checked.
//!
//! Reading is strict about bounds and lenient about content: an entry with a CID we cannot hold (a
//! digest over 64 bytes) is skipped, because we cannot have that block; a message over a bound, with a
//! broken frame or with a block we cannot verify is an error, and its sender is dropped.

use artdag_blockstore::{Block, DAG_PB, RAW};
use cid::{Cid, Version as CidVersion};
use multihash_codetable::{Code, MultihashDigest};
use prost::Message as _;
use prost::bytes::Bytes;

use super::wire;
use crate::limits::{BLOCK_BYTES, CID_BYTES, MESSAGE_ENTRIES, RECEIVED_BLOCKS};

/// Which bitswap a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1_0,
    V1_1,
    V1_2,
}

impl Version {
    /// In the order we prefer them.
    pub const ALL: [Version; 3] = [Version::V1_2, Version::V1_1, Version::V1_0];

    pub fn protocol(self) -> &'static str {
        match self {
            Version::V1_0 => "/ipfs/bitswap/1.0.0",
            Version::V1_1 => "/ipfs/bitswap/1.1.0",
            Version::V1_2 => "/ipfs/bitswap/1.2.0",
        }
    }

    pub fn from_protocol(protocol: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.protocol() == protocol)
    }
}

/// Whether a peer has a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Have,
    DontHave,
}

/// Whether a peer wants to be told that a block is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    Tell,
    StaySilent,
}

/// What is wanted of one CID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Block(IfMissing),
    Have(IfMissing),
    Cancel,
}

/// One line of a wantlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub cid: Cid,
    pub request: Request,
}

/// Whether a wantlist replaces what was wanted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    Full,
    Changes,
}

/// A message from a peer, checked.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub listing: Listing,
    pub entries: Vec<Entry>,
    pub blocks: Vec<Block>,
    pub presences: Vec<(Cid, Presence)>,
}

/// A message to a peer.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub entries: Vec<Entry>,
    pub blocks: Vec<Block>,
    pub presences: Vec<(Cid, Presence)>,
    /// Block bytes that still wait for this peer here.
    pub pending_bytes: usize,
}

/// Why a message was not taken: in every case its sender is dropped.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("not a bitswap message: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("{0} entries, over the bound")]
    TooManyEntries(usize),
    #[error("a cid of {0} bytes, over the bound")]
    LongCid(usize),
    #[error("a block of {0} bytes, over the bound")]
    LargeBlock(usize),
    #[error("a block whose prefix names no hash we can check")]
    BadPrefix,
}

impl Incoming {
    /// Parses and verifies one message.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, MessageError> {
        let message = wire::Message::decode(Bytes::from(bytes))?;
        let (listing, entries) = decode_wantlist(message.wantlist)?;
        if message.block_presences.len() > MESSAGE_ENTRIES {
            return Err(MessageError::TooManyEntries(message.block_presences.len()));
        }
        let mut presences = Vec::with_capacity(message.block_presences.len());
        for presence in message.block_presences {
            if let Some(cid) = decode_cid(&presence.cid)? {
                presences.push((cid, decode_presence(presence.kind)));
            }
        }
        // Empty blocks cost two bytes each on the wire and a hundred here.
        let sent = message.blocks.len() + message.payload.len();
        if sent > RECEIVED_BLOCKS {
            return Err(MessageError::TooManyEntries(sent));
        }
        let mut blocks = Vec::with_capacity(sent);
        for data in message.blocks {
            blocks.push(verify(CidVersion::V0, DAG_PB, SHA2_256, 32, data)?);
        }
        for payload in message.payload {
            let (version, codec, hash, length) = decode_prefix(&payload.prefix).ok_or(MessageError::BadPrefix)?;
            blocks.push(verify(version, codec, hash, length, payload.data)?);
        }
        Ok(Incoming { listing, entries, blocks, presences })
    }
}

const SHA2_256: u64 = 0x12;

fn decode_wantlist(wantlist: Option<wire::Wantlist>) -> Result<(Listing, Vec<Entry>), MessageError> {
    let Some(wantlist) = wantlist else {
        return Ok((Listing::Changes, Vec::new()));
    };
    if wantlist.entries.len() > MESSAGE_ENTRIES {
        return Err(MessageError::TooManyEntries(wantlist.entries.len()));
    }
    let mut entries = Vec::with_capacity(wantlist.entries.len());
    for entry in wantlist.entries {
        let Some(cid) = decode_cid(&entry.block)? else {
            continue;
        };
        let if_missing = match entry.send_dont_have {
            true => IfMissing::Tell,
            false => IfMissing::StaySilent,
        };
        let request = match (entry.cancel, entry.want_type) {
            (true, _) => Request::Cancel,
            (false, 1) => Request::Have(if_missing),
            (false, _) => Request::Block(if_missing),
        };
        entries.push(Entry { cid, request });
    }
    let listing = match wantlist.full {
        true => Listing::Full,
        false => Listing::Changes,
    };
    Ok((listing, entries))
}

/// `None` for a CID that parses as none we can hold.
fn decode_cid(bytes: &[u8]) -> Result<Option<Cid>, MessageError> {
    if bytes.len() > CID_BYTES {
        return Err(MessageError::LongCid(bytes.len()));
    }
    Ok(Cid::try_from(bytes).ok())
}

fn decode_presence(kind: i32) -> Presence {
    match kind {
        0 => Presence::Have,
        _ => Presence::DontHave,
    }
}

fn decode_prefix(prefix: &[u8]) -> Option<(CidVersion, u64, u64, usize)> {
    let (version, rest) = unsigned_varint::decode::u64(prefix).ok()?;
    let (codec, rest) = unsigned_varint::decode::u64(rest).ok()?;
    let (hash, rest) = unsigned_varint::decode::u64(rest).ok()?;
    let (length, rest) = unsigned_varint::decode::u64(rest).ok()?;
    let version = CidVersion::try_from(version).ok()?;
    (rest.is_empty() && length <= 128).then_some((version, codec, hash, length as usize))
}

fn encode_prefix(cid: &Cid) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(16);
    let hash = cid.hash();
    for number in [u64::from(cid.version()), cid.codec(), hash.code(), u64::from(hash.size())] {
        let mut buffer = unsigned_varint::encode::u64_buffer();
        prefix.extend_from_slice(unsigned_varint::encode::u64(number, &mut buffer));
    }
    prefix
}

/// The block that these bytes are: its CID follows from them, so a sender cannot mislabel it.
fn verify(version: CidVersion, codec: u64, hash: u64, length: usize, data: Bytes) -> Result<Block, MessageError> {
    if data.len() > BLOCK_BYTES {
        return Err(MessageError::LargeBlock(data.len()));
    }
    if (version, codec, hash, length) == (CidVersion::V1, RAW, SHA2_256, 32) {
        // Leaves: hashed once, not once for the CID and again for the check.
        return Block::raw(data).map_err(|_| MessageError::BadPrefix);
    }
    let code = Code::try_from(hash).map_err(|_| MessageError::BadPrefix)?;
    let digest = code.digest(&data);
    if usize::from(digest.size()) != length {
        return Err(MessageError::BadPrefix);
    }
    let cid = Cid::new(version, codec, digest).map_err(|_| MessageError::BadPrefix)?;
    Block::new(cid, data).map_err(|_| MessageError::BadPrefix)
}

impl Outgoing {
    /// The bytes for a stream of that version; what an older version cannot say is left out.
    pub fn encode(self, version: Version) -> Vec<u8> {
        let mut message = wire::Message::default();
        if !self.entries.is_empty() {
            message.wantlist =
                Some(wire::Wantlist { entries: self.entries.iter().map(encode_entry).collect(), full: false });
        }
        let blocks = self.blocks.into_iter();
        if version == Version::V1_0 {
            message.blocks = blocks.map(|it| Bytes::from_owner(Owned(it))).collect();
        } else {
            message.payload = blocks.map(encode_block).collect();
        }
        if version == Version::V1_2 {
            message.block_presences = self.presences.iter().map(encode_presence).collect();
            message.pending_bytes = i32::try_from(self.pending_bytes).unwrap_or(i32::MAX);
        }
        message.encode_to_vec()
    }
}

fn encode_entry(entry: &Entry) -> wire::Entry {
    let (cancel, want_type, if_missing) = match entry.request {
        Request::Cancel => (true, 0, IfMissing::StaySilent),
        Request::Block(if_missing) => (false, 0, if_missing),
        Request::Have(if_missing) => (false, 1, if_missing),
    };
    wire::Entry {
        block: entry.cid.to_bytes(),
        priority: 1,
        cancel,
        want_type,
        send_dont_have: if_missing == IfMissing::Tell,
    }
}

fn encode_block(block: Block) -> wire::Payload {
    wire::Payload { prefix: encode_prefix(block.cid()), data: Bytes::from_owner(Owned(block)) }
}

fn encode_presence((cid, presence): &(Cid, Presence)) -> wire::Presence {
    wire::Presence {
        cid: cid.to_bytes(),
        kind: match presence {
            Presence::Have => 0,
            Presence::DontHave => 1,
        },
    }
}

/// Lends a block's bytes to the encoder without a copy.
struct Owned(Block);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        (any::<[u8; 8]>(), 0..5_u8).prop_map(|(data, request)| Entry {
            cid: *Block::raw(data.to_vec()).expect("8 bytes are a block").cid(),
            request: match request {
                0 => Request::Cancel,
                1 => Request::Block(IfMissing::Tell),
                2 => Request::Block(IfMissing::StaySilent),
                3 => Request::Have(IfMissing::Tell),
                _ => Request::Have(IfMissing::StaySilent),
            },
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            entries in proptest::collection::vec(entry(), 0..20),
            blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..5),
        ) {
            let blocks: Vec<Block> =
                blocks.into_iter().map(|it| Block::raw(it).expect("small")).collect();
            let presences: Vec<_> =
                entries.iter().map(|entry| (entry.cid, Presence::DontHave)).collect();
            let sent = Outgoing {
                entries: entries.clone(), blocks: blocks.clone(),
                presences: presences.clone(), pending_bytes: 7,
            };
            let read = Incoming::decode(sent.encode(Version::V1_2)).expect("decodes");
            prop_assert_eq!(read.listing, Listing::Changes);
            prop_assert_eq!(read.entries, entries);
            prop_assert_eq!(read.presences, presences);
            let cids = |it: &[Block]| it.iter().map(|b| *b.cid()).collect::<Vec<_>>();
            prop_assert_eq!(cids(&read.blocks), cids(&blocks));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Incoming::decode(bytes);
        }

        #[test]
        fn truncated_messages_never_panic(cut in 0..120_usize) {
            let block = Block::raw(vec![5; 60]).expect("small");
            let sent = Outgoing { presences: vec![(*block.cid(), Presence::Have)],
                blocks: vec![block], ..Default::default() };
            let mut bytes = sent.encode(Version::V1_2);
            bytes.truncate(cut);
            let _ = Incoming::decode(bytes);
        }
    }

    fn message(payload: Vec<wire::Payload>) -> Vec<u8> {
        let message = wire::Message { payload, ..Default::default() };
        message.encode_to_vec()
    }

    #[test]
    fn old_versions_carry_blocks_their_way_and_no_presences() {
        let v0 = Cid::new_v0(Code::Sha2_256.digest(b"old")).expect("decodes");
        let block = Block::new(v0, b"old".to_vec()).expect("hash fits");
        let sent = Outgoing { presences: vec![(v0, Presence::Have)], blocks: vec![block], ..Default::default() };
        for version in Version::ALL {
            let read = Incoming::decode(sent.clone().encode(version)).expect("decodes");
            assert_eq!(*read.blocks[0].cid(), v0, "{version:?}");
            assert_eq!(read.presences.len(), usize::from(version == Version::V1_2));
        }
    }

    #[test]
    fn blocks_that_cannot_be_checked_are_errors() {
        let bad = |prefix: &[u8], data: Vec<u8>| {
            let payload = wire::Payload { prefix: prefix.to_vec(), data: data.into() };
            Incoming::decode(message(vec![payload])).expect_err("must be refused")
        };
        assert!(matches!(bad(&[1, 0x55, 0x12], vec![]), MessageError::BadPrefix), "short prefix");
        assert!(matches!(bad(&[1, 0x55, 0x12, 0x20, 9], vec![]), MessageError::BadPrefix), "long");
        assert!(matches!(bad(&[1, 0x55, 0x12, 0x80], vec![]), MessageError::BadPrefix), "varint");
        assert!(matches!(bad(&[1, 0x55, 0xd5, 1, 0x10], vec![]), MessageError::BadPrefix), "md5");
        assert!(matches!(bad(&[1, 0x55, 0x12, 0x10], vec![]), MessageError::BadPrefix), "cut digest");
        let large = bad(&[1, 0x55, 0x12, 0x20], vec![0; BLOCK_BYTES + 1]);
        assert!(matches!(large, MessageError::LargeBlock(_)));
    }

    #[test]
    fn huge_digests_are_skipped_and_long_cids_refused() {
        let with_cid = |block: Vec<u8>| {
            let entry = wire::Entry { block, ..Default::default() };
            let wantlist = Some(wire::Wantlist { entries: vec![entry], full: false });
            Incoming::decode(wire::Message { wantlist, ..Default::default() }.encode_to_vec())
        };
        let mut huge = vec![1, 0x55, 0x12, 0x80, 0x01];
        huge.extend([7; 128]);
        assert!(with_cid(huge).expect("decodes").entries.is_empty());
        assert!(matches!(with_cid(vec![1; 169]), Err(MessageError::LongCid(169))));
        assert!(with_cid(vec![]).expect("decodes").entries.is_empty());
    }

    #[test]
    fn too_many_entries_are_refused() {
        let entry = wire::Entry { block: vec![1], ..Default::default() };
        let wantlist = Some(wire::Wantlist { entries: vec![entry; MESSAGE_ENTRIES + 1], full: true });
        let bytes = wire::Message { wantlist, ..Default::default() }.encode_to_vec();
        assert!(matches!(Incoming::decode(bytes), Err(MessageError::TooManyEntries(_))));
        let presence = wire::Presence { cid: vec![1], kind: 0 };
        let block_presences = vec![presence; MESSAGE_ENTRIES + 1];
        let bytes = wire::Message { block_presences, ..Default::default() }.encode_to_vec();
        assert!(matches!(Incoming::decode(bytes), Err(MessageError::TooManyEntries(_))));
    }
    /// Two bytes each on the wire, a hundred in memory.
    #[test]
    fn a_message_full_of_empty_blocks_is_refused() {
        let blocks = vec![Bytes::new(); RECEIVED_BLOCKS + 1];
        let bytes = wire::Message { blocks, ..Default::default() }.encode_to_vec();
        assert!(matches!(Incoming::decode(bytes), Err(MessageError::TooManyEntries(_))));
        let payload = wire::Payload { prefix: vec![1, 0x55, 0x12, 0x20], data: Bytes::new() };
        let bytes = message(vec![payload; RECEIVED_BLOCKS + 1]);
        assert!(matches!(Incoming::decode(bytes), Err(MessageError::TooManyEntries(_))));
    }
}

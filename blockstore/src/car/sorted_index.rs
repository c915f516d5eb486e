//! The index behind a sealed pack: MultihashIndexSorted (CARv2 specification, codec 0x0401).
//!
//! Layout, all little-endian: varint codec; i32 number of hash functions; for each, ascending: u64 code, i32
//! number of widths; for each, ascending: u32 width (digest + 8), u64 bytes, then (digest, u64 offset) sorted
//! by digest. Offsets count from the start of the CARv1 payload to the section. (go-car writes the byte count
//! where the prose says "count"; readers follow go-car, and so do we.)

use std::collections::BTreeMap;

use cid::Cid;

use super::{MULTIHASH_INDEX_SORTED, varint};
use crate::cid::IDENTITY;

type Records = Vec<(Vec<u8>, u64)>;

/// The index of these (CID, section offset within the payload) pairs.
pub(crate) fn sorted_index(entries: &[(Cid, u64)]) -> Vec<u8> {
    let mut buckets: BTreeMap<u64, BTreeMap<usize, Records>> = BTreeMap::new();
    for (cid, offset) in entries {
        let hash = cid.hash();
        if hash.code() == IDENTITY {
            continue; // the CID carries its bytes; the specification leaves them out
        }
        let widths = buckets.entry(hash.code()).or_default();
        let records = widths.entry(hash.digest().len()).or_default();
        records.push((hash.digest().to_vec(), *offset));
    }
    let mut out = varint(MULTIHASH_INDEX_SORTED);
    push_count(&mut out, buckets.len());
    for (code, widths) in buckets {
        out.extend_from_slice(&code.to_le_bytes());
        push_count(&mut out, widths.len());
        for (digest_bytes, records) in widths {
            push_bucket(&mut out, digest_bytes, records);
        }
    }
    out
}

fn push_bucket(out: &mut Vec<u8>, digest_bytes: usize, mut records: Records) {
    records.sort();
    let width = digest_bytes + 8;
    let narrow = u32::try_from(width).expect("a multihash digest has at most 64 bytes");
    out.extend_from_slice(&narrow.to_le_bytes());
    out.extend_from_slice(&((width * records.len()) as u64).to_le_bytes());
    for (digest, offset) in records {
        out.extend_from_slice(&digest);
        out.extend_from_slice(&offset.to_le_bytes());
    }
}

fn push_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("there are few hash functions and widths");
    out.extend_from_slice(&count.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::raw_cid;

    #[test]
    fn records_are_sorted_by_digest_and_carry_their_offsets() {
        let (a, b) = (raw_cid(b"a"), raw_cid(b"b"));
        let bytes = sorted_index(&[(a, 18), (b, 99)]);
        let head = [0x81, 0x08, 1, 0, 0, 0, 0x12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(bytes[..18], head);
        assert_eq!(bytes[18..22], 40u32.to_le_bytes());
        assert_eq!(bytes[22..30], 80u64.to_le_bytes());
        let mut expected = [(a.hash().digest(), 18u64), (b.hash().digest(), 99)];
        expected.sort();
        for (slot, (digest, offset)) in bytes[30..].chunks(40).zip(expected) {
            assert_eq!(&slot[..32], digest);
            assert_eq!(slot[32..], offset.to_le_bytes());
        }
    }
}

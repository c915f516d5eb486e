//! Large directories as a HAMT (UnixFS specification, "HAMT directory"): fanout 256, murmur3-x64-64.
//!
//! A name's place is given by the big-endian bytes of the first half of murmur3-x64-128, one byte per level. A
//! link's name is two hex digits of its slot, followed by the entry's name, or by nothing for a child shard.

use super::directory::BuiltNode;
use super::node::hamt_data;
use crate::block::Block;
use crate::cid::dag_pb_cid;
use crate::dag::pb::{Link, Node};

const FANOUT: usize = 256;
/// Levels a 64-bit hash can tell apart with a byte for each.
const MAX_DEPTH: usize = 8;

/// Builds the shards of these entries, whose names are distinct.
pub(crate) fn build(links: Vec<Link>) -> Result<BuiltNode, String> {
    let hashed = links.into_iter().map(|link| (name_hash(&link.name), link)).collect();
    let mut blocks = Vec::new();
    let root = shard(hashed, 0, &mut blocks)?;
    Ok(BuiltNode { cid: root.cid, cumulative_bytes: root.tsize, blocks })
}

type Hashed = Vec<([u8; 8], Link)>;

fn shard(entries: Hashed, depth: usize, blocks: &mut Vec<Block>) -> Result<Link, String> {
    if depth == MAX_DEPTH {
        return Err("two names share a murmur3 hash; rename one of them".into());
    }
    let mut slots: Vec<Hashed> = (0..FANOUT).map(|_| Hashed::new()).collect();
    for (hash, link) in entries {
        slots[usize::from(hash[depth])].push((hash, link));
    }
    let mut bits = [0u8; FANOUT / 8];
    let mut links = Vec::new();
    for (slot, mut members) in slots.into_iter().enumerate() {
        let link = match members.len() {
            0 => continue,
            1 => members.pop().expect("one member").1,
            _ => shard(members, depth + 1, blocks)?,
        };
        bits[FANOUT / 8 - 1 - slot / 8] |= 1 << (slot % 8);
        let name = format!("{slot:02X}{}", link.name);
        links.push(Link { name, ..link });
    }
    let below = links
        .iter()
        .try_fold(0u64, |sum, link| sum.checked_add(link.tsize))
        .ok_or("the sizes of the entries overflow")?;
    let lead = bits.iter().take_while(|byte| **byte == 0).count();
    let node = Node { links, data: hamt_data(bits[lead..].to_vec(), FANOUT as u64) };
    let bytes = node.encode();
    let cid = dag_pb_cid(&bytes);
    let tsize = below.saturating_add(bytes.len() as u64);
    blocks.push(Block::trusted(cid, bytes));
    Ok(Link { cid, name: String::new(), tsize })
}

/// How many hex digits lead a link's name in a shard of this fanout.
pub(crate) fn prefix_length(fanout: u64) -> usize {
    format!("{:X}", fanout - 1).len()
}

/// The link-name prefix under which `name` is found at `depth`, or nothing when the hash is used up.
pub(crate) fn slot_prefix(name: &str, fanout: u64, depth: u32) -> Option<String> {
    let width = fanout.trailing_zeros();
    let used = width * depth;
    let left = 64u32.checked_sub(used + width)?;
    let slot = (u64::from_be_bytes(name_hash(name)) >> left) & (fanout - 1);
    Some(format!("{slot:0digits$X}", digits = prefix_length(fanout)))
}

fn name_hash(name: &str) -> [u8; 8] {
    murmur3_x64_64(name.as_bytes()).to_be_bytes()
}

/// The first 64 bits of MurmurHash3_x64_128 with seed 0 (Appleby, public domain).
fn murmur3_x64_64(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (mut h1, mut h2) = (0u64, 0u64);
    let mut chunks = bytes.chunks_exact(16);
    for chunk in &mut chunks {
        h1 ^= mix1(word(&chunk[..8]));
        h1 = h1.rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(word(&chunk[8..]));
        h2 = h2.rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let tail = chunks.remainder();
    if tail.len() > 8 {
        h2 ^= mix2(word(&tail[8..]));
    }
    if !tail.is_empty() {
        h1 ^= mix1(word(&tail[..tail.len().min(8)]));
    }
    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

fn word(bytes: &[u8]) -> u64 {
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(padded)
}

fn finish(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd);
    k ^= k >> 33;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference values of MurmurHash3_x64_128 (first half), as printed by the reference implementation.
    #[test]
    fn murmur3_is_the_reference_one() {
        assert_eq!(murmur3_x64_64(b""), 0);
        assert_eq!(murmur3_x64_64(b"hello"), 0xcbd8_a7b3_41bd_9b02);
        assert_eq!(murmur3_x64_64(b"The quick brown fox jumps over the lazy dog"), 0xe34b_bc7b_bc07_1b6c);
    }

    #[test]
    fn a_slot_prefix_takes_the_hash_from_the_top() {
        assert_eq!(slot_prefix("hello", 256, 0).as_deref(), Some("CB"));
        assert_eq!(slot_prefix("hello", 256, 7).as_deref(), Some("02"));
        assert_eq!(slot_prefix("hello", 256, 8), None);
        assert_eq!(slot_prefix("hello", 1024, 0).as_deref(), Some("32F"));
    }
}

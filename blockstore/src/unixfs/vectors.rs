//! The vectors of IPIP-499, profile `unixfs-v1-2025`.
//!
//! CIDs and generators: kubo `test/cli/add_test.go`, `cid_profiles_test.go` and `testutils/random_deterministic.go`.
//! Input is the ChaCha20 key stream whose key is the SHA-256 of a seed, with a nonce of zeros (RFC 8439).

use multihash_codetable::{Code, MultihashDigest};

use super::{CHUNK_BYTES, DirectoryEntry, EntryKind, Layout, build_directory};
use crate::cid::raw_cid;

/// kubo's `testutils.AlphabetEasy`.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz01234567890-_";

struct KeyStream {
    state: [u32; 16],
    block: [u8; 64],
    used: usize,
}

impl KeyStream {
    fn new(seed: &str) -> KeyStream {
        let key = Code::Sha2_256.digest(seed.as_bytes());
        let mut state = [0; 16];
        state[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
        for (word, bytes) in state[4..12].iter_mut().zip(key.digest().chunks(4)) {
            *word = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        }
        KeyStream { state, block: [0; 64], used: 64 }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(count);
        while out.len() < count {
            if self.used == 64 {
                self.refill();
            }
            let piece = (count - out.len()).min(64 - self.used);
            out.extend_from_slice(&self.block[self.used..self.used + piece]);
            self.used += piece;
        }
        out
    }

    fn refill(&mut self) {
        let mut x = self.state;
        for _ in 0..10 {
            for [a, b, c, d] in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]] {
                quarter(&mut x, a, b, c, d);
            }
            for [a, b, c, d] in [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]] {
                quarter(&mut x, a, b, c, d);
            }
        }
        for (at, word) in x.iter().enumerate() {
            let bytes = word.wrapping_add(self.state[at]).to_le_bytes();
            self.block[at * 4..at * 4 + 4].copy_from_slice(&bytes);
        }
        self.state[12] = self.state[12].wrapping_add(1);
        self.used = 0;
    }
}

fn quarter(x: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    x[a] = x[a].wrapping_add(x[b]);
    x[d] = (x[d] ^ x[a]).rotate_left(16);
    x[c] = x[c].wrapping_add(x[d]);
    x[b] = (x[b] ^ x[c]).rotate_left(12);
    x[a] = x[a].wrapping_add(x[b]);
    x[d] = (x[d] ^ x[a]).rotate_left(8);
    x[c] = x[c].wrapping_add(x[d]);
    x[b] = (x[b] ^ x[c]).rotate_left(7);
}

fn feed(layout: &mut Layout, stream: &mut KeyStream, count: usize) {
    let chunk = stream.take(count);
    layout.leaf(raw_cid(&chunk), count as u64, &mut Vec::new());
}

fn root(layout: &Layout) -> String {
    layout.clone().finish(&mut Vec::new()).cid.to_string()
}

#[test]
fn files_around_one_chunk() {
    let mut stream = KeyStream::new("chunk-v1-seed");
    let mut layout = Layout::default();
    feed(&mut layout, &mut stream, CHUNK_BYTES);
    assert_eq!(root(&layout), "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta");
    feed(&mut layout, &mut stream, 1);
    assert_eq!(root(&layout), "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64");
}

#[test]
fn files_around_one_full_node() {
    let mut stream = KeyStream::new("v1-2025-seed");
    let mut layout = Layout::default();
    for _ in 0..1024 {
        feed(&mut layout, &mut stream, CHUNK_BYTES);
    }
    assert_eq!(root(&layout), "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm");
    let chunk = stream.take(CHUNK_BYTES);
    let mut one_byte_more = layout.clone();
    one_byte_more.leaf(raw_cid(&chunk[..1]), 1, &mut Vec::new());
    assert_eq!(root(&one_byte_more), "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe");
    layout.leaf(raw_cid(&chunk), CHUNK_BYTES as u64, &mut Vec::new());
    assert_eq!(root(&layout), "bafybeihmzokxxjqwxjcryerhp5ezpcog2wcawfryb2xm64xiakgm4a5jue");
}

fn directory(last_name_bytes: usize) -> Vec<DirectoryEntry> {
    let mut stream = KeyStream::new("hamt-unixfs-v1-2025");
    let mut name = |bytes| {
        let drawn = stream.take(bytes).into_iter();
        let letters = drawn.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]);
        String::from_utf8(letters.collect()).expect("the alphabet is ASCII")
    };
    let mut names: Vec<String> = (0..4765).map(|_| name(11)).collect();
    names.push(name(last_name_bytes));
    let entry = |name| DirectoryEntry { name, cid: raw_cid(b"x"), size: 1, kind: EntryKind::File };
    names.into_iter().map(entry).collect()
}

#[test]
fn a_directory_at_the_threshold_is_one_block() {
    let built = build_directory(directory(21)).expect("names are fine");
    assert_eq!(built.blocks.len(), 1);
    assert_eq!(built.blocks[0].bytes().len(), 262_144);
    assert_eq!(built.cid.to_string(), "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4");
}

#[test]
fn one_byte_more_makes_it_a_hamt() {
    let built = build_directory(directory(22)).expect("names are fine");
    assert!(built.blocks.len() > 1);
    assert_eq!(built.cid.to_string(), "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu");
}

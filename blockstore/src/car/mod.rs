//! CAR framing (specs/transport/car): CARv1 sections and the CARv2 shell around a pack.
//!
//! A pack is `pragma | header | CARv1 payload | index`; until it is sealed the header's sizes are 0. Lengths
//! from disk are checked against the largest block before anything is allocated.

mod sorted_index;

pub(crate) use sorted_index::sorted_index;

use std::io::{self, Read};

use cid::Cid;

use crate::block::MAX_BLOCK_BYTES;

/// The first eleven bytes of every CARv2 file.
pub(crate) const PRAGMA: [u8; 11] = [0x0a, 0xa1, 0x67, b'v', b'e', b'r', b's', b'i', b'o', b'n', 0x02];
/// Where the payload of our CARv2 files starts: right after pragma and header.
pub(crate) const PAYLOAD_OFFSET: u64 = 51;
/// Multicodec of the index we write behind a sealed pack.
pub(crate) const MULTIHASH_INDEX_SORTED: u64 = 0x0401;
/// dag-cbor of `{"roots": [], "version": 1}` behind its length: the payload header of a pack.
pub(crate) const EMPTY_V1_HEADER: [u8; 18] = *b"\x11\xa2\x65roots\x80\x67version\x01";
/// No CID of ours or of a peer is longer (bitswap's own limit is 168 bytes).
const MAX_CID_BYTES: usize = 168;
/// The largest section: a CID and a block.
const MAX_SECTION_BYTES: u64 = (MAX_BLOCK_BYTES + MAX_CID_BYTES) as u64;

/// Pragma and header of a CARv2 file; sizes of 0 mean "not sealed".
pub(crate) fn v2_header(data_size: u64, index_offset: u64) -> [u8; PAYLOAD_OFFSET as usize] {
    let mut header = [0; PAYLOAD_OFFSET as usize];
    header[..11].copy_from_slice(&PRAGMA);
    header[27..35].copy_from_slice(&PAYLOAD_OFFSET.to_le_bytes());
    header[35..43].copy_from_slice(&data_size.to_le_bytes());
    header[43..51].copy_from_slice(&index_offset.to_le_bytes());
    header
}

/// The data size of a sealed CARv2 header, or nothing for one that is open or not ours.
pub(crate) fn sealed_data_size(header: &[u8; PAYLOAD_OFFSET as usize]) -> Option<u64> {
    let word = |at: usize| {
        let bytes = header[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    let ours = header[..11] == PRAGMA && word(27) == PAYLOAD_OFFSET;
    (ours && word(35) > 0 && word(43) > 0).then(|| word(35))
}

/// A CARv1 header with one root. For a CIDv1 of sha2-256 it always has the same length.
pub(crate) fn v1_header(root: &Cid) -> Vec<u8> {
    let cid = root.to_bytes();
    let mut body = b"\xa2\x65roots\x81\xd8\x2a\x58".to_vec();
    body.push(u8::try_from(cid.len() + 1).expect("a sha2-256 CID has 34 or 36 bytes"));
    body.push(0);
    body.extend_from_slice(&cid);
    body.extend_from_slice(b"\x67version\x01");
    let mut header = varint(body.len() as u64);
    header.extend_from_slice(&body);
    header
}

/// Appends one section; returns where the block's bytes start, counted from the start of `out`.
pub(crate) fn push_section(out: &mut Vec<u8>, cid: &Cid, bytes: &[u8]) -> usize {
    let name = cid.to_bytes();
    out.extend_from_slice(&varint((name.len() + bytes.len()) as u64));
    out.extend_from_slice(&name);
    let at = out.len();
    out.extend_from_slice(bytes);
    at
}

pub(crate) fn varint(number: u64) -> Vec<u8> {
    let mut buffer = unsigned_varint::encode::u64_buffer();
    unsigned_varint::encode::u64(number, &mut buffer).to_vec()
}

/// One block in a CAR.
pub(crate) struct Section {
    pub cid: Cid,
    /// Where the section starts in the file (its length prefix).
    pub start: u64,
    /// Where the block's bytes start in the file.
    pub data_offset: u64,
    pub data: Vec<u8>,
}

/// Reads sections one after another and knows where it is.
pub(crate) struct Sections<R> {
    reader: R,
    position: u64,
    end: u64,
}

/// Why reading stopped before the end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SectionError {
    /// The bytes from here on are not sections: a torn tail, or damage.
    #[error("no valid section at byte {at}")]
    Torn { at: u64 },
    #[error(transparent)]
    Io(io::Error),
}

impl<R: Read> Sections<R> {
    /// `reader` stands at byte `position` of a file whose payload ends at `end`.
    pub fn new(reader: R, position: u64, end: u64) -> Sections<R> {
        Sections { reader, position, end }
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn next(&mut self) -> Result<Option<Section>, SectionError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let start = self.position;
        let torn = || SectionError::Torn { at: start };
        let (length, prefix) = self.read_varint(start)?;
        let available = self.end - start;
        if length == 0 || length > MAX_SECTION_BYTES || length + prefix > available {
            return Err(torn());
        }
        let mut body = vec![0; length as usize];
        self.fill(&mut body, start)?;
        let mut rest = body.as_slice();
        let cid = Cid::read_bytes(&mut rest).map_err(|_| torn())?;
        let name = body.len() - rest.len();
        if rest.len() > MAX_BLOCK_BYTES {
            return Err(torn());
        }
        let data = body.split_off(name);
        self.position = start + prefix + length;
        Ok(Some(Section { cid, start, data_offset: start + prefix + name as u64, data }))
    }

    fn read_varint(&mut self, start: u64) -> Result<(u64, u64), SectionError> {
        let mut buffer = [0; 10];
        for at in 0..buffer.len() {
            self.fill(&mut buffer[at..=at], start)?;
            if buffer[at] & 0x80 == 0 {
                let (number, _) =
                    unsigned_varint::decode::u64(&buffer[..=at]).map_err(|_| SectionError::Torn { at: start })?;
                return Ok((number, at as u64 + 1));
            }
        }
        Err(SectionError::Torn { at: start })
    }

    fn fill(&mut self, buffer: &mut [u8], start: u64) -> Result<(), SectionError> {
        self.reader.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SectionError::Torn { at: start },
            _ => SectionError::Io(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::raw_cid;
    use proptest::prelude::*;

    #[test]
    fn the_one_root_header_is_the_dag_cbor_it_claims_to_be() {
        #[derive(serde::Deserialize)]
        struct Header {
            roots: Vec<Cid>,
            version: u64,
        }
        let root = raw_cid(b"root");
        let header = v1_header(&root);
        assert_eq!(header.len(), 59);
        assert_eq!(header[0], 58);
        let parsed: Header = serde_ipld_dagcbor::from_slice(&header[1..]).expect("dag-cbor");
        assert_eq!((parsed.roots, parsed.version), (vec![root], 1));
        let parsed: Header = serde_ipld_dagcbor::from_slice(&EMPTY_V1_HEADER[1..]).expect("cbor");
        assert_eq!((parsed.roots.len(), parsed.version), (0, 1));
    }

    #[test]
    fn a_section_cut_anywhere_is_torn_at_its_start() {
        let mut file = Vec::new();
        push_section(&mut file, &raw_cid(b"one"), b"one");
        let whole = file.len();
        push_section(&mut file, &raw_cid(b"two"), b"two");
        for cut in whole + 1..file.len() {
            let mut sections = Sections::new(&file[..cut], 0, cut as u64);
            assert_eq!(sections.next().expect("first").map(|s| s.data), Some(b"one".to_vec()));
            let Err(SectionError::Torn { at }) = sections.next() else {
                panic!("a cut at {cut} went unnoticed");
            };
            assert_eq!(at, whole as u64);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_section_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut sections = Sections::new(bytes.as_slice(), 0, bytes.len() as u64);
            while let Ok(Some(_)) = sections.next() {}
        }
    }
}

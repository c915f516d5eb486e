//! The `.dag` file beside a blob: how the blob's bytes make a UnixFS file.
//!
//! It is an ordinary CARv1 whose one root is the file's root. Its sections are the interior nodes (dag-pb) in
//! full, and leaf tables: dag-cbor blocks `[[cid, offset, length], …]` that say where in the blob each leaf
//! lies. Children stand before parents and tables in file order, so both are written and read in one pass with
//! bounded memory. Every section is hashed again on reading; a table that reaches past the blob is refused.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cid::Cid;

use crate::block;
use crate::block::MAX_BLOCK_BYTES;
use crate::car::{self, SectionError, Sections};
use crate::cid::{DAG_CBOR, DAG_PB, dag_cbor_cid, raw_cid};

/// Leaves per table: at ~55 bytes each a table stays under half a block.
const LEAVES_PER_TABLE: usize = 8192;

type LeafRow = (Cid, u64, u32);

/// Writes a `.dag` file while its blob is being hashed.
pub(crate) struct ReferenceWriter {
    file: BufWriter<File>,
    leaves: Vec<LeafRow>,
}

impl ReferenceWriter {
    pub fn create(file: File) -> io::Result<ReferenceWriter> {
        let mut file = BufWriter::new(file);
        // The root is not known yet; every root of ours has a header of this length.
        file.write_all(&car::v1_header(&raw_cid(b"")))?;
        Ok(ReferenceWriter { file, leaves: Vec::new() })
    }

    pub fn leaf(&mut self, cid: Cid, offset: u64, length: u32) -> io::Result<()> {
        self.leaves.push((cid, offset, length));
        match self.leaves.len() < LEAVES_PER_TABLE {
            true => Ok(()),
            false => self.flush_table(),
        }
    }

    pub fn node(&mut self, cid: &Cid, bytes: &[u8]) -> io::Result<()> {
        let mut section = Vec::with_capacity(bytes.len() + 64);
        car::push_section(&mut section, cid, bytes);
        self.file.write_all(&section)
    }

    /// Names the root and makes the file durable.
    pub fn finish(mut self, root: &Cid) -> io::Result<()> {
        self.flush_table()?;
        let mut file = self.file.into_inner().map_err(|error| error.into_error())?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&car::v1_header(root))?;
        file.sync_all()
    }

    fn flush_table(&mut self) -> io::Result<()> {
        if self.leaves.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.leaves);
        let bytes = serde_ipld_dagcbor::to_vec(&rows).expect("rows of CIDs and numbers encode");
        self.node(&dag_cbor_cid(&bytes), &bytes)
    }
}

/// One block a `.dag` file accounts for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Referenced {
    /// An interior node: its bytes lie in the `.dag` file.
    Node { cid: Cid, offset: u64, length: u32 },
    /// A leaf: its bytes lie in the blob.
    Leaf { cid: Cid, offset: u64, length: u32 },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error("{}: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Reads a `.dag` file, verifying as it goes, and hands every block to `visit`.
pub(crate) fn read_reference<E: From<ReferenceError>>(
    path: &Path,
    root: &Cid,
    blob_bytes: u64,
    visit: &mut dyn FnMut(Referenced) -> Result<(), E>,
) -> Result<(), E> {
    let io = |source| ReferenceError::Io { path: path.to_owned(), source };
    let damaged = |reason: String| ReferenceError::Damaged { path: path.to_owned(), reason };
    let file = File::open(path).map_err(io)?;
    let end = file.metadata().map_err(io)?.len();
    let mut reader = BufReader::new(file);
    let header = car::v1_header(root);
    let mut found = vec![0; header.len()];
    io::Read::read_exact(&mut reader, &mut found).map_err(io)?;
    if found != header {
        return Err(damaged("its header does not name this root".into()).into());
    }
    let mut sections = Sections::new(reader, header.len() as u64, end);
    loop {
        let section = match sections.next() {
            Ok(Some(section)) => section,
            Ok(None) => return Ok(()),
            Err(SectionError::Io(source)) => return Err(io(source).into()),
            Err(torn) => return Err(damaged(torn.to_string()).into()),
        };
        block::verify(&section.cid, &section.data).map_err(|error| damaged(error.to_string()))?;
        match section.cid.codec() {
            DAG_PB => visit(Referenced::Node {
                cid: section.cid,
                offset: section.data_offset,
                length: section.data.len() as u32,
            })?,
            DAG_CBOR => {
                let rows = parse_table(&section.data, blob_bytes).map_err(damaged)?;
                for (cid, offset, length) in rows {
                    visit(Referenced::Leaf { cid, offset, length })?;
                }
            }
            codec => return Err(damaged(format!("a section with codec {codec:#x}")).into()),
        }
    }
}

fn parse_table(bytes: &[u8], blob_bytes: u64) -> Result<Vec<LeafRow>, String> {
    let rows: Vec<LeafRow> = serde_ipld_dagcbor::from_slice(bytes).map_err(|error| error.to_string())?;
    for (cid, offset, length) in &rows {
        let end = offset.checked_add(u64::from(*length));
        if *length as usize > MAX_BLOCK_BYTES || end.is_none_or(|end| end > blob_bytes) {
            return Err(format!("leaf {cid} does not lie inside the blob"));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::dag_pb_cid;

    fn write(path: &Path, root: &Cid, node: &[u8]) {
        let file = File::create(path).expect("create");
        let mut writer = ReferenceWriter::create(file).expect("header");
        writer.leaf(raw_cid(b"leaf"), 0, 4).expect("leaf");
        writer.node(root, node).expect("node");
        writer.finish(root).expect("finish");
    }

    fn read(path: &Path, root: &Cid, size: u64) -> Result<Vec<Referenced>, ReferenceError> {
        let mut all = Vec::new();
        read_reference(path, root, size, &mut |item| {
            all.push(item);
            Ok::<(), ReferenceError>(())
        })?;
        Ok(all)
    }

    #[test]
    fn what_is_written_is_read_back_and_damage_is_told() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("x.dag");
        let node = [0x0a, 0x02, 0x08, 0x02];
        let root = dag_pb_cid(&node);
        write(&path, &root, &node);
        let all = read(&path, &root, 4).expect("read");
        assert_eq!(all.len(), 2);
        assert!(read(&path, &root, 3).is_err(), "the leaf reaches past the blob");
        assert!(read(&path, &raw_cid(b"other"), 4).is_err(), "the root is another");

        let mut bytes = std::fs::read(&path).expect("read");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).expect("damage");
        assert!(matches!(read(&path, &root, 4), Err(ReferenceError::Damaged { .. })));
    }
}

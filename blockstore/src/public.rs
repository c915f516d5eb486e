//! The public set: every block that a stranger may see, and that it is here.
//!
//! It is the closure of the roots marked public, materialised as one row per (block, root), so that the question
//! "is this block public" is one look-up. A root passes through `Entering` and `Leaving`; what a crash leaves in
//! either is taken out on the next open, so nothing stays public that nobody said is.

use std::sync::PoisonError;

use cid::Cid;

use crate::cid::key;
use crate::error::ReadError;
use crate::state::{Slot, StateError, Write};
use crate::store::Store;
use crate::stored::{self, PublicPhase};

/// Rows per transaction while a closure is written or removed.
const BATCH: usize = 2048;
const NEXT_ID: &[u8] = b"public-id";

/// Whether a root is offered to strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Visibility {
    Public,
    Private,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicRoot {
    pub cid: Cid,
    /// Blocks in its closure.
    pub blocks: u64,
}

impl Store {
    /// Puts a root with everything below it into the public set, or takes it out; returns the blocks concerned.
    /// Going public needs every block to be here.
    pub fn set_public(&self, root: &Cid, visibility: Visibility) -> Result<u64, ReadError> {
        let _one = self.inner.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.public_row(root)?;
        match (visibility, known) {
            (Visibility::Public, Some((_, blocks, PublicPhase::Public))) => Ok(blocks),
            (Visibility::Public, Some((id, blocks, _))) => {
                // What an interrupted change left behind goes first, or its rows would stay for ever.
                self.withdraw(root, id, blocks)?;
                self.publish_whole(root)
            }
            (Visibility::Public, None) => self.publish_whole(root),
            (Visibility::Private, Some((id, blocks, _))) => {
                self.withdraw(root, id, blocks)?;
                Ok(blocks)
            }
            (Visibility::Private, None) => Ok(0),
        }
    }

    /// The roots that are public.
    pub fn public_roots(&self) -> Result<Vec<PublicRoot>, StateError> {
        let rows = self.public_rows()?.into_iter();
        let done = rows.filter(|(_, _, _, phase)| *phase == PublicPhase::Public);
        Ok(done.map(|(cid, _, blocks, _)| PublicRoot { cid, blocks }).collect())
    }

    pub(crate) fn is_public(&self, key: &[u8]) -> Result<bool, StateError> {
        let rows = self.inner.state.scan_slot(Slot::PublicBlocks, key, 1)?;
        // A multihash carries its own length, so none is the beginning of another.
        Ok(rows.first().is_some_and(|(found, _)| found.starts_with(key)))
    }

    /// Takes out what a crash left half done.
    pub(crate) fn finish_public_changes(&self) -> Result<(), StateError> {
        for (root, id, blocks, phase) in self.public_rows()? {
            if phase != PublicPhase::Public {
                self.withdraw(&root, id, blocks)?;
            }
        }
        Ok(())
    }

    /// All of it or nothing: a failed change must not leave blocks that strangers can read.
    fn publish_whole(&self, root: &Cid) -> Result<u64, ReadError> {
        let published = self.publish(root);
        if published.is_err()
            && let Ok(Some((id, blocks, _))) = self.public_row(root)
            && let Err(error) = self.withdraw(root, id, blocks)
        {
            tracing::error!(%error, %root, "a half public root could not be withdrawn; the next start does it");
        }
        published
    }

    fn publish(&self, root: &Cid) -> Result<u64, ReadError> {
        let mut closure = Vec::new();
        self.walk(root, &mut |cid, length| match length {
            Some(_) => {
                closure.push(key(cid));
                Ok(())
            }
            None => Err(ReadError::Missing(*cid)),
        })?;
        let blocks = closure.len() as u64;
        let id = self.next_id()?;
        let row = |phase| {
            let value = stored::encode_public_root(id, blocks, phase);
            Write::Put(Slot::PublicRoots, root.to_bytes(), value)
        };
        let next = Write::Put(Slot::Meta, NEXT_ID.to_vec(), stored::encode_number(id + 1));
        self.inner.state.write(vec![next, row(PublicPhase::Entering)])?;
        for part in closure.chunks(BATCH) {
            let mut writes = Vec::with_capacity(part.len() * 2);
            for block in part {
                writes.push(Write::Put(Slot::PublicBlocks, by_block(block, id), vec![]));
                writes.push(Write::Put(Slot::PublicClosures, by_root(id, block), vec![]));
            }
            self.inner.state.write(writes)?;
        }
        self.inner.state.write(vec![row(PublicPhase::Public)])?;
        Ok(blocks)
    }

    fn withdraw(&self, root: &Cid, id: u64, blocks: u64) -> Result<(), StateError> {
        let state = &self.inner.state;
        let leaving = stored::encode_public_root(id, blocks, PublicPhase::Leaving);
        state.write(vec![Write::Put(Slot::PublicRoots, root.to_bytes(), leaving)])?;
        let prefix = id.to_be_bytes();
        loop {
            let rows = state.scan_slot(Slot::PublicClosures, &prefix, BATCH)?;
            let mine: Vec<_> =
                rows.into_iter().filter_map(|(row, _)| row.strip_prefix(&prefix).map(<[u8]>::to_vec)).collect();
            if mine.is_empty() {
                break;
            }
            let writes = mine.iter().flat_map(|block| {
                [
                    Write::Delete(Slot::PublicBlocks, by_block(block, id)),
                    Write::Delete(Slot::PublicClosures, by_root(id, block)),
                ]
            });
            state.write(writes.collect())?;
        }
        state.write(vec![Write::Delete(Slot::PublicRoots, root.to_bytes())])?;
        Ok(())
    }

    fn next_id(&self) -> Result<u64, StateError> {
        let value = self.inner.state.get_slot(Slot::Meta, NEXT_ID)?;
        Ok(value.map_or(1, |bytes| stored::decode_number(&bytes).unwrap_or(1)))
    }

    fn public_row(&self, root: &Cid) -> Result<Option<(u64, u64, PublicPhase)>, StateError> {
        let value = self.inner.state.get_slot(Slot::PublicRoots, &root.to_bytes())?;
        value.map(|value| parse(&value)).transpose()
    }

    fn public_rows(&self) -> Result<Vec<(Cid, u64, u64, PublicPhase)>, StateError> {
        let rows = self.inner.state.scan_slot(Slot::PublicRoots, &[], usize::MAX)?;
        rows.iter()
            .map(|(key, value)| {
                let cid = Cid::try_from(key.as_slice()).map_err(|error| StateError::Damaged(error.to_string()))?;
                let (id, blocks, phase) = parse(value)?;
                Ok((cid, id, blocks, phase))
            })
            .collect()
    }
}

fn parse(value: &[u8]) -> Result<(u64, u64, PublicPhase), StateError> {
    stored::decode_public_root(value).map_err(|error| StateError::Damaged(error.to_string()))
}

fn by_block(block: &[u8], id: u64) -> Vec<u8> {
    [block, &id.to_be_bytes()].concat()
}

fn by_root(id: u64, block: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes(), block].concat()
}

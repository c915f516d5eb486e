//! What we want of one peer: the list as it should be, and the list as the peer knows it.
//!
//! Wants and cancels between two messages melt into one change, and a want that was never told is
//! never cancelled. Always: the peer is told of at most `TOLD_ENTRIES` wants at a time, because a peer
//! drops what goes over its own bound; the rest wait here in order.

use std::collections::{HashMap, VecDeque};

use cid::Cid;

use super::message::{Entry, IfMissing, Request};

/// A little under the 1024 that peers remember.
const TOLD_ENTRIES: usize = 1000;
/// Changes told in one message: about 64 KiB.
const ENTRIES_PER_MESSAGE: usize = 1024;

/// How much we want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Have,
    Block,
}

#[derive(Default)]
struct Slot {
    wanted: Option<Kind>,
    told: Option<Kind>,
    queued: bool,
}

/// One peer's list.
#[derive(Default)]
pub struct Wantlist {
    slots: HashMap<Cid, Slot>,
    changed: VecDeque<Cid>,
    told: usize,
}

impl Wantlist {
    pub fn want(&mut self, cid: Cid, kind: Kind) {
        self.slots.entry(cid).or_default().wanted = Some(kind);
        self.queue(cid);
    }

    /// We no longer want it; the peer is told if it was told of the want.
    pub fn cancel(&mut self, cid: &Cid) {
        if let Some(slot) = self.slots.get_mut(cid) {
            slot.wanted = None;
            self.queue(*cid);
        }
    }

    /// The peer sent the block: it has struck the want from its own list.
    pub fn fulfilled(&mut self, cid: &Cid) {
        if let Some(slot) = self.slots.get_mut(cid) {
            self.told -= usize::from(slot.told.take().is_some());
            slot.wanted = None;
            if !slot.queued {
                self.slots.remove(cid);
            }
        }
    }

    fn queue(&mut self, cid: Cid) {
        if let Some(slot) = self.slots.get_mut(&cid)
            && !slot.queued
        {
            slot.queued = true;
            self.changed.push_back(cid);
        }
    }

    /// The changes to tell now, cancels among them; empty when there are none or no room.
    pub fn changes(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut later = VecDeque::new();
        while let Some(cid) = self.changed.pop_front() {
            let Some(slot) = self.slots.get_mut(&cid) else {
                continue;
            };
            let no_room = slot.wanted.is_some() && slot.told.is_none() && self.told >= TOLD_ENTRIES;
            if no_room || entries.len() >= ENTRIES_PER_MESSAGE {
                later.push_back(cid);
                continue;
            }
            slot.queued = false;
            let request = match (slot.wanted, slot.told) {
                (Some(Kind::Block), Some(Kind::Have) | None) => Some(Request::Block(IfMissing::Tell)),
                (Some(Kind::Have), None) => Some(Request::Have(IfMissing::Tell)),
                (None, Some(_)) => Some(Request::Cancel),
                // A told want-block covers a later want-have.
                (Some(_), Some(_)) | (None, None) => None,
            };
            self.told += usize::from(slot.wanted.is_some() && slot.told.is_none());
            self.told -= usize::from(slot.wanted.is_none() && slot.told.is_some());
            slot.told = slot.wanted;
            if slot.wanted.is_none() {
                self.slots.remove(&cid);
            }
            entries.extend(request.map(|request| Entry { cid, request }));
        }
        self.changed = later;
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artdag_blockstore::Block;

    fn cid(number: u32) -> Cid {
        *Block::raw(number.to_be_bytes().to_vec()).expect("small").cid()
    }

    fn requests(list: &mut Wantlist) -> Vec<Request> {
        list.changes().into_iter().map(|it| it.request).collect()
    }

    #[test]
    fn a_want_that_was_never_told_is_never_cancelled() {
        let mut list = Wantlist::default();
        list.want(cid(1), Kind::Have);
        list.cancel(&cid(1));
        assert!(list.changes().is_empty());
        assert!(list.slots.is_empty());
    }

    #[test]
    fn have_becomes_block_and_is_cancelled_once() {
        let mut list = Wantlist::default();
        list.want(cid(1), Kind::Have);
        assert_eq!(requests(&mut list), [Request::Have(IfMissing::Tell)]);
        list.want(cid(1), Kind::Block);
        assert_eq!(requests(&mut list), [Request::Block(IfMissing::Tell)]);
        list.cancel(&cid(1));
        assert_eq!(requests(&mut list), [Request::Cancel]);
        list.cancel(&cid(1));
        assert!(list.changes().is_empty());
    }

    #[test]
    fn a_full_list_waits_for_room_and_cancels_are_never_held() {
        let mut list = Wantlist::default();
        for number in 0..TOLD_ENTRIES as u32 + 5 {
            list.want(cid(number), Kind::Block);
        }
        assert_eq!(list.changes().len(), TOLD_ENTRIES);
        assert!(list.changes().is_empty(), "no room");
        list.fulfilled(&cid(0));
        list.cancel(&cid(1));
        let first = requests(&mut list);
        assert!(first.contains(&Request::Cancel));
        let second = requests(&mut list);
        let wants = |it: &[Request]| it.iter().filter(|it| **it != Request::Cancel).count();
        assert_eq!(wants(&first) + wants(&second), 2);
        assert_eq!(list.told, TOLD_ENTRIES);
    }
}

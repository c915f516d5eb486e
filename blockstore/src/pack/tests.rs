//! Packs: retirement, one sync for many tickets, a header cut short.

use super::*;

struct Fixture {
    places: Places,
    state: State,
    index: Index,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let places = Places::new(dir.path());
    std::fs::create_dir(places.packs()).expect("packs");
    let state = State::open(&places.state()).expect("state");
    let index = Index::open(&places.index(), 1 << 20);
    Fixture { places, state, index, _dir: dir }
}

impl Fixture {
    fn open(&self) -> Packs {
        Packs::open(&self.places, 1 << 30, &self.state, &|_| 0).expect("packs")
    }

    fn append(&self, packs: &Packs, bytes: &[u8]) -> (Ticket, Vec<u8>) {
        let block = Block::raw(bytes).expect("block");
        let ticket = packs.append(std::slice::from_ref(&block), &self.state).expect("append");
        (ticket, key(block.cid()))
    }

    fn indexed(&self, key: &[u8]) -> bool {
        self.index.get(key).expect("index").is_some()
    }
}

/// The law of a failed fsync: what was durable stays, what was not is never believed again, and the pack
/// takes no more, in this process or the next.
#[test]
fn a_retired_pack_keeps_what_was_durable_and_takes_no_more() {
    let fixture = fixture();
    let packs = fixture.open();
    let (ticket, durable) = fixture.append(&packs, b"durable");
    packs.sync(ticket, &fixture.index, &fixture.state).expect("sync");
    let (lost_ticket, lost) = fixture.append(&packs, b"in the page cache only");
    packs.retire(&mut packs.lock(), &fixture.state);

    assert!(packs.sync(lost_ticket, &fixture.index, &fixture.state).is_err());
    packs.sync(ticket, &fixture.index, &fixture.state).expect("was durable before");
    assert!(fixture.indexed(&durable) && !fixture.indexed(&lost));
    let (next, later) = fixture.append(&packs, b"later");
    assert_eq!(next.pack, ticket.pack + 1);
    packs.sync(next, &fixture.index, &fixture.state).expect("sync");
    assert!(fixture.indexed(&later));

    let again = fixture.open();
    assert_eq!(again.extents(), [(ticket.pack, ticket.end), (next.pack, next.end)]);
}

#[test]
fn one_sync_covers_the_tickets_before_it() {
    let fixture = fixture();
    let packs = fixture.open();
    let (first, a) = fixture.append(&packs, b"a");
    let (second, b) = fixture.append(&packs, b"b");
    packs.sync(second, &fixture.index, &fixture.state).expect("sync");
    assert!(fixture.indexed(&a) && fixture.indexed(&b));
    packs.sync(first, &fixture.index, &fixture.state).expect("nothing left to do");
    assert_eq!(fixture.index.pack_mark(first.pack), second.end);
}

#[test]
fn a_pack_cut_inside_its_header_starts_over() {
    let fixture = fixture();
    std::fs::write(fixture.places.pack(1), &car::PRAGMA[..7]).expect("write");
    let packs = fixture.open();
    let (ticket, found) = fixture.append(&packs, b"x");
    assert_eq!(ticket.pack, 1);
    packs.sync(ticket, &fixture.index, &fixture.state).expect("sync");
    assert!(fixture.indexed(&found));
    assert_eq!(fixture.open().extents(), [(1, ticket.end)]);
}

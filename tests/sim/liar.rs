//! What a lying member puts on the wire: two batches under one number, batches in another's name,
//! damaged batches, batches from the future.
//!
//! It makes its lies with the same code as honest nodes and then breaks the bytes, so that each
//! lie is wrong in one place only.

use artdag_core::identity::{ActionId, Origin};
use artdag_core::records::batch::NO_PREVIOUS;
use artdag_core::records::{Batch, BatchKey, LogId, Position, Record, SigningKey, Stamp, VerifiedBatch};
use cid::Cid;

use super::dice::Dice;
use super::node::{Node, result_record};
use super::plan::HEAL_MS;

/// A lie, and what it says.
pub struct Lie {
    pub bytes: Vec<u8>,
    pub action: ActionId,
    pub cid: Cid,
}

/// Some lies of this node now; each may go to other nodes.
pub fn lies(node: &Node, now_ms: u64, dice: &mut Dice) -> Vec<Lie> {
    let stamp = Stamp { wall_ms: node.wall_ms(now_ms), counter: 0 };
    let mut lies = Vec::new();
    match dice.range(0, 4) {
        // What it said in a disowned log is run again: no network is stable with that.
        0 if now_ms < HEAL_MS => lies.extend(twice(node, stamp, dice)),
        0 => {}
        1 => lies.extend(forged(node, stamp, dice)),
        2 => lies.extend(damaged(node, dice)),
        _ => {
            let wall_ms = stamp.wall_ms + 24 * 3_600_000;
            lies.extend(
                next(node, Stamp { wall_ms, ..stamp }, dice).map(|sealed| lie(&sealed, sealed.bytes().to_vec())),
            );
        }
    }
    lies
}

/// Another batch under the number of its last one, or of the next one that it will publish.
fn twice(node: &Node, stamp: Stamp, dice: &mut Dice) -> Option<Lie> {
    if dice.permille(500) {
        return next(node, stamp, dice).map(|sealed| lie(&sealed, sealed.bytes().to_vec()));
    }
    let records = &node.memory.as_ref()?.records;
    let Some(Position::At { number, .. }) = records.vector().get(&records.own()) else { return None };
    let before = BatchKey { log: records.own(), number: number - 1 };
    let previous = match number {
        1 => NO_PREVIOUS,
        _ => VerifiedBatch::decode(node.disk.batches.get(&before)?).ok()?.hash(),
    };
    let sealed = seal(&node.key, records.own(), number, previous, stamp, dice);
    Some(lie(&sealed, sealed.bytes().to_vec()))
}

/// A batch that would be the next of another node's log, had that node signed it.
fn forged(node: &Node, stamp: Stamp, dice: &mut Dice) -> Option<Lie> {
    let records = &node.memory.as_ref()?.records;
    let vector = records.vector();
    let others: Vec<_> = vector.iter().filter(|(log, _)| log.origin != node.origin).collect();
    let (log, position) = others.get(dice.index(others.len().max(1)))?;
    let Position::At { number, head } = **position else { return None };
    let own = LogId { origin: node.origin, incarnation: log.incarnation };
    let sealed = seal(&node.key, own, number + 1, head, stamp, dice);
    let bytes = rename(sealed.bytes(), &node.origin, &log.origin);
    Some(lie(&sealed, bytes))
}

/// A batch of anyone with one bit turned.
fn damaged(node: &Node, dice: &mut Dice) -> Option<Lie> {
    let batches: Vec<&Vec<u8>> = node.disk.batches.values().collect();
    let mut bytes = (*batches.get(dice.index(batches.len().max(1)))?).clone();
    let place = dice.index(bytes.len());
    bytes[place] ^= 1 << dice.index(8);
    let (action, cid) = invention(dice);
    Some(Lie { bytes, action, cid })
}

/// The next of its own log, unpublished.
fn next(node: &Node, stamp: Stamp, dice: &mut Dice) -> Option<VerifiedBatch> {
    let records = &node.memory.as_ref()?.records;
    let Some(Position::At { number, head }) = records.vector().get(&records.own()) else { return None };
    Some(seal(&node.key, records.own(), number + 1, head, stamp, dice))
}

fn seal(key: &SigningKey, log: LogId, number: u64, previous: [u8; 32], clock: Stamp, dice: &mut Dice) -> VerifiedBatch {
    let (action, cid) = invention(dice);
    let records = vec![Record::Result(result_record(action, cid))];
    let batch = Batch { origin: log.origin, incarnation: log.incarnation, number, previous, clock, records };
    batch.seal(key).expect("the liar signs as itself")
}

fn lie(sealed: &VerifiedBatch, bytes: Vec<u8>) -> Lie {
    let Some(Record::Result(result)) = sealed.batch().records.first() else { unreachable!("lies are about results") };
    Lie { bytes, action: result.action_id, cid: result.cid }
}

/// A false result for an action that others may want.
fn invention(dice: &mut Dice) -> (ActionId, Cid) {
    let action = super::world::action_id(u32::try_from(dice.range(0, 55)).expect("small"));
    let mut digest = [0xbb; 32];
    digest[..8].copy_from_slice(&dice.next().to_le_bytes());
    let hash = cid::multihash::Multihash::wrap(0x12, &digest).expect("32 bytes fit");
    (action, Cid::new_v1(0x55, hash))
}

fn rename(bytes: &[u8], from: &Origin, to: &Origin) -> Vec<u8> {
    let mut renamed = bytes.to_vec();
    let place = renamed.windows(32).position(|window| window == from.0).expect("a batch names its origin");
    renamed[place..place + 32].copy_from_slice(&to.0);
    renamed
}

//! Two members compare what they have and send each other what is missing: the truth behind gossip.
//!
//! Both sides do the same. Each says hello with its version vector; each answers the other's
//! hello with batches, as many messages as its budget allows, and then done. The session is over
//! when both are done; what did not fit comes in the next session.
//!
//! # Bytes
//!
//! One message is a kind byte and its payload; the stream frames it.
//!
//! | kind | payload |
//! |---|---|
//! | 1 hello | the version vector |
//! | 2 batches | dag-cbor list of byte strings: batches or evidence |
//! | 3 done | empty |
//!
//! What always holds: a session ends after a bounded number of bytes each way, whatever the
//! other side sends. What it brings goes through `Records::receive` like gossip.
//! What this file does not do: read stored bytes. It names keys; the driver fetches and sends.

use serde_bytes::ByteBuf;

use super::Records;
use super::evidence::MAX_EVIDENCE_BYTES;
use super::log::BatchKey;
use super::record::exact;
use super::version::{NotAVector, VersionVector};

/// Bytes of batches in one message: a message is held in memory on both sides.
pub const MESSAGE_BUDGET: usize = 256 * 1024;
/// Bytes of one message: the budget is passed by at most one item, or it is a full vector.
pub const MAX_MESSAGE_BYTES: usize = 512 * 1024;
/// Bytes one side sends in one session: a week's news goes over in a few, and a peer that
/// knows nothing cannot hold a stream for ever.
pub const SESSION_BUDGET: usize = 16 * 1024 * 1024;

const HELLO: u8 = 1;
const BATCHES: u8 = 2;
const DONE: u8 = 3;

const _: () = assert!(MESSAGE_BUDGET + MAX_EVIDENCE_BYTES + 1024 < MAX_MESSAGE_BYTES);

/// What travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// What the sender has.
    Hello(VersionVector),
    /// What the receiver lacks.
    Batches(Vec<Vec<u8>>),
    /// The sender has no more, or has spent its budget.
    Done,
}

/// The other side does not keep to the protocol: close the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Not a message.
    #[error("not a reconcile message")]
    Malformed,
    /// A message that may not come now.
    #[error("a reconcile message out of turn")]
    OutOfTurn,
    /// More than a session may bring.
    #[error("more than {SESSION_BUDGET} bytes in one reconcile session")]
    TooMuch,
}

impl From<NotAVector> for Violation {
    fn from(_: NotAVector) -> Self {
        Violation::Malformed
    }
}

impl Message {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Message::Hello(vector) => tagged(HELLO, vector.encode()),
            Message::Batches(items) => {
                let items: Vec<&serde_bytes::Bytes> = items.iter().map(|item| serde_bytes::Bytes::new(item)).collect();
                let payload = serde_ipld_dagcbor::to_vec(&items).expect("a list of byte strings has a dag-cbor form");
                tagged(BATCHES, payload)
            }
            Message::Done => vec![DONE],
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Violation::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Message, Violation> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(Violation::Malformed);
        }
        match bytes {
            [HELLO, payload @ ..] => Ok(Message::Hello(VersionVector::decode(payload)?)),
            [BATCHES, payload @ ..] => {
                let items: Vec<ByteBuf> = exact(payload).map_err(|_| Violation::Malformed)?;
                Ok(Message::Batches(items.into_iter().map(ByteBuf::into_vec).collect()))
            }
            [DONE] => Ok(Message::Done),
            _ => Err(Violation::Malformed),
        }
    }
}

/// What to send next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Send {
    /// Our vector.
    Hello(VersionVector),
    /// The stored bytes under these keys, as one [`Message::Batches`]. A key whose bytes are
    /// gone is left out.
    Batches(Vec<BatchKey>),
    /// [`Message::Done`].
    Done,
}

/// One side of one session.
#[derive(Debug, Default)]
pub struct Session {
    theirs: Option<VersionVector>,
    said_hello: bool,
    said_done: bool,
    heard_done: bool,
    sent_bytes: usize,
    received_bytes: usize,
}

impl Session {
    /// What to send next; none means: wait for the other side, or the session is over.
    pub fn next_send(&mut self, records: &Records) -> Option<Send> {
        if !self.said_hello {
            self.said_hello = true;
            return Some(Send::Hello(records.vector()));
        }
        let theirs = self.theirs.as_mut().filter(|_| !self.said_done)?;
        let budget = MESSAGE_BUDGET.min(SESSION_BUDGET - self.sent_bytes.min(SESSION_BUDGET));
        let missing = if budget == 0 { Vec::new() } else { records.missing_for(theirs, budget) };
        if missing.is_empty() {
            self.said_done = true;
            return Some(Send::Done);
        }
        for key in &missing {
            self.sent_bytes += records.stored_size(key);
            records.note_sent(theirs, key);
        }
        Some(Send::Batches(missing))
    }

    /// Takes what the other side sent; the items are for `Records::receive`.
    ///
    /// # Errors
    /// [`Violation`]: close the stream. What was received before stays good.
    pub fn receive(&mut self, message: Message) -> Result<Vec<Vec<u8>>, Violation> {
        match message {
            Message::Hello(vector) if self.theirs.is_none() => {
                self.theirs = Some(vector);
                Ok(Vec::new())
            }
            Message::Batches(items) if self.theirs.is_some() && !self.heard_done => {
                self.received_bytes += items.iter().map(Vec::len).sum::<usize>();
                if self.received_bytes > SESSION_BUDGET + MAX_MESSAGE_BYTES {
                    return Err(Violation::TooMuch);
                }
                Ok(items)
            }
            Message::Done if self.theirs.is_some() && !self.heard_done => {
                self.heard_done = true;
                Ok(Vec::new())
            }
            _ => Err(Violation::OutOfTurn),
        }
    }

    /// Whether both sides are done.
    pub fn is_over(&self) -> bool {
        self.said_done && self.heard_done
    }
}

fn tagged(kind: u8, payload: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 1);
    bytes.push(kind);
    bytes.extend(payload);
    bytes
}

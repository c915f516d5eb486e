//! Bitswap decided: inputs in, outputs out; no clock, no wire, no disk.
//!
//! The engine joins the asking half (`client`) and the serving half (`server`) and decides what the
//! next message to each peer carries. Always: at most `MESSAGES_IN_FLIGHT` messages are under way to a
//! peer, and of these one that changes our wantlist, so that a cancel never overtakes its want.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use artdag_blockstore::Block;
use cid::Cid;

use super::WantId;
use super::ask::{Ended, Purpose, Scope};
use super::client::{Client, Outcome};
use super::message::{Entry, Incoming, Presence};
use super::server::{Circle, Server};
use crate::limits::{MESSAGES_IN_FLIGHT, WANTS};
use crate::peer::PeerId;

/// Everything that can happen.
#[derive(Debug)]
pub enum Input {
    Connected(PeerId),
    Proved(PeerId),
    Disconnected(PeerId),
    Message(PeerId, Incoming),
    Want {
        id: WantId,
        cid: Cid,
        purpose: Purpose,
        scope: Scope,
        hints: Vec<PeerId>,
    },
    Cancel(WantId),
    /// What `Output::LookUp` found: sizes of blocks that the peer may see.
    Found(PeerId, Vec<(Cid, Option<u32>)>),
    /// A draft is on the wire.
    Sent(PeerId, Receipt),
    /// A draft could not be sent, nor can any other until the peer connects again.
    Unreachable(PeerId),
    /// These blocks are in the store now.
    Stored(Vec<Cid>),
    Tick,
}

/// Everything that may be asked for.
#[derive(Debug)]
pub enum Output {
    Send(PeerId, Draft),
    LookUp(PeerId, Circle, Vec<Cid>),
    Deliver(WantId, Block),
    Ended(WantId, Ended),
    /// A verified block nobody waited for came in.
    Duplicate,
    Drop(PeerId, &'static str),
}

/// A message whose blocks are still on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub circle: Circle,
    pub entries: Vec<Entry>,
    pub presences: Vec<(Cid, Presence)>,
    pub blocks: Vec<Cid>,
    pub pending_bytes: usize,
    pub receipt: Receipt,
}

/// What a draft counts for while it is under way; handed back when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub block_bytes: usize,
    pub blocks: usize,
    pub carries: Carries,
}

/// Whether a draft changes our wantlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    Wants,
    AnswersOnly,
}

#[derive(Default)]
struct Lane {
    in_flight: usize,
    wants_in_flight: usize,
}

/// The state of bitswap.
#[derive(Default)]
pub struct Engine {
    client: Client,
    server: Server,
    lanes: BTreeMap<PeerId, Lane>,
    /// Peers for which there may be something to send or to look up.
    touched: BTreeSet<PeerId>,
}

impl Engine {
    pub fn handle(&mut self, now: Instant, input: Input) -> Vec<Output> {
        let outcomes = self.take(now, input);
        let mut outputs = Vec::with_capacity(outcomes.len() + 2);
        for outcome in outcomes {
            outputs.push(match outcome {
                Outcome::Delivered(id, block) => Output::Deliver(id, block),
                Outcome::Ended(id, how) => Output::Ended(id, how),
                Outcome::Duplicate => Output::Duplicate,
                Outcome::Pushy(peer) => Output::Drop(peer, "sends blocks nobody asked for"),
            });
        }
        self.pump(&mut outputs);
        outputs
    }

    fn take(&mut self, now: Instant, input: Input) -> Vec<Outcome> {
        match input {
            Input::Connected(peer) => {
                self.server.connected(peer, Circle::Public);
                self.lanes.insert(peer, Lane::default());
                self.client.connected(peer, Circle::Public, now)
            }
            Input::Proved(peer) => {
                self.server.proved(peer);
                self.touched.insert(peer);
                self.client.proved(peer, now)
            }
            Input::Disconnected(peer) | Input::Unreachable(peer) => {
                self.server.disconnected(peer);
                self.lanes.remove(&peer);
                self.touched.remove(&peer);
                self.client.disconnected(peer, now)
            }
            Input::Message(peer, message) => self.message(now, peer, message),
            Input::Want { id, cid, purpose, scope, hints } => {
                if self.client.wants() >= WANTS {
                    return vec![Outcome::Ended(id, Ended::Busy)];
                }
                self.client.want(id, cid, purpose, scope, &hints, now)
            }
            Input::Cancel(id) => self.client.cancel(id, now),
            Input::Found(peer, found) => {
                self.server.found(peer, found);
                self.touched.insert(peer);
                Vec::new()
            }
            Input::Sent(peer, receipt) => {
                self.sent(peer, receipt);
                Vec::new()
            }
            Input::Stored(cids) => {
                self.touched.extend(self.server.stored(&cids));
                Vec::new()
            }
            Input::Tick => self.client.tick(now),
        }
    }

    fn message(&mut self, now: Instant, peer: PeerId, message: Incoming) -> Vec<Outcome> {
        if !self.lanes.contains_key(&peer) {
            return Vec::new();
        }
        self.client.heard(peer, now);
        let mut outcomes = Vec::new();
        for block in message.blocks {
            outcomes.extend(self.client.block(peer, block, now));
        }
        for (cid, presence) in message.presences {
            outcomes.extend(self.client.presence(peer, cid, presence, now));
        }
        self.server.wantlist(peer, message.listing, message.entries);
        self.touched.insert(peer);
        outcomes
    }

    fn sent(&mut self, peer: PeerId, receipt: Receipt) {
        if let Some(lane) = self.lanes.get_mut(&peer) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            if receipt.carries == Carries::Wants {
                lane.wants_in_flight = lane.wants_in_flight.saturating_sub(1);
            }
            self.server.sent(peer, receipt.block_bytes);
            self.touched.insert(peer);
        }
    }

    /// Writes whatever is due to the peers that were touched, each in its turn.
    fn pump(&mut self, outputs: &mut Vec<Output>) {
        self.touched.extend(self.client.changed.iter().copied());
        for peer in std::mem::take(&mut self.touched) {
            while let Some((circle, cids)) = self.server.next_lookup(peer) {
                outputs.push(Output::LookUp(peer, circle, cids));
            }
            while let Some(draft) = self.next_draft(peer) {
                outputs.push(Output::Send(peer, draft));
            }
        }
    }

    fn next_draft(&mut self, peer: PeerId) -> Option<Draft> {
        let lane = self.lanes.get_mut(&peer)?;
        if lane.in_flight >= MESSAGES_IN_FLIGHT {
            return None;
        }
        let entries = match lane.wants_in_flight {
            0 => self.client.changes(peer),
            _ => Vec::new(),
        };
        let answer = self.server.next_answer(peer);
        if entries.is_empty() && answer.is_none() {
            return None;
        }
        let answer = answer.unwrap_or_default();
        let carries = match entries.is_empty() {
            true => Carries::AnswersOnly,
            false => Carries::Wants,
        };
        lane.in_flight += 1;
        lane.wants_in_flight += usize::from(carries == Carries::Wants);
        Some(Draft {
            circle: self.server.circle(peer).unwrap_or(Circle::Public),
            entries,
            presences: answer.presences,
            pending_bytes: answer.pending_bytes,
            receipt: Receipt { block_bytes: answer.block_bytes, blocks: answer.blocks.len(), carries },
            blocks: answer.blocks,
        })
    }
}

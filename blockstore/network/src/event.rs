//! What the network tells the node, in order.
//!
//! The queue is bounded and the network never waits for the node: when the node is slow, gossip is
//! dropped and counted (reconciling brings it), and places are kept for membership.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::warn;

use crate::limits::{EVENTS, EVENTS_RESERVED};
use crate::metrics::Counters;
use crate::peer::PeerId;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Both ends proved themselves; the planes are open.
    MemberJoined(PeerId),
    MemberLeft(PeerId),
    /// The peer stays connected as a public one.
    MemberRefused {
        peer: PeerId,
        reason: String,
    },
    /// A member published this; `from` signed it.
    Gossip {
        from: PeerId,
        data: Vec<u8>,
    },
    PeerConnected(PeerId),
    PeerDisconnected(PeerId),
}

/// The receiving end.
pub struct Events {
    queue: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; `None` after shutdown. Safe to drop.
    pub async fn recv(&mut self) -> Option<Event> {
        self.queue.recv().await
    }
}

pub(crate) struct EventSender {
    queue: mpsc::Sender<Event>,
    counters: Arc<Counters>,
}

pub(crate) fn events(counters: Arc<Counters>) -> (EventSender, Events) {
    let (sender, queue) = mpsc::channel(EVENTS);
    let sender = EventSender { queue: sender, counters };
    (sender, Events { queue })
}

impl EventSender {
    pub fn send(&self, event: Event) {
        let gossip = matches!(event, Event::Gossip { .. });
        if gossip && self.queue.capacity() <= EVENTS_RESERVED {
            self.counters.event_dropped();
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(event)) = self.queue.try_send(event) {
            self.counters.event_dropped();
            warn!(?event, "the node does not take events; one was dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gossip_never_takes_the_places_of_membership() {
        let counters = Arc::new(Counters::default());
        let (sender, mut events) = events(counters.clone());
        let peer = PeerId::from_seed(&[1; 32]);
        for _ in 0..EVENTS + 10 {
            sender.send(Event::Gossip { from: peer, data: Vec::new() });
        }
        sender.send(Event::MemberLeft(peer));
        assert_eq!(counters.read(0, 0).events_dropped as usize, EVENTS_RESERVED + 10);
        let mut last = None;
        drop(sender);
        while let Some(event) = events.recv().await {
            last = Some(event);
        }
        assert_eq!(last, Some(Event::MemberLeft(peer)));
    }
}

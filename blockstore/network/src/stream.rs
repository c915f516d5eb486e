//! Plain byte streams by protocol name: the floor under bitswap, the member proof and the planes.
//!
//! Ours and not libp2p-stream 0.5.0-alpha, for two reasons met there: an `open_stream` that comes before
//! ConnectionEstablished was seen never resolves, and an inbound stream is dropped when its one-place
//! channel is full. Here an open always resolves (no connection: `NotConnected`), and inbound streams
//! come out of the swarm in order, where the driver decides with full knowledge of the peer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::UpgradeInfo;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandlerInEvent, ToSwarm,
};
use libp2p::{InboundUpgrade, OutboundUpgrade, PeerId as Libp2pPeerId, Stream, StreamProtocol};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::limits::OPEN_TIMEOUT;
use crate::peer::PeerId;
use crate::swarm::Command;

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("not connected to that peer")]
    NotConnected,
    #[error("the peer has not proved to be a member")]
    NotMember,
    #[error("the peer does not speak that protocol")]
    Unsupported,
    #[error("the peer did not answer in time")]
    TimedOut,
    #[error("the stream broke while it was opened: {0}")]
    Broken(String),
    #[error("the network is shut down")]
    ShutDown,
}

type Opened = Result<(Stream, StreamProtocol), OpenError>;

/// A request for a stream: the first of the protocols that the peer speaks.
pub struct Request {
    pub protocols: Vec<StreamProtocol>,
    pub reply: oneshot::Sender<Opened>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({:?})", self.protocols)
    }
}

/// A stream that a peer opened.
#[derive(Debug)]
pub struct Inbound {
    pub peer: Libp2pPeerId,
    pub protocol: StreamProtocol,
    pub stream: Stream,
}

/// Opens streams, from any task.
#[derive(Clone)]
pub struct Opener {
    commands: mpsc::Sender<Command>,
}

impl Opener {
    pub fn new(commands: mpsc::Sender<Command>) -> Self {
        Opener { commands }
    }

    /// Opens a stream to a connected peer. Safe to drop: a stream that opens later is reset.
    pub async fn open(&self, peer: PeerId, protocols: &[&'static str]) -> Opened {
        let (reply, opened) = oneshot::channel();
        let protocols = protocols.iter().map(|it| StreamProtocol::new(it)).collect();
        let command = Command::Open(peer, Request { protocols, reply });
        let send = self.commands.send(command).await;
        send.map_err(|_| OpenError::ShutDown)?;
        // The handler has its own time-out; this one covers a swarm that does not get round to it.
        match timeout(2 * OPEN_TIMEOUT, opened).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(OpenError::NotConnected),
            Err(_) => Err(OpenError::TimedOut),
        }
    }

    /// Asks the swarm to part with a peer; when the queue is full, the peer stays a little longer.
    pub fn disconnect(&self, peer: PeerId, reason: String) {
        let _ = self.commands.try_send(Command::Disconnect(peer, reason));
    }
}

/// The behaviour: requests go down to a connection, inbound streams come up.
pub struct Behaviour {
    protocols: Vec<StreamProtocol>,
    /// At most as many as commands handled since the last poll, which is one.
    outbox: VecDeque<ToSwarm<Inbound, Request>>,
}

impl Behaviour {
    pub fn new(protocols: Vec<StreamProtocol>) -> Self {
        Behaviour { protocols, outbox: VecDeque::new() }
    }

    /// Puts a request to one connection of the peer; without one, the reply is dropped.
    pub fn open(&mut self, peer: Libp2pPeerId, request: Request) {
        self.outbox.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler: NotifyHandler::Any, event: request });
    }

    fn handler(&self) -> Handler {
        Handler { protocols: self.protocols.clone(), requests: VecDeque::new(), inbound: VecDeque::new() }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Inbound;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: Libp2pPeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: Libp2pPeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        peer: Libp2pPeerId,
        _: ConnectionId,
        (stream, protocol): (Stream, StreamProtocol),
    ) {
        self.outbox.push_back(ToSwarm::GenerateEvent(Inbound { peer, protocol, stream }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Inbound, THandlerInEvent<Self>>> {
        // Whoever fills the outbox is on the swarm's own task and polls it next: no waker is needed.
        match self.outbox.pop_front() {
            Some(event) => Poll::Ready(event),
            None => Poll::Pending,
        }
    }
}

/// One connection's part.
pub struct Handler {
    protocols: Vec<StreamProtocol>,
    requests: VecDeque<Request>,
    inbound: VecDeque<(Stream, StreamProtocol)>,
}

/// Inbound streams that wait for the swarm on one connection; more are reset.
const INBOUND_WAITING: usize = 64;

impl ConnectionHandler for Handler {
    type FromBehaviour = Request;
    type ToBehaviour = (Stream, StreamProtocol);
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<Opened>;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer(self.protocols.clone()), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Offer, oneshot::Sender<Opened>, Self::ToBehaviour>> {
        if let Some(inbound) = self.inbound.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(inbound));
        }
        while let Some(request) = self.requests.pop_front() {
            if request.reply.is_closed() {
                continue;
            }
            let offer = SubstreamProtocol::new(Offer(request.protocols), request.reply);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: offer.with_timeout(OPEN_TIMEOUT),
            });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Offer, (), oneshot::Sender<Opened>>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. })
                if self.inbound.len() < INBOUND_WAITING =>
            {
                self.inbound.push_back(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info: reply }) => {
                let _ = reply.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: reply, error }) => {
                let error = match error {
                    StreamUpgradeError::Timeout => OpenError::TimedOut,
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Io(error) => OpenError::Broken(error.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = reply.send(Err(error));
            }
            _ => {}
        }
    }
}

/// Negotiates one of these protocols and does nothing more.
pub struct Offer(Vec<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

//! Listening: addresses are checked, bound, and known to be bound before the network is handed out.
//!
//! libp2p binds TCP with SO_REUSEPORT, so that a second node on the same port would start without an
//! error and steal half of the connections; a plain bind beforehand finds that out.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, TransportError};
use tokio::time::timeout;

use crate::behaviour::Behaviour;
use crate::network::StartError;
use crate::peer::ip;

/// The system answers at once; this only keeps a fault from hanging the start.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens on every address and waits until each is bound.
pub async fn listen(swarm: &mut Swarm<Behaviour>, addresses: &[String]) -> Result<(), StartError> {
    for text in addresses {
        let address: Multiaddr = text
            .parse()
            .map_err(|error| StartError::BadAddress { address: text.clone(), reason: format!("{error}") })?;
        check_free(&address)?;
        let listener = swarm.listen_on(address.clone()).map_err(|error| failed(&address, error))?;
        let bound = timeout(LISTEN_TIMEOUT, async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == listener => {
                        return Ok(());
                    }
                    SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => {
                        let source = match reason {
                            Err(error) => error,
                            Ok(()) => std::io::ErrorKind::NotConnected.into(),
                        };
                        return Err(io_failed(&address, source));
                    }
                    // Nobody was told of this node yet: nothing else can have happened that matters.
                    _ => {}
                }
            }
        });
        let timed_out = |_| io_failed(&address, std::io::ErrorKind::TimedOut.into());
        bound.await.map_err(timed_out)??;
    }
    Ok(())
}

fn failed(address: &Multiaddr, error: TransportError<std::io::Error>) -> StartError {
    match error {
        TransportError::MultiaddrNotSupported(_) => StartError::BadAddress {
            address: address.to_string(),
            reason: "write /ip4/HOST/tcp/PORT or /ip4/HOST/udp/PORT/quic-v1".to_owned(),
        },
        TransportError::Other(source) => io_failed(address, source),
    }
}

fn io_failed(address: &Multiaddr, source: std::io::Error) -> StartError {
    let address = address.to_string();
    match source.kind() {
        std::io::ErrorKind::AddrInUse => StartError::AddressInUse { address },
        _ => StartError::Listen { address, source },
    }
}

fn check_free(address: &Multiaddr) -> Result<(), StartError> {
    let Some(ip) = ip(address) else {
        return Ok(());
    };
    let bound = match address.iter().nth(1) {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind(SocketAddr::new(ip, port)).map(drop),
        Some(Protocol::Udp(port)) if port != 0 => UdpSocket::bind(SocketAddr::new(ip, port)).map(drop),
        _ => Ok(()),
    };
    bound.map_err(|source| io_failed(address, source))
}

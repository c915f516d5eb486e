//! Peers and the addresses they are dialled by.
//!
//! `PeerId` is our own type: libp2p's stays inside this package. Names in addresses (`/dns4/…`) are
//! resolved here by the operating system, so that no resolver of our own is needed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// The name of a node: the multihash of its public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub(crate) libp2p::PeerId);

/// The text or the bytes are not a peer id.
#[derive(Debug, thiserror::Error)]
#[error("not a peer id: write it as 12D3Koo…")]
pub struct BadPeerId;

impl PeerId {
    /// The multihash, as in `Origin::to_peer_id_bytes`.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadPeerId> {
        libp2p::PeerId::from_bytes(bytes).map(PeerId).map_err(|_| BadPeerId)
    }

    /// The name that an ed25519 secret seed gives; none other can prove it.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        PeerId(keypair(seed).public().to_peer_id())
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PeerId {
    type Err = BadPeerId;
    fn from_str(text: &str) -> Result<Self, BadPeerId> {
        text.parse().map(PeerId).map_err(|_| BadPeerId)
    }
}

/// The key pair of a secret seed.
pub(crate) fn keypair(seed: &[u8; 32]) -> libp2p::identity::Keypair {
    libp2p::identity::Keypair::ed25519_from_bytes(*seed).expect("every 32 bytes are an ed25519 secret")
}

/// The peer that an address names with its last `/p2p/…`, and the address without it.
pub(crate) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<libp2p::PeerId>) {
    match address.pop() {
        Some(Protocol::P2p(peer)) => (address, Some(peer)),
        Some(other) => {
            address.push(other);
            (address, None)
        }
        None => (address, None),
    }
}

/// The first IP address of a multiaddr, if it begins with one.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.into()),
        _ => None,
    }
}

/// Whether only this machine can use the address.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    ip(address).is_some_and(|ip| ip.is_loopback())
}

/// Replaces a leading name by the addresses it stands for. Dropping it is safe.
pub(crate) async fn resolve(address: Multiaddr) -> std::io::Result<Vec<Multiaddr>> {
    let mut parts = address.iter();
    let (name, wanted) = match parts.next() {
        Some(Protocol::Dns(name)) => (name, Family::Any),
        Some(Protocol::Dns4(name)) => (name, Family::V4),
        Some(Protocol::Dns6(name)) => (name, Family::V6),
        _ => return Ok(vec![address.clone()]),
    };
    let rest: Vec<Protocol<'_>> = parts.collect();
    let found = tokio::net::lookup_host((name.as_ref(), 0)).await?;
    let addresses = found.map(|socket| socket.ip()).filter(|ip| wanted.admits(ip)).map(|ip| {
        let mut resolved = Multiaddr::from(ip);
        rest.iter().cloned().for_each(|part| resolved.push(part));
        resolved
    });
    Ok(addresses.collect())
}

/// Which addresses a `/dns…` part asks for.
enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    fn admits(&self, ip: &IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
        }
    }
}

/// Whether a text is a multiaddr, to be told before anything is started.
pub fn is_address(text: &str) -> bool {
    text.parse::<Multiaddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        let peer = PeerId::from_seed(&[7; 32]);
        assert_eq!(peer.to_string().parse::<PeerId>().expect("well formed"), peer);
        assert_eq!(PeerId::from_bytes(&peer.to_bytes()).expect("well formed"), peer);
        assert!(peer.to_string().starts_with("12D3Koo"));
        assert!("12D3Koo".parse::<PeerId>().is_err());
        assert!(PeerId::from_bytes(&[0x12, 0xff, 0]).is_err());
    }

    #[test]
    fn the_last_p2p_names_the_peer() {
        let peer = PeerId::from_seed(&[7; 32]);
        let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}").parse().expect("well formed");
        let (bare, found) = split_peer(address);
        assert_eq!(bare.to_string(), "/ip4/127.0.0.1/tcp/1");
        assert_eq!(found, Some(peer.0));
        assert_eq!(split_peer(bare.clone()), (bare, None));
    }

    #[tokio::test]
    async fn names_are_resolved_and_addresses_left_alone() {
        let named: Multiaddr = "/dns4/localhost/tcp/9".parse().expect("well formed");
        let found = resolve(named).await.expect("well formed");
        assert!(found.contains(&"/ip4/127.0.0.1/tcp/9".parse().expect("well formed")));
        let plain: Multiaddr = "/ip4/127.0.0.1/tcp/9".parse().expect("well formed");
        assert_eq!(resolve(plain.clone()).await.expect("well formed"), vec![plain]);
    }
}

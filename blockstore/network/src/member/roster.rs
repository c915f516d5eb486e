//! What members tell each other about where members are.
//!
//! A protobuf list of peers with their addresses, told once after the proof and again when it changes.
//! Always bounded: `MEMBERS` peers of `ADDRESSES_PER_MEMBER` addresses of `ADDRESS_BYTES`. What is over
//! a bound is not taken; a member may be wrong, so every address is only ever tried, never believed.

use libp2p::Multiaddr;
use prost::Message as _;

use crate::limits::{ADDRESS_BYTES, ADDRESSES_PER_MEMBER, MEMBERS};
use crate::peer::PeerId;

/// Peers and their addresses, without `/p2p/…` at the end.
pub type Roster = Vec<(PeerId, Vec<Multiaddr>)>;

#[derive(Clone, PartialEq, prost::Message)]
struct WireRoster {
    #[prost(message, repeated, tag = "1")]
    members: Vec<WireMember>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireMember {
    #[prost(bytes = "vec", tag = "1")]
    peer: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addresses: Vec<Vec<u8>>,
}

/// The bytes are no roster, or one over the bounds.
#[derive(Debug, thiserror::Error)]
#[error("not a list of members")]
pub struct BadRoster;

pub fn encode(roster: &[(PeerId, Vec<Multiaddr>)]) -> Vec<u8> {
    let members = roster.iter().take(MEMBERS).map(|(peer, addresses)| WireMember {
        peer: peer.to_bytes(),
        addresses: addresses.iter().take(ADDRESSES_PER_MEMBER).map(Multiaddr::to_vec).collect(),
    });
    WireRoster { members: members.collect() }.encode_to_vec()
}

/// Reads a roster; addresses we do not understand are left out.
pub fn decode(bytes: &[u8]) -> Result<Roster, BadRoster> {
    let wire = WireRoster::decode(bytes).map_err(|_| BadRoster)?;
    if wire.members.len() > MEMBERS {
        return Err(BadRoster);
    }
    let mut roster = Vec::with_capacity(wire.members.len());
    for member in wire.members {
        let peer = PeerId::from_bytes(&member.peer).map_err(|_| BadRoster)?;
        if member.addresses.len() > ADDRESSES_PER_MEMBER {
            return Err(BadRoster);
        }
        let addresses = member.addresses.into_iter();
        let addresses = addresses.filter(|it| it.len() <= ADDRESS_BYTES);
        roster.push((peer, addresses.filter_map(|it| Multiaddr::try_from(it).ok()).collect()));
    }
    Ok(roster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_told_is_heard(members in proptest::collection::vec((any::<[u8; 32]>(), 0..8_u16), 0..20)) {
            let roster: Roster = members.into_iter().map(|(seed, ports)| {
                let address = |port| format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("well formed");
                (PeerId::from_seed(&seed), (0..ports).map(address).collect())
            }).collect();
            prop_assert_eq!(decode(&encode(&roster)).expect("well formed"), roster);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn what_is_over_a_bound_is_not_taken() {
        let peer = PeerId::from_seed(&[1; 32]).to_bytes();
        let one = |peer: &[u8], addresses: Vec<Vec<u8>>| WireMember { peer: peer.to_vec(), addresses };
        let bytes = |members: Vec<WireMember>| WireRoster { members }.encode_to_vec();
        let many = vec![one(&peer, vec![]); MEMBERS + 1];
        assert!(decode(&bytes(many)).is_err());
        assert!(decode(&bytes(vec![one(&peer, vec![vec![]; ADDRESSES_PER_MEMBER + 1])])).is_err());
        assert!(decode(&bytes(vec![one(&[9; 80], vec![])])).is_err());
        let odd = one(&peer, vec![vec![0xff; 3], vec![4; ADDRESS_BYTES + 1]]);
        assert_eq!(decode(&bytes(vec![odd])).expect("well formed")[0].1, Vec::<Multiaddr>::new());
    }
}

//! An invite: one string that carries all a new node needs to become a member.
//!
//! `artdag1` + base32 (RFC 4648, lower case, no padding) of dag-cbor `{peer, addresses, key,
//! namespace}` + the first four bytes of its SHA3-256, so that a lost letter is noticed. Whoever
//! holds it holds the cluster key.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha3::{Digest, Sha3_256};

const PREFIX: &str = "artdag1";
/// An invite is pasted by hand or sent in a message; nothing honest is longer.
const TEXT_BYTES_MAX: usize = 8 * 1024;
const ADDRESSES_MAX: usize = 32;
const CHECK_BYTES: usize = 4;

/// What an invite says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// Peer id of the node that invites.
    pub peer: String,
    /// Its multiaddresses.
    pub addresses: Vec<String>,
    /// The cluster key.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// The cluster's namespace, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub namespace: Vec<u8>,
}

/// A string that is no invite.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("this is no valid invite ({reason}); ask for a new one with: artdag-node invite")]
pub struct InviteError {
    reason: &'static str,
}

impl Invite {
    /// Whether a `--join` value is meant as an invite rather than as a multiaddress.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads the string form.
    ///
    /// # Errors
    /// When a part is missing, altered or too large.
    pub fn parse(text: &str) -> Result<Self, InviteError> {
        let no = |reason| InviteError { reason };
        if text.len() > TEXT_BYTES_MAX {
            return Err(no("it is too long"));
        }
        let body = text.trim().strip_prefix(PREFIX).ok_or(no("it does not start with artdag1"))?;
        let bytes = data_encoding::BASE32_NOPAD_NOCASE
            .decode(body.as_bytes())
            .map_err(|_| no("it has a letter that does not belong"))?;
        let split = bytes.len().checked_sub(CHECK_BYTES).ok_or(no("it is too short"))?;
        let (payload, check) = bytes.split_at(split);
        if checksum(payload) != check {
            return Err(no("a letter was changed or lost"));
        }
        let invite: Self = serde_ipld_dagcbor::from_slice(payload).map_err(|_| no("its content is not understood"))?;
        if invite.namespace.len() != 32 || invite.addresses.len() > ADDRESSES_MAX {
            return Err(no("its content is out of bounds"));
        }
        Ok(invite)
    }
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = serde_ipld_dagcbor::to_vec(self).map_err(|_| fmt::Error)?;
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        write!(f, "{PREFIX}{}", data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase())
    }
}

fn checksum(payload: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha3_256::digest(payload);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite() -> Invite {
        Invite {
            peer: "12D3KooWexample".into(),
            addresses: vec!["/ip4/127.0.0.1/tcp/7700".into()],
            key: b"key".to_vec(),
            namespace: vec![7; 32],
        }
    }

    #[test]
    fn an_invite_survives_its_string() {
        let text = invite().to_string();
        assert!(Invite::looks_like(&text));
        assert_eq!(Invite::parse(&text), Ok(invite()));
        assert_eq!(
            Invite::parse(&format!(" {text}\n").trim().to_uppercase().replace("ARTDAG1", "artdag1")),
            Ok(invite())
        );
    }

    #[test]
    fn an_altered_invite_is_refused() {
        let text = invite().to_string();
        for at in PREFIX.len()..text.len() {
            let mut letters = text.clone().into_bytes();
            letters[at] = if letters[at] == b'a' { b'b' } else { b'a' };
            let altered = String::from_utf8(letters).expect("ascii stays ascii");
            assert!(Invite::parse(&altered).is_err(), "letter {at} was changed and nobody noticed");
        }
        assert!(Invite::parse("artdag1").is_err());
        assert!(Invite::parse(&text[..text.len() - 3]).is_err());
    }
}

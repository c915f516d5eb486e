//! Seals what members gossip: XChaCha20-Poly1305 under the gossip key.
//!
//! Sealed form: version (1 byte, 1), key epoch (4 bytes LE), nonce (24 bytes), ciphertext and tag. The
//! additional data is the topic, the epoch and the origin, each with its length, so that nothing can be
//! moved to another topic, epoch or author. Nonces are random: 192 bits make a repeat impossible in practice.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::limits::GOSSIP_BYTES;
use crate::peer::PeerId;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + 4 + NONCE_BYTES;

/// Seals and opens for one key epoch and topic.
pub struct Seal {
    cipher: XChaCha20Poly1305,
    epoch: u32,
    topic: String,
}

/// Why something does not open. The sender is at fault in every case but `OtherEpoch`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenFailure {
    #[error("not in the sealed form")]
    Malformed,
    #[error("sealed under key epoch {0}")]
    OtherEpoch(u32),
    #[error("does not open")]
    Forged,
}

/// What was published is too long.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} bytes are over the {GOSSIP_BYTES} that one message may have")]
pub struct TooLong(pub usize);

impl Seal {
    pub fn new(key: &[u8; 32], epoch: u32, topic: String) -> Self {
        Seal { cipher: XChaCha20Poly1305::new(&Key::from(*key)), epoch, topic }
    }

    pub fn seal(&self, origin: &PeerId, data: &[u8]) -> Result<Vec<u8>, TooLong> {
        if data.len() > GOSSIP_BYTES {
            return Err(TooLong(data.len()));
        }
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let aad = self.additional_data(origin);
        let payload = Payload { msg: data, aad: &aad };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.expect("48 KiB are far below the cipher's bound of 256 GiB");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + sealed.len());
        bytes.push(VERSION);
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(nonce);
        bytes.extend(sealed);
        Ok(bytes)
    }

    pub fn open(&self, origin: &PeerId, bytes: &[u8]) -> Result<Vec<u8>, OpenFailure> {
        if bytes.len() < HEADER_BYTES + TAG_BYTES
            || bytes.len() > HEADER_BYTES + TAG_BYTES + GOSSIP_BYTES
            || bytes[0] != VERSION
        {
            return Err(OpenFailure::Malformed);
        }
        let epoch = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        if epoch != self.epoch {
            return Err(OpenFailure::OtherEpoch(epoch));
        }
        let nonce: [u8; NONCE_BYTES] = bytes[5..HEADER_BYTES].try_into().expect("the header ends with the nonce");
        let aad = self.additional_data(origin);
        let payload = Payload { msg: &bytes[HEADER_BYTES..], aad: &aad };
        let opened = self.cipher.decrypt(&XNonce::from(nonce), payload);
        opened.map_err(|_| OpenFailure::Forged)
    }

    fn additional_data(&self, origin: &PeerId) -> Vec<u8> {
        let mut aad = Vec::with_capacity(128);
        for part in [self.topic.as_bytes(), &self.epoch.to_le_bytes(), &origin.to_bytes()] {
            aad.extend((part.len() as u64).to_le_bytes());
            aad.extend(part);
        }
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seal(key: u8, epoch: u32, topic: &str) -> Seal {
        Seal::new(&[key; 32], epoch, topic.to_owned())
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let origin = PeerId::from_seed(&[1; 32]);
            let sealed = seal(1, 1, "t").seal(&origin, &data).expect("within the bound");
            prop_assert_eq!(seal(1, 1, "t").open(&origin, &sealed), Ok(data));
        }

        #[test]
        fn any_change_of_a_byte_is_noticed(at in 0..60_usize, flip in 1..=255_u8) {
            let origin = PeerId::from_seed(&[1; 32]);
            let mut sealed = seal(1, 1, "t").seal(&origin, &[7; 40]).expect("within the bound");
            let at = at % sealed.len();
            sealed[at] ^= flip;
            prop_assert!(seal(1, 1, "t").open(&origin, &sealed).is_err());
        }

        #[test]
        fn no_bytes_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let origin = PeerId::from_seed(&[1; 32]);
            prop_assert!(seal(1, 1, "t").open(&origin, &bytes).is_err());
        }
    }

    #[test]
    fn topic_epoch_origin_and_key_are_bound() {
        let origin = PeerId::from_seed(&[1; 32]);
        let sealed = seal(1, 1, "t").seal(&origin, b"x").expect("within the bound");
        let other = PeerId::from_seed(&[2; 32]);
        assert_eq!(seal(1, 1, "t").open(&other, &sealed), Err(OpenFailure::Forged));
        assert_eq!(seal(2, 1, "t").open(&origin, &sealed), Err(OpenFailure::Forged));
        assert_eq!(seal(1, 1, "u").open(&origin, &sealed), Err(OpenFailure::Forged));
        assert_eq!(seal(1, 2, "t").open(&origin, &sealed), Err(OpenFailure::OtherEpoch(1)));
    }

    #[test]
    fn the_bound_is_48_kib() {
        let origin = PeerId::from_seed(&[1; 32]);
        assert!(seal(1, 1, "t").seal(&origin, &vec![0; GOSSIP_BYTES]).is_ok());
        let over = seal(1, 1, "t").seal(&origin, &vec![0; GOSSIP_BYTES + 1]);
        assert_eq!(over, Err(TooLong(GOSSIP_BYTES + 1)));
    }
}

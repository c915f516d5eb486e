//! The mutual proof that both ends hold the cluster's membership key.
//!
//! ```text
//! initiator                         responder
//! Hello(epoch, nonce)         →
//!                             ←     Hello(epoch, nonce)
//! Proof(initiator)            →
//!                             ←     Proof(responder)
//! Welcome                     →
//! ```
//! A proof is HMAC-SHA256 under the membership key over label, role, both peer ids, both nonces,
//! namespace and key epoch, each with its length. The initiator proves first, so that a stranger who
//! calls learns nothing. The peer ids are those the transport authenticated: a proof cannot be passed on.
//! Always: each side believes only after it checked; the responder may be used by the initiator from
//! its proof on, and uses the initiator only after Welcome. Refusing says why, once, and ends it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::peer::PeerId;

/// What both ends must share.
#[derive(Clone)]
pub struct Secret {
    pub membership: [u8; 32],
    pub namespace: [u8; 32],
    pub epoch: u32,
}

pub type Nonce = [u8; 32];

/// Which end of the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Initiator,
    Responder,
}

/// Words of the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Hello { epoch: u32, nonce: Nonce },
    Proof([u8; 32]),
    Welcome,
    Refused(Refusal),
}

/// Why somebody is not a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("its cluster key or namespace is not ours")]
    WrongKey,
    #[error("its cluster key is of epoch {theirs}, ours of {ours}")]
    OtherEpoch { theirs: u32, ours: u32 },
    #[error("it broke the rules of the proof")]
    Protocol,
}

/// What follows from a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Send(Frame),
    /// The other end is proved: believe it before sending this.
    ProvedThenSend(Frame),
    /// Both ends are proved and know it.
    Joined,
    /// Proved and joined at once: believe it, then send this.
    JoinedThenSend(Frame),
}

/// How it failed, and what to tell the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub refusal: Refusal,
    pub tell: Option<Frame>,
}

enum Awaits {
    Hello,
    Proof { theirs: Nonce },
    Welcome,
    Nothing,
}

/// One proof in progress.
pub struct Handshake {
    secret: Secret,
    role: Role,
    local: PeerId,
    remote: PeerId,
    nonce: Nonce,
    awaits: Awaits,
}

impl Handshake {
    /// Begins as the end that calls; the frame is to be sent first.
    pub fn initiate(secret: Secret, local: PeerId, remote: PeerId, nonce: Nonce) -> (Self, Frame) {
        let epoch = secret.epoch;
        let it = Self::new(secret, Role::Initiator, local, remote, nonce);
        (it, Frame::Hello { epoch, nonce })
    }

    /// Begins as the end that is called.
    pub fn respond(secret: Secret, local: PeerId, remote: PeerId, nonce: Nonce) -> Self {
        Self::new(secret, Role::Responder, local, remote, nonce)
    }

    fn new(secret: Secret, role: Role, local: PeerId, remote: PeerId, nonce: Nonce) -> Self {
        Handshake { secret, role, local, remote, nonce, awaits: Awaits::Hello }
    }

    /// Takes one frame of the other end. After an error or `Joined` nothing more is taken.
    pub fn handle(&mut self, frame: Frame) -> Result<Step, Failure> {
        let awaits = std::mem::replace(&mut self.awaits, Awaits::Nothing);
        match (awaits, frame) {
            (_, Frame::Refused(refusal)) => Err(Failure { refusal: turned_round(refusal), tell: None }),
            (Awaits::Hello, Frame::Hello { epoch, nonce }) => self.hello(epoch, nonce),
            (Awaits::Proof { theirs }, Frame::Proof(proof)) => self.proof(theirs, &proof),
            (Awaits::Welcome, Frame::Welcome) => Ok(Step::Joined),
            _ => Err(refuse(Refusal::Protocol)),
        }
    }

    fn hello(&mut self, theirs_epoch: u32, theirs: Nonce) -> Result<Step, Failure> {
        let ours = self.secret.epoch;
        if theirs_epoch != ours {
            return Err(refuse(Refusal::OtherEpoch { theirs: theirs_epoch, ours }));
        }
        self.awaits = Awaits::Proof { theirs };
        Ok(Step::Send(match self.role {
            Role::Initiator => Frame::Proof(self.mac(Role::Initiator, &theirs).into_bytes()),
            Role::Responder => Frame::Hello { epoch: ours, nonce: self.nonce },
        }))
    }

    fn proof(&mut self, theirs: Nonce, proof: &[u8; 32]) -> Result<Step, Failure> {
        let other = match self.role {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        };
        if !self.mac(other, &theirs).admits(proof) {
            return Err(refuse(Refusal::WrongKey));
        }
        if self.role == Role::Initiator {
            return Ok(Step::JoinedThenSend(Frame::Welcome));
        }
        self.awaits = Awaits::Welcome;
        let proof = self.mac(Role::Responder, &theirs).into_bytes();
        Ok(Step::ProvedThenSend(Frame::Proof(proof)))
    }

    fn mac(&self, prover: Role, theirs: &Nonce) -> Code {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.secret.membership);
        let mut mac = mac.expect("HMAC takes keys of any length");
        let (initiator, responder) = match self.role {
            Role::Initiator => ((self.local, &self.nonce), (self.remote, theirs)),
            Role::Responder => ((self.remote, theirs), (self.local, &self.nonce)),
        };
        let role: &[u8] = match prover {
            Role::Initiator => b"initiator",
            Role::Responder => b"responder",
        };
        for part in [
            b"artdag/member/1".as_slice(),
            role,
            &initiator.0.to_bytes(),
            &responder.0.to_bytes(),
            initiator.1,
            responder.1,
            &self.secret.namespace,
            &self.secret.epoch.to_le_bytes(),
        ] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Code(mac)
    }
}

/// A code that is either sent or compared in constant time.
struct Code(Hmac<Sha256>);

impl Code {
    fn into_bytes(self) -> [u8; 32] {
        self.0.finalize().into_bytes().into()
    }

    fn admits(self, proof: &[u8; 32]) -> bool {
        self.0.verify_slice(proof).is_ok()
    }
}

fn refuse(refusal: Refusal) -> Failure {
    Failure { tell: Some(Frame::Refused(refusal.clone())), refusal }
}

/// What the other end said of us, as we would say it of them.
fn turned_round(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::OtherEpoch { theirs, ours } => Refusal::OtherEpoch { theirs: ours, ours: theirs },
        other => other,
    }
}

const HELLO: u8 = 1;
const PROOF: u8 = 2;
const WELCOME: u8 = 3;
const REFUSED: u8 = 4;

impl Frame {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        match self {
            Frame::Hello { epoch, nonce } => {
                bytes.push(HELLO);
                bytes.extend(epoch.to_le_bytes());
                bytes.extend(nonce);
            }
            Frame::Proof(proof) => {
                bytes.push(PROOF);
                bytes.extend(proof);
            }
            Frame::Welcome => bytes.push(WELCOME),
            Frame::Refused(refusal) => {
                let (code, theirs, ours) = match refusal {
                    Refusal::WrongKey => (1, 0, 0),
                    Refusal::OtherEpoch { theirs, ours } => (2, *theirs, *ours),
                    Refusal::Protocol => (3, 0, 0),
                };
                bytes.extend([REFUSED, code]);
                bytes.extend(u32::to_le_bytes(theirs));
                bytes.extend(u32::to_le_bytes(ours));
            }
        }
        bytes
    }

    /// `None` unless the bytes are exactly one frame.
    pub fn decode(bytes: &[u8]) -> Option<Frame> {
        let (kind, body) = bytes.split_first()?;
        match *kind {
            HELLO => {
                let (epoch, nonce) = body.split_first_chunk::<4>()?;
                Some(Frame::Hello { epoch: u32::from_le_bytes(*epoch), nonce: nonce.try_into().ok()? })
            }
            PROOF => Some(Frame::Proof(body.try_into().ok()?)),
            WELCOME => body.is_empty().then_some(Frame::Welcome),
            REFUSED => {
                let body: &[u8; 9] = body.try_into().ok()?;
                let theirs = u32::from_le_bytes([body[1], body[2], body[3], body[4]]);
                let ours = u32::from_le_bytes([body[5], body[6], body[7], body[8]]);
                Some(Frame::Refused(match body[0] {
                    1 => Refusal::WrongKey,
                    2 => Refusal::OtherEpoch { theirs, ours },
                    _ => Refusal::Protocol,
                }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(membership: u8, namespace: u8, epoch: u32) -> Secret {
        Secret { membership: [membership; 32], namespace: [namespace; 32], epoch }
    }

    fn peer(seed: u8) -> PeerId {
        PeerId::from_seed(&[seed; 32])
    }

    /// Runs both ends to the end: what each concluded.
    fn run(ours: Secret, theirs: Secret) -> (Result<(), Refusal>, Result<(), Refusal>) {
        let (mut a, mut frame) = Handshake::initiate(ours, peer(1), peer(2), [1; 32]);
        let mut b = Handshake::respond(theirs, peer(2), peer(1), [2; 32]);
        let mut ended = [None, None];
        let mut turn = 1;
        loop {
            let end: &mut Handshake = if turn == 0 { &mut a } else { &mut b };
            let (next, end) = match end.handle(frame) {
                Ok(Step::Send(frame) | Step::ProvedThenSend(frame)) => (Some(frame), None),
                Ok(Step::JoinedThenSend(frame)) => (Some(frame), Some(Ok(()))),
                Ok(Step::Joined) => (None, Some(Ok(()))),
                Err(failure) => (failure.tell, Some(Err(failure.refusal))),
            };
            ended[turn] = ended[turn].take().or(end);
            match next {
                Some(next) => frame = Frame::decode(&next.encode()).expect("own frame"),
                None => break,
            }
            turn = 1 - turn;
        }
        let [a, b] = ended;
        (a.expect("initiator concluded"), b.expect("responder concluded"))
    }

    #[test]
    fn equal_secrets_join() {
        assert_eq!(run(secret(1, 1, 1), secret(1, 1, 1)), (Ok(()), Ok(())));
    }

    #[test]
    fn another_key_or_namespace_is_refused_on_both_sides() {
        let wrong = (Err(Refusal::WrongKey), Err(Refusal::WrongKey));
        assert_eq!(run(secret(1, 1, 1), secret(2, 1, 1)), wrong);
        assert_eq!(run(secret(1, 1, 1), secret(1, 2, 1)), wrong);
    }

    #[test]
    fn another_epoch_is_named_from_each_side() {
        let (a, b) = run(secret(1, 1, 1), secret(1, 1, 2));
        assert_eq!(a, Err(Refusal::OtherEpoch { theirs: 2, ours: 1 }));
        assert_eq!(b, Err(Refusal::OtherEpoch { theirs: 1, ours: 2 }));
    }

    fn proof_for(local: u8, remote: u8, ours: Nonce, theirs: Nonce) -> Frame {
        let (mut it, _) = Handshake::initiate(secret(1, 1, 1), peer(local), peer(remote), ours);
        match it.handle(Frame::Hello { epoch: 1, nonce: theirs }) {
            Ok(Step::Send(proof)) => proof,
            other => panic!("no proof: {other:?}"),
        }
    }

    /// A responder that said hello with the nonce `[2; 32]` to an initiator with `theirs`.
    fn responder(theirs: Nonce) -> Handshake {
        let mut it = Handshake::respond(secret(1, 1, 1), peer(2), peer(1), [2; 32]);
        it.handle(Frame::Hello { epoch: 1, nonce: theirs }).expect("hello is answered");
        it
    }

    fn is_refused(step: Result<Step, Failure>) -> bool {
        matches!(step, Err(Failure { refusal: Refusal::WrongKey, .. }))
    }

    #[test]
    fn a_replayed_proof_is_worthless() {
        let honest = proof_for(1, 2, [1; 32], [2; 32]);
        assert!(responder([1; 32]).handle(honest).is_ok(), "the control");
        let old = proof_for(1, 2, [1; 32], [9; 32]);
        assert!(is_refused(responder([1; 32]).handle(old)), "made for another nonce");
        let other = proof_for(3, 2, [1; 32], [2; 32]);
        assert!(is_refused(responder([1; 32]).handle(other)), "made by another peer");
        let passed_on = proof_for(1, 3, [1; 32], [2; 32]);
        assert!(is_refused(responder([1; 32]).handle(passed_on)), "made for another peer");
    }

    #[test]
    fn a_reflected_proof_is_worthless() {
        let secret = secret(1, 1, 1);
        let (mut initiator, hello) = Handshake::initiate(secret, peer(1), peer(2), [1; 32]);
        let Ok(Step::Send(own)) = initiator.handle(hello) else {
            panic!("the echoed hello is answered");
        };
        assert!(is_refused(initiator.handle(own)), "its own proof sent back");
    }

    #[test]
    fn words_out_of_turn_end_it() {
        let mut it = responder([1; 32]);
        assert!(it.handle(Frame::Welcome).is_err());
        let honest = proof_for(1, 2, [1; 32], [2; 32]);
        assert!(it.handle(honest).is_err(), "nothing is taken after a failure");
    }

    proptest! {
        #[test]
        fn frames_round_trip(epoch: u32, nonce: [u8; 32], theirs: u32) {
            for frame in [
                Frame::Hello { epoch, nonce },
                Frame::Proof(nonce),
                Frame::Welcome,
                Frame::Refused(Refusal::OtherEpoch { theirs, ours: epoch }),
                Frame::Refused(Refusal::WrongKey),
                Frame::Refused(Refusal::Protocol),
            ] {
                let bytes = frame.encode();
                prop_assert_eq!(Frame::decode(&bytes), Some(frame));
                prop_assert_eq!(Frame::decode(&bytes[..bytes.len() - 1]), None);
                prop_assert_eq!(Frame::decode(&[bytes.as_slice(), &[0]].concat()), None);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Frame::decode(&bytes);
        }
    }
}

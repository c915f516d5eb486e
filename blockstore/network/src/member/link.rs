//! One member stream: the proof, then rosters both ways for as long as the connection lives.
//!
//! It tells the swarm's driver what happened and waits for its word before it lets the other end know:
//! whoever is told "welcome" may at once open streams, and they must find the door open.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite};
use libp2p::{Multiaddr, Stream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::PROTOCOL;
use super::handshake::{Frame, Handshake, Refusal, Secret, Step};
use super::roster::{self, Roster};
use crate::frame;
use crate::limits::{MEMBER_FRAME_BYTES, PROOF_TIMEOUT};
use crate::peer::{PeerId, is_loopback};
use crate::stream::{OpenError, Opener};

/// What a link tells the driver, with the session it was opened in.
pub struct Note {
    pub peer: PeerId,
    pub session: u64,
    pub what: What,
}

pub enum What {
    /// Believe it, then answer: the link goes on only then.
    Proved(oneshot::Sender<()>),
    /// Both know.
    Joined,
    Refused(Refusal),
    Roster(Roster),
    /// The stream ended without a refusal; it may be tried again.
    Ended(String),
    /// The peer knows nothing of membership.
    Stranger,
}

/// Which addresses the other end can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    SameMachine,
    Elsewhere,
}

/// What one link needs.
pub struct Args {
    pub secret: Secret,
    pub local: PeerId,
    pub peer: PeerId,
    pub session: u64,
    pub reach: Reach,
    pub notes: mpsc::Sender<Note>,
    pub roster: watch::Receiver<Roster>,
}

/// Calls the peer and proves both ends.
pub async fn initiate(args: Args, opener: Opener) {
    let what = match opener.open(args.peer, &[PROTOCOL]).await {
        Ok((stream, _)) => {
            let nonce = rand::random();
            let (handshake, hello) = Handshake::initiate(args.secret.clone(), args.local, args.peer, nonce);
            run(&args, stream, handshake, Some(hello)).await
        }
        Err(OpenError::Unsupported) => What::Stranger,
        Err(error) => What::Ended(error.to_string()),
    };
    args.note(what).await;
}

/// Answers a peer that called.
pub async fn respond(args: Args, stream: Stream) {
    let nonce = rand::random();
    let handshake = Handshake::respond(args.secret.clone(), args.local, args.peer, nonce);
    let what = run(&args, stream, handshake, None).await;
    args.note(what).await;
}

impl Args {
    async fn note(&self, what: What) {
        let note = Note { peer: self.peer, session: self.session, what };
        // A closed queue means that the driver is gone, and this task is about to be.
        let _ = self.notes.send(note).await;
    }

    /// Tells the driver that the peer is proved and waits until it has taken that in.
    async fn proved(&self) {
        let (done, taken) = oneshot::channel();
        self.note(What::Proved(done)).await;
        let _ = taken.await;
    }
}

enum Failed {
    Refused(Refusal),
    Broken(String),
}

async fn run(args: &Args, mut stream: Stream, handshake: Handshake, first: Option<Frame>) -> What {
    let proof = prove(args, &mut stream, handshake, first);
    match timeout(PROOF_TIMEOUT, proof).await {
        Ok(Ok(())) => {}
        Ok(Err(Failed::Refused(refusal))) => return What::Refused(refusal),
        Ok(Err(Failed::Broken(reason))) => return What::Ended(reason),
        Err(_) => return What::Ended("the proof took too long".to_owned()),
    }
    args.note(What::Joined).await;
    let (reader, writer) = stream.split();
    tokio::select! {
        reason = hear(args, reader) => What::Ended(reason),
        reason = tell(args, writer) => What::Ended(reason),
    }
}

async fn prove(args: &Args, stream: &mut Stream, mut handshake: Handshake, first: Option<Frame>) -> Result<(), Failed> {
    if let Some(frame) = first {
        send(stream, &frame).await?;
    }
    loop {
        let frame = receive(stream).await?;
        match handshake.handle(frame) {
            Ok(Step::Send(frame)) => send(stream, &frame).await?,
            Ok(Step::ProvedThenSend(frame)) => {
                args.proved().await;
                send(stream, &frame).await?;
            }
            Ok(Step::JoinedThenSend(frame)) => {
                args.proved().await;
                return send(stream, &frame).await;
            }
            Ok(Step::Joined) => return Ok(()),
            Err(failure) => {
                if let Some(frame) = failure.tell {
                    // The other end may be gone; the refusal stands anyway.
                    let _ = send(stream, &frame).await;
                }
                return Err(Failed::Refused(failure.refusal));
            }
        }
    }
}

/// No frame of the proof is longer.
const PROOF_FRAME_BYTES: usize = 64;

async fn send(stream: &mut Stream, frame: &Frame) -> Result<(), Failed> {
    let sent = frame::write(stream, &frame.encode()).await;
    sent.map_err(|error| Failed::Broken(error.to_string()))
}

async fn receive(stream: &mut Stream) -> Result<Frame, Failed> {
    match frame::read(stream, PROOF_FRAME_BYTES).await {
        Ok(Some(bytes)) => Frame::decode(&bytes).ok_or(Failed::Refused(Refusal::Protocol)),
        Ok(None) => Err(Failed::Broken("the peer closed the stream".to_owned())),
        Err(error) => Err(Failed::Broken(error.to_string())),
    }
}

/// Pause between rosters: enough for news, and a bound on what a member can make us do.
const ROSTER_PAUSE: Duration = Duration::from_millis(100);

/// Hears rosters until the stream ends; says why it did.
async fn hear(args: &Args, mut reader: impl AsyncRead + Unpin) -> String {
    loop {
        let bytes = match frame::read(&mut reader, MEMBER_FRAME_BYTES).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return "the peer closed the stream".to_owned(),
            Err(error) => return error.to_string(),
        };
        match roster::decode(&bytes) {
            Ok(roster) => args.note(What::Roster(roster)).await,
            Err(error) => return error.to_string(),
        }
        sleep(ROSTER_PAUSE).await;
    }
}

/// Tells our roster now and whenever it changes.
async fn tell(args: &Args, mut writer: impl AsyncWrite + Unpin) -> String {
    let mut roster = args.roster.clone();
    loop {
        let bytes = {
            let current = roster.borrow_and_update();
            roster::encode(&useful(&current, args.reach))
        };
        if let Err(error) = frame::write(&mut writer, &bytes).await {
            return error.to_string();
        }
        sleep(ROSTER_PAUSE).await;
        if roster.changed().await.is_err() {
            return "the network is shut down".to_owned();
        }
    }
}

/// Loopback addresses are of use on this machine only.
fn useful(roster: &Roster, reach: Reach) -> Roster {
    let keep = |it: &&Multiaddr| reach == Reach::SameMachine || !is_loopback(it);
    let entry =
        |(peer, addresses): &(PeerId, Vec<Multiaddr>)| (*peer, addresses.iter().filter(keep).cloned().collect());
    roster.iter().map(entry).collect()
}

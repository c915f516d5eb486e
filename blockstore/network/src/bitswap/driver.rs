//! The bitswap task: waits for one thing, gives it to the engine, does what the engine says.
//!
//! It never waits for a peer or a disk itself: readers, writers and store jobs are tasks of their own
//! that report back through one bounded queue. Changes of peers are taken before messages, so that a
//! message is always judged by what was known when it came.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use artdag_blockstore::{Audience, Block, Store};
use cid::Cid;
use libp2p::Stream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, trace, warn};

use super::WantId;
use super::ask::{Ended, Purpose, Scope};
use super::engine::{Draft, Engine, Input, Output};
use super::link::{self, Job, Memory, Report, Reports, Tag};
use super::message::{Outgoing, Presence};
use super::server::Circle;
use crate::limits::{
    BITSWAP_INPUTS, BITSWAP_STREAMS_PER_PEER, BITSWAP_TICK, COMMANDS, RECEIVE_MEMBER_KILOBYTES,
    RECEIVE_PUBLIC_KILOBYTES, SERVE_JOBS,
};
use crate::metrics::Counters;
use crate::peer::PeerId;
use crate::stream::Opener;
use crate::task::Tasks;

/// What the swarm tells bitswap, in order.
pub enum Change {
    Connected(PeerId),
    Proved(PeerId),
    Disconnected(PeerId),
    Inbound(PeerId, Stream),
}

/// What the handle asks for.
pub enum Request {
    Fetch { cid: Cid, scope: Scope, hints: Vec<PeerId>, reply: oneshot::Sender<Result<Block, Ended>> },
    Locate { cid: Cid, scope: Scope, until: Instant, reply: oneshot::Sender<Vec<PeerId>> },
    Stored(Vec<Cid>),
}

/// What the driver needs.
pub struct Args {
    pub store: Store,
    pub opener: Opener,
    pub tasks: Tasks,
    pub counters: Arc<Counters>,
}

enum Waiter {
    Fetch(oneshot::Sender<Result<Block, Ended>>),
    Locate(oneshot::Sender<Vec<PeerId>>),
}

impl Waiter {
    fn is_gone(&self) -> bool {
        match self {
            Waiter::Fetch(reply) => reply.is_closed(),
            Waiter::Locate(reply) => reply.is_closed(),
        }
    }
}

/// One connected time of a peer.
struct Session {
    tag: Tag,
    circle: Circle,
    jobs: mpsc::Sender<Job>,
    /// Places for inbound streams.
    streams: Arc<Semaphore>,
}

/// The queues that lead to the bitswap task.
pub struct Doors {
    pub changes: mpsc::Sender<Change>,
    pub requests: mpsc::Sender<Request>,
}

/// Starts the bitswap task.
pub fn start(args: Args) -> Doors {
    let (changes, changes_in) = mpsc::channel(COMMANDS);
    let (requests, requests_in) = mpsc::channel(COMMANDS);
    let (reports, reports_in) = mpsc::channel(BITSWAP_INPUTS);
    let tasks = args.tasks.clone();
    let driver = Driver {
        args,
        engine: Engine::default(),
        sessions: HashMap::new(),
        next_session: 0,
        waiters: HashMap::new(),
        next_want: 0,
        reports,
        member_memory: Arc::new(Semaphore::new(RECEIVE_MEMBER_KILOBYTES)),
        public_memory: Arc::new(Semaphore::new(RECEIVE_PUBLIC_KILOBYTES)),
        serving: Arc::new(Semaphore::new(SERVE_JOBS)),
    };
    tasks.spawn(driver.run(changes_in, requests_in, reports_in));
    Doors { changes, requests }
}

struct Driver {
    args: Args,
    engine: Engine,
    sessions: HashMap<PeerId, Session>,
    next_session: u64,
    waiters: HashMap<WantId, Waiter>,
    next_want: WantId,
    reports: Reports,
    member_memory: Memory,
    public_memory: Memory,
    /// Disk jobs at one time. It is fair, so peers take turns.
    serving: Arc<Semaphore>,
}

impl Driver {
    async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        mut requests: mpsc::Receiver<Request>,
        mut reports: mpsc::Receiver<(Tag, Report)>,
    ) {
        let mut clock = tokio::time::interval(BITSWAP_TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                change = changes.recv() => match change {
                    Some(change) => self.change(change),
                    None => return,
                },
                _ = clock.tick() => self.tick(),
                Some((tag, report)) = reports.recv() => self.report(tag, report),
                Some(request) = requests.recv() => self.request(request),
            }
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Connected(peer) => self.connected(peer),
            Change::Proved(peer) => {
                if let Some(session) = self.sessions.get_mut(&peer) {
                    session.circle = Circle::Member;
                }
                self.step(Input::Proved(peer));
            }
            Change::Disconnected(peer) => {
                self.sessions.remove(&peer);
                self.step(Input::Disconnected(peer));
            }
            Change::Inbound(peer, stream) => self.inbound(peer, stream),
        }
    }

    fn connected(&mut self, peer: PeerId) {
        self.next_session += 1;
        let tag = Tag { peer, session: self.next_session };
        let (jobs, queue) = link::jobs();
        let writer = link::write(tag, queue, self.args.opener.clone(), self.reports.clone());
        self.args.tasks.spawn(writer);
        let session =
            Session { tag, circle: Circle::Public, jobs, streams: Arc::new(Semaphore::new(BITSWAP_STREAMS_PER_PEER)) };
        self.sessions.insert(peer, session);
        self.step(Input::Connected(peer));
    }

    fn inbound(&mut self, peer: PeerId, stream: Stream) {
        let Some(session) = self.sessions.get(&peer) else {
            return;
        };
        let Ok(place) = session.streams.clone().try_acquire_owned() else {
            debug!(%peer, "too many bitswap streams, one was reset");
            return;
        };
        let memory = match session.circle {
            Circle::Member => self.member_memory.clone(),
            Circle::Public => self.public_memory.clone(),
        };
        let reader = link::read(session.tag, stream, memory, self.reports.clone());
        self.args.tasks.spawn(async move {
            reader.await;
            drop(place);
        });
    }

    fn report(&mut self, tag: Tag, report: Report) {
        let peer = tag.peer;
        if self.sessions.get(&peer).is_none_or(|session| session.tag != tag) {
            return;
        }
        match report {
            Report::Received(received) => {
                let counters = &self.args.counters;
                for block in &received.message.blocks {
                    counters.received(block.bytes().len());
                }
                let message = &received.message;
                trace!(
                    %peer,
                    blocks = message.blocks.len(),
                    presences = message.presences.len(),
                    entries = message.entries.len(),
                    "bitswap message"
                );
                self.step(Input::Message(peer, received.message));
            }
            Report::Malformed(reason) => {
                warn!(%peer, %reason, "peer sent a malformed bitswap message");
                self.args.opener.disconnect(peer, reason);
            }
            Report::Sent(receipt) => {
                self.args.counters.sent(receipt.blocks, receipt.block_bytes);
                self.step(Input::Sent(peer, receipt));
            }
            Report::Unreachable(reason) => {
                if let Some(reason) = reason {
                    info!(%peer, %reason, "bitswap peer cannot be written to");
                    self.args.opener.disconnect(peer, reason);
                }
                debug!(%peer, "no bitswap with this peer");
                self.step(Input::Unreachable(peer));
            }
            Report::Found(found) => self.step(Input::Found(peer, found)),
        }
    }

    fn request(&mut self, request: Request) {
        let id = self.next_want;
        self.next_want += 1;
        let (waiter, cid, purpose, scope, hints) = match request {
            Request::Stored(cids) => return self.step(Input::Stored(cids)),
            Request::Fetch { cid, scope, hints, reply } => (Waiter::Fetch(reply), cid, Purpose::Fetch, scope, hints),
            Request::Locate { cid, scope, until, reply } => {
                (Waiter::Locate(reply), cid, Purpose::Locate(until), scope, Vec::new())
            }
        };
        self.waiters.insert(id, waiter);
        self.step(Input::Want { id, cid, purpose, scope, hints });
    }

    fn tick(&mut self) {
        let gone = self.waiters.iter().filter(|(_, waiter)| waiter.is_gone());
        let gone: Vec<WantId> = gone.map(|(id, _)| *id).collect();
        for id in gone {
            self.waiters.remove(&id);
            self.step(Input::Cancel(id));
        }
        self.step(Input::Tick);
    }

    fn step(&mut self, input: Input) {
        for output in self.engine.handle(Instant::now(), input) {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send(peer, draft) => self.send(peer, draft),
            Output::LookUp(peer, circle, cids) => self.look_up(peer, circle, cids),
            Output::Deliver(id, block) => {
                if let Some(Waiter::Fetch(reply)) = self.waiters.remove(&id) {
                    let _ = reply.send(Ok(block));
                }
            }
            Output::Ended(id, how) => match (self.waiters.remove(&id), how) {
                (Some(Waiter::Locate(reply)), Ended::Holders(peers)) => {
                    let _ = reply.send(peers);
                }
                (Some(Waiter::Locate(reply)), _) => {
                    let _ = reply.send(Vec::new());
                }
                (Some(Waiter::Fetch(reply)), how) => {
                    let _ = reply.send(Err(how));
                }
                (None, _) => {}
            },
            Output::Duplicate => self.args.counters.duplicate(),
            Output::Drop(peer, reason) => {
                warn!(%peer, reason, "peer is dropped");
                self.args.opener.disconnect(peer, reason.to_owned());
            }
        }
    }

    fn look_up(&self, peer: PeerId, circle: Circle, cids: Vec<Cid>) {
        let Some(tag) = self.sessions.get(&peer).map(|session| session.tag) else {
            return;
        };
        let store = self.args.store.clone();
        let reports = self.reports.clone();
        let tasks = self.args.tasks.clone();
        let work = move || {
            let size = |cid: &Cid| size_of(&store, cid, audience(circle));
            cids.into_iter().map(|cid| (cid, size(&cid))).collect()
        };
        self.args.tasks.spawn(async move {
            if let Ok(found) = tasks.spawn_blocking(work).await {
                let _ = reports.send((tag, Report::Found(found))).await;
            }
        });
    }

    fn send(&self, peer: PeerId, draft: Draft) {
        let Some(session) = self.sessions.get(&peer) else {
            return;
        };
        let jobs = session.jobs.clone();
        if draft.blocks.is_empty() {
            let receipt = draft.receipt;
            let message = Outgoing {
                entries: draft.entries,
                presences: draft.presences,
                blocks: Vec::new(),
                pending_bytes: draft.pending_bytes,
            };
            return hand_over(peer, &jobs, Job { message, receipt });
        }
        let store = self.args.store.clone();
        let serving = self.serving.clone();
        let tasks = self.args.tasks.clone();
        self.args.tasks.spawn(async move {
            let Ok(_turn) = serving.acquire_owned().await else {
                return;
            };
            if let Ok(job) = tasks.spawn_blocking(move || load(&store, draft)).await {
                hand_over(peer, &jobs, job);
            }
        });
    }
}

/// The engine keeps at most as many messages under way as the queue has places; a closed queue means
/// that the writer has just reported why.
fn hand_over(peer: PeerId, jobs: &mpsc::Sender<Job>, job: Job) {
    if let Err(mpsc::error::TrySendError::Full(_)) = jobs.try_send(job) {
        warn!(%peer, "a bitswap message found its queue full and is lost");
    }
}

fn audience(circle: Circle) -> Audience {
    match circle {
        Circle::Member => Audience::Member,
        Circle::Public => Audience::Public,
    }
}

/// A block that cannot be read is, to a peer, one that we do not have.
fn size_of(store: &Store, cid: &Cid, audience: Audience) -> Option<u32> {
    store.block_size(cid, audience).unwrap_or_else(|error| {
        warn!(%cid, %error, "block could not be looked up for a peer");
        None
    })
}

/// Loads the blocks of a draft; the audience is asked again, because a root may have become private.
fn load(store: &Store, draft: Draft) -> Job {
    let mut message = Outgoing {
        entries: draft.entries,
        presences: draft.presences,
        blocks: Vec::with_capacity(draft.blocks.len()),
        pending_bytes: draft.pending_bytes,
    };
    for cid in draft.blocks {
        match store.read(&cid, audience(draft.circle)) {
            Ok(Some(block)) => message.blocks.push(block),
            Ok(None) => message.presences.push((cid, Presence::DontHave)),
            Err(error) => {
                warn!(%cid, %error, "block could not be read for a peer");
                message.presences.push((cid, Presence::DontHave));
            }
        }
    }
    let mut receipt = draft.receipt;
    receipt.blocks = message.blocks.len();
    Job { message, receipt }
}

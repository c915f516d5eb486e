//! Leases, acted out: this node as arbiter for others and as holder of its own.
//!
//! The arbiter of an action is the first live member in rendezvous order; who is granted what,
//! and when to renew, is decided in `artdag_core::lease`. When nobody can be asked the answer is
//! `Unreachable`, and the caller goes on without: leases only save work.

mod wire_form;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use artdag_core::{
    identity::{ActionId, Origin},
    lease::{Answer as Decision, Arbiter, Epoch, Holder, Released, Renewed, arbiter::Ask, arbiter::Start, rendezvous},
};
use artdag_network::{Network, PeerId};
use artdag_proto::v1::{self as wire, leases_client::LeasesClient};
use cid::Cid;
use tokio::sync::Notify;
use tracing::debug;

use self::wire_form::{decode_decision, decode_renewed, encode_epoch};
pub use self::wire_form::{decode_epoch, encode_decision, encode_renewed};
use crate::{clock, metrics::Metrics, records::RecordsHandle, rpc::channel::MemberChannels};

/// An arbiter that does not answer within this is taken for gone.
const CALL_TIMEOUT_MS: u64 = 2000;
/// The arbiter and its two backups.
const ARBITERS_MAX: usize = 3;
/// How often what has run out is forgotten.
const TICK: Duration = Duration::from_secs(5);

/// The answer to asking for a lease.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Somebody has finished it.
    Done(Cid),
    /// Run it; the lease is renewed until it is released.
    Granted,
    /// Somebody runs it.
    Follow(Origin),
    /// Ask again after so many milliseconds.
    Wait(u64),
    /// No arbiter can be asked.
    Unreachable,
}

/// What leases need of the node.
pub struct LeasesArgs {
    pub own: Origin,
    /// Differs between starts of this node.
    pub life: u64,
    /// Whether there may be holders that do not know this arbiter yet.
    pub start: Start,
    pub network: Network,
    pub channels: Arc<MemberChannels>,
    pub records: RecordsHandle,
    pub metrics: Arc<Metrics>,
}

/// This node's part in leases.
pub struct Leases {
    args: LeasesArgs,
    arbiter: Mutex<Arbiter>,
    holder: Mutex<Holder>,
    /// Something is to be renewed earlier than was known.
    sooner: Notify,
}

impl Leases {
    /// With an empty arbiter: leases live in memory only.
    #[must_use]
    pub fn new(args: LeasesArgs) -> Self {
        let arbiter = Arbiter::new(clock::steady_ms(), args.own, args.life, args.start);
        Self { args, arbiter: Mutex::new(arbiter), holder: Mutex::default(), sooner: Notify::new() }
    }

    /// Asks the arbiter, then its backups when it does not answer. `lost` is a result whose bytes
    /// nobody has.
    pub async fn acquire(&self, action: ActionId, lost: Option<Cid>) -> Answer {
        for arbiter in self.arbiters(&action) {
            let asked_ms = clock::steady_ms();
            let decision = if arbiter == self.args.own {
                Some(self.arbitrate(action, arbiter, lost))
            } else {
                self.ask(arbiter, action, lost).await
            };
            match decision {
                Some(Decision::Granted { epoch, ttl_ms }) => {
                    // One that does not fit is not renewed and expires; the work goes on.
                    let _ = self.held().granted(asked_ms, action, epoch, ttl_ms);
                    self.sooner.notify_one();
                    return Answer::Granted;
                }
                Some(Decision::Done(cid)) => return Answer::Done(cid),
                Some(Decision::Follow { holder, .. }) => return Answer::Follow(holder),
                Some(Decision::Wait { retry_ms }) => return Answer::Wait(retry_ms),
                None => {}
            }
        }
        Answer::Unreachable
    }

    /// Gives the lease back, with the CID when the work is done. Does nothing for one that was
    /// lost meanwhile: the result is a fact all the same.
    pub async fn release(&self, action: ActionId, done: Option<Cid>) {
        let Some(epoch) = self.held().finish(&action) else { return };
        let Some(arbiter) = self.arbiters(&action).into_iter().next() else { return };
        if arbiter == self.args.own {
            self.arbiter_release(action, arbiter, epoch, done);
            return;
        }
        let request = wire::ReleaseRequest {
            action_id: action.0.to_vec(),
            epoch: Some(encode_epoch(epoch)),
            cid: done.map(|cid| cid.to_string()).unwrap_or_default(),
        };
        let mut client = self.client(arbiter);
        if clock::within_ms(CALL_TIMEOUT_MS, client.release(request)).await.is_none_or(|answer| answer.is_err()) {
            debug!(%action, "the arbiter did not hear of the release; the lease expires by itself");
        }
    }

    /// Renews what this node holds, as long as it is not dropped.
    pub async fn renew(&self) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            let wait_ms = self.held().next_at().map(|at| at.saturating_sub(clock::steady_ms()));
            tokio::select! {
                () = clock::sleep_ms(wait_ms.unwrap_or(u64::MAX / 4)), if wait_ms.is_some() => {}
                () = self.sooner.notified() => {}
                _ = tick.tick() => self.arbiter().tick(clock::steady_ms()),
            }
            let due = self.held().due(clock::steady_ms());
            futures::future::join_all(due.into_iter().map(|due| self.renew_one(due.action, due.epoch))).await;
            for action in self.held().lost(clock::steady_ms()) {
                debug!(%action, "a lease ran out, the work goes on without it");
            }
        }
    }

    /// This node is asked as arbiter.
    pub fn arbitrate(&self, action: ActionId, who: Origin, lost: Option<Cid>) -> Decision {
        let known = self.args.records.by_action(&action).map(|known| known.cid);
        let ask = lost.map_or(Ask::Reuse(known), Ask::Again);
        let decision = self.arbiter().acquire(clock::steady_ms(), action, who, ask);
        match decision {
            Decision::Granted { .. } => drop(self.args.metrics.leases_granted.inc()),
            Decision::Follow { .. } => drop(self.args.metrics.leases_merged.inc()),
            Decision::Done(_) | Decision::Wait { .. } => {}
        }
        decision
    }

    /// This node is asked as arbiter to prolong.
    pub fn arbiter_renew(&self, action: ActionId, who: Origin, epoch: Epoch) -> Renewed {
        self.arbiter().renew(clock::steady_ms(), action, who, epoch)
    }

    /// Whether the epoch was still the one that counts.
    pub fn arbiter_release(&self, action: ActionId, who: Origin, epoch: Epoch, done: Option<Cid>) -> bool {
        self.arbiter().release(clock::steady_ms(), action, who, epoch, done) == Released::Accepted
    }

    /// A member came: some actions have another arbiter now.
    pub fn member_joined(&self, who: Origin) {
        self.arbiter().member_joined(clock::steady_ms(), who);
        self.members_changed();
    }

    /// A member is gone, and with it what it held.
    pub fn member_left(&self, who: Origin) {
        self.arbiter().member_left(clock::steady_ms(), who);
        self.members_changed();
    }

    fn members_changed(&self) {
        self.held().members_changed(clock::steady_ms());
        self.sooner.notify_one();
    }

    fn arbiters(&self, action: &ActionId) -> Vec<Origin> {
        let members = self.args.network.members();
        let live = members.iter().filter_map(origin_of).chain([self.args.own]);
        rendezvous(action, live).into_iter().take(ARBITERS_MAX).collect()
    }

    async fn ask(&self, arbiter: Origin, action: ActionId, lost: Option<Cid>) -> Option<Decision> {
        let lost_cid = lost.map(|cid| cid.to_string()).unwrap_or_default();
        let request = wire::AcquireRequest { action_id: action.0.to_vec(), lost_cid };
        let mut client = self.client(arbiter);
        let answer = clock::within_ms(CALL_TIMEOUT_MS, client.acquire(request)).await?;
        decode_decision(answer.ok()?.into_inner())
    }

    async fn renew_one(&self, action: ActionId, epoch: Epoch) {
        let asked_ms = clock::steady_ms();
        let Some(arbiter) = self.arbiters(&action).into_iter().next() else { return };
        let renewed = if arbiter == self.args.own {
            Some(self.arbiter_renew(action, arbiter, epoch))
        } else {
            let request = wire::RenewRequest { action_id: action.0.to_vec(), epoch: Some(encode_epoch(epoch)) };
            let mut client = self.client(arbiter);
            let answer = clock::within_ms(CALL_TIMEOUT_MS, client.renew(request)).await;
            answer.and_then(Result::ok).map(|answer| decode_renewed(answer.into_inner()))
        };
        match renewed {
            Some(Renewed::Held { ttl_ms }) => self.held().renewed(asked_ms, action, epoch, ttl_ms),
            Some(Renewed::Lost) => {
                self.held().refused(action, epoch);
                debug!(%action, "a lease was lost, the work goes on without it");
            }
            // Tried again when it is due again.
            Some(Renewed::NotHere) | None => {}
        }
    }

    fn client(&self, member: Origin) -> LeasesClient<tonic::transport::Channel> {
        LeasesClient::new(self.args.channels.to(&peer_of(&member)))
    }

    fn arbiter(&self) -> MutexGuard<'_, Arbiter> {
        self.arbiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Holder> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record name of a peer; `None` when its key is not ed25519.
#[must_use]
pub fn origin_of(peer: &PeerId) -> Option<Origin> {
    Origin::from_peer_id_bytes(&peer.to_bytes())
}

/// The peer id of a record's origin.
///
/// # Panics
/// Never: an ed25519 key always has a peer id.
#[must_use]
pub fn peer_of(origin: &Origin) -> PeerId {
    PeerId::from_bytes(&origin.to_peer_id_bytes()).expect("an ed25519 key always has a peer id")
}

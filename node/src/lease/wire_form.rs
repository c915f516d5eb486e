//! Leases as they stand on the wire.

use artdag_core::{
    identity::Origin,
    lease::{Answer as Decision, Epoch, Renewed},
};
use artdag_proto::v1::{self as wire, acquire_response as answer};

/// An arbiter's decision.
#[must_use]
pub fn encode_decision(decision: Decision) -> wire::AcquireResponse {
    let encoded = match decision {
        Decision::Done(cid) => answer::Answer::Done(answer::Done { cid: cid.to_string() }),
        Decision::Granted { epoch, ttl_ms } => {
            answer::Answer::Granted(answer::Granted { epoch: Some(encode_epoch(epoch)), ttl_ms })
        }
        Decision::Follow { holder, ttl_ms } => {
            answer::Answer::Follow(answer::Follow { holder: holder.to_string(), ttl_ms })
        }
        Decision::Wait { retry_ms } => answer::Answer::Wait(answer::Wait { retry_ms }),
    };
    wire::AcquireResponse { answer: Some(encoded) }
}

/// `None` when it is not understood; the caller asks the next arbiter.
#[must_use]
pub fn decode_decision(response: wire::AcquireResponse) -> Option<Decision> {
    Some(match response.answer? {
        answer::Answer::Done(done) => Decision::Done(done.cid.parse().ok()?),
        answer::Answer::Granted(granted) => {
            Decision::Granted { epoch: decode_epoch(granted.epoch?), ttl_ms: granted.ttl_ms }
        }
        answer::Answer::Follow(follow) => {
            Decision::Follow { holder: follow.holder.parse::<Origin>().ok()?, ttl_ms: follow.ttl_ms }
        }
        answer::Answer::Wait(wait) => Decision::Wait { retry_ms: wait.retry_ms },
    })
}

/// An arbiter's answer to a renewal.
#[must_use]
pub fn encode_renewed(renewed: Renewed) -> wire::RenewResponse {
    let (state, ttl_ms) = match renewed {
        Renewed::Held { ttl_ms } => (wire::LeaseState::Held, ttl_ms),
        Renewed::Lost => (wire::LeaseState::Lost, 0),
        Renewed::NotHere => (wire::LeaseState::NotHere, 0),
    };
    wire::RenewResponse { state: state.into(), ttl_ms }
}

/// What is not understood changes nothing.
#[must_use]
pub fn decode_renewed(response: wire::RenewResponse) -> Renewed {
    match response.state() {
        wire::LeaseState::Held => Renewed::Held { ttl_ms: response.ttl_ms },
        wire::LeaseState::Lost => Renewed::Lost,
        wire::LeaseState::NotHere | wire::LeaseState::Unspecified => Renewed::NotHere,
    }
}

/// The fencing token.
#[must_use]
pub fn encode_epoch(epoch: Epoch) -> wire::Epoch {
    wire::Epoch { incarnation: epoch.incarnation, counter: epoch.counter }
}

/// The fencing token.
#[must_use]
pub fn decode_epoch(epoch: wire::Epoch) -> Epoch {
    Epoch { incarnation: epoch.incarnation, counter: epoch.counter }
}

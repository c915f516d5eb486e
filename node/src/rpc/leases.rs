//! The Leases service, for members: this node is asked as arbiter.

use std::sync::Arc;

use artdag_core::{identity::ActionId, lease};
use artdag_proto::v1 as wire;
use tonic::{Request, Response, Status};

use super::{
    members::Caller,
    status::{invalid, parse_cid},
};
use crate::lease::{Leases, decode_epoch, encode_decision, encode_renewed, origin_of};

/// Serves the arbiter of this node.
pub struct LeasesService {
    leases: Arc<Leases>,
}

impl LeasesService {
    /// Over this arbiter.
    #[must_use]
    pub fn new(leases: Arc<Leases>) -> Self {
        Self { leases }
    }
}

#[tonic::async_trait]
impl wire::leases_server::Leases for LeasesService {
    async fn acquire(&self, request: Request<wire::AcquireRequest>) -> Result<Response<wire::AcquireResponse>, Status> {
        let caller = caller(&request)?;
        let wire::AcquireRequest { action_id, lost_cid } = request.into_inner();
        let lost = if lost_cid.is_empty() { None } else { Some(parse_cid(&lost_cid)?) };
        let decision = self.leases.arbitrate(parse_action_id(&action_id)?, caller, lost);
        Ok(Response::new(encode_decision(decision)))
    }

    async fn renew(&self, request: Request<wire::RenewRequest>) -> Result<Response<wire::RenewResponse>, Status> {
        let caller = caller(&request)?;
        let wire::RenewRequest { action_id, epoch } = request.into_inner();
        let renewed = self.leases.arbiter_renew(parse_action_id(&action_id)?, caller, parse_epoch(epoch)?);
        Ok(Response::new(encode_renewed(renewed)))
    }

    async fn release(&self, request: Request<wire::ReleaseRequest>) -> Result<Response<wire::ReleaseResponse>, Status> {
        let caller = caller(&request)?;
        let wire::ReleaseRequest { action_id, epoch, cid } = request.into_inner();
        let cid = if cid.is_empty() { None } else { Some(parse_cid(&cid)?) };
        let accepted = self.leases.arbiter_release(parse_action_id(&action_id)?, caller, parse_epoch(epoch)?, cid);
        Ok(Response::new(wire::ReleaseResponse { accepted }))
    }
}

fn caller<T>(request: &Request<T>) -> Result<artdag_core::identity::Origin, Status> {
    let Caller(peer) =
        request.extensions().get().ok_or_else(|| Status::unauthenticated("only members may ask for leases"))?;
    origin_of(peer).ok_or_else(|| Status::unauthenticated("the peer's key is not ed25519"))
}

fn parse_action_id(bytes: &[u8]) -> Result<ActionId, Status> {
    bytes.try_into().map(ActionId).map_err(|_| invalid("an action_id has 32 bytes"))
}

fn parse_epoch(epoch: Option<wire::Epoch>) -> Result<lease::Epoch, Status> {
    epoch.map(decode_epoch).ok_or_else(|| invalid("an epoch is missing"))
}

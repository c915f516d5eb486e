//! The Pins service: decode, one call, encode.

use artdag_blockstore::{Pin, PinKind, Store};
use artdag_network::Scope;
use artdag_proto::v1 as wire;
use tonic::{Request, Response, Status};

use super::{
    answers::{self, Answer, Answers},
    status::{IntoStatus, invalid, parse_cid},
};
use crate::{
    fetch::Fetcher,
    task::{Tasks, blocking},
};

/// Names are for people.
const NAME_BYTES_MAX: usize = 255;
/// Pins read from the store at a time.
const PAGE: usize = 1000;

/// Serves the pins of one store.
pub struct PinsService {
    store: Store,
    fetcher: Fetcher,
    tasks: Tasks,
}

impl PinsService {
    /// Over this store.
    #[must_use]
    pub fn new(store: Store, fetcher: Fetcher, tasks: Tasks) -> Self {
        Self { store, fetcher, tasks }
    }
}

#[tonic::async_trait]
impl wire::pins_server::Pins for PinsService {
    type ListPinsStream = Answers<wire::Pin>;

    async fn add_pin(&self, request: Request<wire::AddPinRequest>) -> Result<Response<wire::AddPinResponse>, Status> {
        let request = request.into_inner();
        let cid = parse_cid(&request.cid)?;
        if request.name.len() > NAME_BYTES_MAX {
            return Err(invalid(format!("a pin's name has at most {NAME_BYTES_MAX} bytes")));
        }
        let kind = match request.kind() {
            wire::PinKind::Direct => PinKind::Direct,
            wire::PinKind::Recursive | wire::PinKind::Unspecified => PinKind::Recursive,
        };
        match kind {
            PinKind::Recursive => self.fetcher.dag(&cid, Scope::Anyone, &[]).await.map_err(IntoStatus::into_status)?,
            PinKind::Direct => drop(self.fetcher.block(&cid, Scope::Anyone).await.map_err(IntoStatus::into_status)?),
        }
        let (store, name) = (self.store.clone(), request.name);
        let pin = Pin { cid, kind, name: name.clone() };
        blocking(move || store.pin(&cid, kind, &name)).await.map_err(IntoStatus::into_status)?;
        Ok(Response::new(wire::AddPinResponse { pin: Some(encode(&pin)) }))
    }

    async fn remove_pin(
        &self,
        request: Request<wire::RemovePinRequest>,
    ) -> Result<Response<wire::RemovePinResponse>, Status> {
        let cid = parse_cid(&request.into_inner().cid)?;
        let store = self.store.clone();
        let removed = blocking(move || store.unpin(&cid)).await.map_err(IntoStatus::into_status)?;
        if !removed {
            return Err(Status::not_found(format!("{cid} is not pinned here; `artdag pin ls` lists the pins")));
        }
        Ok(Response::new(wire::RemovePinResponse {}))
    }

    async fn list_pins(&self, _: Request<wire::ListPinsRequest>) -> Result<Response<Self::ListPinsStream>, Status> {
        let store = self.store.clone();
        let list = |answers: Answer<wire::Pin>| {
            blocking(move || {
                let mut after = None;
                loop {
                    let page = match store.pins(after.as_ref(), PAGE) {
                        Ok(page) => page,
                        Err(error) => return drop(answers.blocking_send(Err(error.into_status()))),
                    };
                    let Some(last) = page.last() else { return };
                    after = Some(last.cid);
                    for pin in &page {
                        if answers.blocking_send(Ok(encode(pin))).is_err() {
                            return;
                        }
                    }
                }
            })
        };
        Ok(Response::new(answers::stream(&self.tasks, "list pins", list)))
    }
}

fn encode(pin: &Pin) -> wire::Pin {
    let kind = match pin.kind {
        PinKind::Recursive => wire::PinKind::Recursive,
        PinKind::Direct => wire::PinKind::Direct,
    };
    wire::Pin { cid: pin.cid.to_string(), kind: kind.into(), name: pin.name.clone() }
}

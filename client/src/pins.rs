//! The Pins service: what must never be collected.

use artdag_proto::v1;
use cid::Cid;
use serde::Serialize;

use crate::{
    Answers, Client, Error,
    names::{answered_cid, cid_text},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PinKind {
    /// The root and all it links to.
    Recursive,
    /// This one block.
    Direct,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pin {
    #[serde(serialize_with = "cid_text")]
    pub cid: Cid,
    pub kind: PinKind,
    pub name: String,
}

impl Client {
    /// Fetches what is missing, then pins.
    pub async fn add_pin(&self, cid: &Cid, kind: PinKind, name: &str) -> Result<Pin, Error> {
        let kind = match kind {
            PinKind::Recursive => v1::PinKind::Recursive,
            PinKind::Direct => v1::PinKind::Direct,
        };
        let request = v1::AddPinRequest { cid: cid.to_string(), kind: kind.into(), name: name.to_owned() };
        let answer = self.pins_service().add_pin(request).await;
        let answer = answer.map_err(|status| self.failed(&status))?.into_inner();
        parse(answer.pin.ok_or_else(|| Error::Answer("a pin without its facts".to_owned()))?)
    }

    pub async fn remove_pin(&self, cid: &Cid) -> Result<(), Error> {
        let request = v1::RemovePinRequest { cid: cid.to_string() };
        let answer = self.pins_service().remove_pin(request).await;
        answer.map(drop).map_err(|status| self.failed(&status))
    }

    pub async fn list_pins(&self) -> Result<Answers<Pin>, Error> {
        let answer = self.pins_service().list_pins(v1::ListPinsRequest {}).await;
        let stream = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Answers::new(self.url_shared(), stream, parse))
    }
}

fn parse(pin: v1::Pin) -> Result<Pin, Error> {
    let kind = match pin.kind() {
        v1::PinKind::Recursive => PinKind::Recursive,
        v1::PinKind::Direct => PinKind::Direct,
        v1::PinKind::Unspecified => return Err(Error::Answer("a pin of no kind".to_owned())),
    };
    Ok(Pin { cid: answered_cid(&pin.cid)?, kind, name: pin.name })
}

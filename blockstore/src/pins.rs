//! Pins: what must stay.
//!
//! A pin names a root; whether everything below it is here is for the caller to see to, before or after.

use cid::Cid;

use crate::error::AddError;
use crate::state::{Slot, StateError, Write};
use crate::store::Store;
use crate::stored;

/// The pinning service API's limit, which Kubo shares.
const MAX_NAME_BYTES: usize = 255;

/// How much a pin holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinKind {
    /// Everything below the root.
    Recursive,
    /// The one block.
    Direct,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub cid: Cid,
    pub kind: PinKind,
    pub name: String,
}

impl Store {
    /// Pins, or replaces the pin that is there. Durable on return.
    pub fn pin(&self, cid: &Cid, kind: PinKind, name: &str) -> Result<(), AddError> {
        if name.len() > MAX_NAME_BYTES {
            let what = format!("a pin's name may have {MAX_NAME_BYTES} bytes, not {}", name.len());
            return Err(AddError::Input(what));
        }
        let value = stored::encode_pin(kind, name);
        let write = Write::Put(Slot::Pins, cid.to_bytes(), value);
        self.inner.state.write(vec![write])?;
        Ok(())
    }

    /// Takes a pin away; says whether there was one.
    pub fn unpin(&self, cid: &Cid) -> Result<bool, StateError> {
        let held = self.pin_of(cid)?.is_some();
        let write = Write::Delete(Slot::Pins, cid.to_bytes());
        self.inner.state.write(vec![write])?;
        Ok(held)
    }

    pub fn pin_of(&self, cid: &Cid) -> Result<Option<Pin>, StateError> {
        let key = cid.to_bytes();
        let value = self.inner.state.get_slot(Slot::Pins, &key)?;
        value.map(|value| parse(&key, &value)).transpose()
    }

    /// Up to `limit` pins behind `after`, in the order of their CIDs' bytes.
    pub fn pins(&self, after: Option<&Cid>, limit: usize) -> Result<Vec<Pin>, StateError> {
        let from = after.map_or_else(Vec::new, |cid| {
            let mut key = cid.to_bytes();
            key.push(0); // the first key behind it
            key
        });
        let rows = self.inner.state.scan_slot(Slot::Pins, &from, limit)?;
        rows.iter().map(|(key, value)| parse(key, value)).collect()
    }
}

fn parse(key: &[u8], value: &[u8]) -> Result<Pin, StateError> {
    let cid = Cid::try_from(key).map_err(|error| StateError::Damaged(error.to_string()))?;
    let (kind, name) = stored::decode_pin(value).map_err(|error| StateError::Damaged(error.to_string()))?;
    Ok(Pin { cid, kind, name })
}

//! The names things go by: CIDs, 32-byte hashes and paths into content.
//!
//! Each is parsed once, here, from what a person or a node wrote.

use std::{fmt, str::FromStr};

use cid::Cid;
use serde::{Serialize, Serializer};

use crate::Error;

/// A longer path into content is refused before it is sent.
const MAX_CONTENT_PATH: usize = 4096;

/// A 32-byte hash or id; its text is 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Empty bytes mean that there is none.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let exact =
            <[u8; 32]>::try_from(bytes).map_err(|_| Error::Answer(format!("a hash of {} bytes", bytes.len())))?;
        Ok(Some(Self(exact)))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "write 64 hex digits".to_owned())?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a CID as a person writes it; `/ipfs/CID` and `ipfs://CID` are taken too.
pub fn parse_cid(text: &str) -> Result<Cid, String> {
    Cid::try_from(without_scheme(text)).map_err(|error| format!("not a CID: {error}"))
}

/// `CID` or `CID/name/name`, as every reading call takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentPath(String);

impl ContentPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Cid> for ContentPath {
    fn from(cid: Cid) -> Self {
        Self(cid.to_string())
    }
}

impl From<&Cid> for ContentPath {
    fn from(cid: &Cid) -> Self {
        Self(cid.to_string())
    }
}

impl fmt::Display for ContentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContentPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_CONTENT_PATH {
            return Err(format!("longer than {MAX_CONTENT_PATH} bytes"));
        }
        let bare = without_scheme(text);
        let (cid, rest) = bare.split_once('/').unwrap_or((bare, ""));
        let cid = parse_cid(cid)?;
        let names: Vec<&str> = rest.split('/').filter(|name| !name.is_empty()).collect();
        if names.iter().any(|name| matches!(*name, "." | "..")) {
            return Err("names may not be . or ..".to_owned());
        }
        let tail: String = names.iter().flat_map(|name| ["/", name]).collect();
        Ok(Self(format!("{cid}{tail}")))
    }
}

fn without_scheme(text: &str) -> &str {
    text.strip_prefix("/ipfs/").or_else(|| text.strip_prefix("ipfs://")).unwrap_or(text)
}

pub(crate) fn answered_cid(text: &str) -> Result<Cid, Error> {
    Cid::try_from(text).map_err(|error| Error::Answer(format!("{text:?} is not a CID: {error}")))
}

/// An empty string means that there is none yet.
pub(crate) fn answered_optional_cid(text: &str) -> Result<Option<Cid>, Error> {
    if text.is_empty() { Ok(None) } else { answered_cid(text).map(Some) }
}

/// The `cid` crate's own serde form is that of dag-cbor links; ours is the canonical string.
pub(crate) fn cid_text<S: Serializer>(cid: &Cid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cid)
}

pub(crate) fn optional_cid_text<S: Serializer>(cid: &Option<Cid>, serializer: S) -> Result<S::Ok, S::Error> {
    match cid {
        Some(cid) => serializer.collect_str(cid),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The identity CID of RFC-less fame: the empty raw block under sha2-256.
    const EMPTY: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

    #[test]
    fn a_content_path_is_a_cid_and_clean_names() {
        for text in [EMPTY.to_owned(), format!("/ipfs/{EMPTY}"), format!("ipfs://{EMPTY}/")] {
            assert_eq!(text.parse::<ContentPath>().expect("parses").as_str(), EMPTY);
        }
        let path: ContentPath = format!("{EMPTY}//a/b c/").parse().expect("parses");
        assert_eq!(path.as_str(), format!("{EMPTY}/a/b c"));
    }

    #[test]
    fn what_is_not_content_is_refused_before_it_is_sent() {
        for text in ["", "film.mp4", "/ipfs/", "bafynope"] {
            assert!(text.parse::<ContentPath>().is_err(), "{text:?}");
        }
        assert!(format!("{EMPTY}/../x").parse::<ContentPath>().is_err());
        assert!(format!("{EMPTY}/{}", "x".repeat(5000)).parse::<ContentPath>().is_err());
    }

    #[test]
    fn a_digest_is_64_hex_digits_both_ways() {
        let text = "00".repeat(31) + "ff";
        assert_eq!(text.parse::<Digest>().expect("parses").to_string(), text);
        assert!("ff".parse::<Digest>().is_err());
        assert!(Digest::parse(&[1; 31]).is_err());
        assert_eq!(Digest::parse(&[]).expect("absent"), None);
    }
}

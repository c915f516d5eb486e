//! dag-pb (ipld specs, codecs/dag-pb): a node is links and a byte string.
//!
//! Encoding is canonical: links first, each as Hash, Name, Tsize, then Data. Decoding takes what old writers
//! made (Data first, fields missing) but no unknown field, no wrong wire type and no length past the end. It is
//! written out here because it is what every hostile peer reaches first.

use cid::Cid;

use crate::car::varint;

/// Field tags: number << 3 | wire type.
const NODE_DATA: u64 = 0x0a;
const NODE_LINK: u64 = 0x12;
const LINK_HASH: u64 = 0x0a;
const LINK_NAME: u64 = 0x12;
const LINK_TSIZE: u64 = 0x18;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub cid: Cid,
    pub name: String,
    /// The size of everything below, as the writer says.
    pub tsize: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub links: Vec<Link>,
    pub data: Vec<u8>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a dag-pb node: {0}")]
pub(crate) struct PbError(&'static str);

impl Node {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.links.len() * 64 + self.data.len() + 8);
        for link in &self.links {
            push_bytes(&mut out, NODE_LINK, &link.encode());
        }
        push_bytes(&mut out, NODE_DATA, &self.data);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Node, PbError> {
        let mut fields = Fields { rest: bytes };
        let mut node = Node::default();
        let mut has_data = false;
        while let Some(tag) = fields.tag()? {
            match tag {
                NODE_LINK => node.links.push(Link::decode(fields.bytes()?)?),
                NODE_DATA if has_data => return Err(PbError("two Data fields")),
                NODE_DATA => {
                    node.data = fields.bytes()?.to_vec();
                    has_data = true;
                }
                _ => return Err(PbError("unknown field in a node")),
            }
        }
        Ok(node)
    }
}

impl Link {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.name.len() + 56);
        push_bytes(&mut out, LINK_HASH, &self.cid.to_bytes());
        push_bytes(&mut out, LINK_NAME, self.name.as_bytes());
        out.extend_from_slice(&varint(LINK_TSIZE));
        out.extend_from_slice(&varint(self.tsize));
        out
    }

    fn decode(bytes: &[u8]) -> Result<Link, PbError> {
        let mut fields = Fields { rest: bytes };
        let (mut cid, mut name, mut tsize) = (None, String::new(), 0);
        while let Some(tag) = fields.tag()? {
            match tag {
                LINK_HASH => {
                    let parsed = Cid::try_from(fields.bytes()?);
                    cid = Some(parsed.map_err(|_| PbError("a link's Hash is not a CID"))?);
                }
                LINK_NAME => {
                    let text = std::str::from_utf8(fields.bytes()?);
                    name = text.map_err(|_| PbError("a link's Name is not UTF-8"))?.to_owned();
                }
                LINK_TSIZE => tsize = fields.number()?,
                _ => return Err(PbError("unknown field in a link")),
            }
        }
        let cid = cid.ok_or(PbError("a link without Hash"))?;
        Ok(Link { cid, name, tsize })
    }
}

fn push_bytes(out: &mut Vec<u8>, tag: u64, bytes: &[u8]) {
    out.extend_from_slice(&varint(tag));
    out.extend_from_slice(&varint(bytes.len() as u64));
    out.extend_from_slice(bytes);
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn tag(&mut self) -> Result<Option<u64>, PbError> {
        match self.rest.is_empty() {
            true => Ok(None),
            false => self.number().map(Some),
        }
    }

    fn number(&mut self) -> Result<u64, PbError> {
        let (number, rest) = unsigned_varint::decode::u64(self.rest).map_err(|_| PbError("a malformed varint"))?;
        self.rest = rest;
        Ok(number)
    }

    fn bytes(&mut self) -> Result<&'a [u8], PbError> {
        let length = self.number()?;
        if length > self.rest.len() as u64 {
            return Err(PbError("a length past the end"));
        }
        let (field, rest) = self.rest.split_at(length as usize);
        self.rest = rest;
        Ok(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::raw_cid;
    use proptest::prelude::*;

    #[test]
    fn data_may_come_before_links_as_old_writers_had_it() {
        let link = Link { cid: raw_cid(b"x"), name: "x".into(), tsize: 1 };
        let node = Node { links: vec![link], data: vec![8, 1] };
        let bytes = node.encode();
        let data_at = bytes.len() - 4;
        let turned = [&bytes[data_at..], &bytes[..data_at]].concat();
        assert_eq!(Node::decode(&turned), Ok(node));
    }

    #[test]
    fn lengths_past_the_end_and_unknown_fields_are_refused() {
        assert!(Node::decode(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
        assert!(Node::decode(&[0x1a, 0x00]).is_err());
        assert!(Node::decode(&[0x0a, 0x00, 0x0a, 0x00]).is_err());
        assert!(Node::decode(&[0x12, 0x00]).is_err(), "a link needs its Hash");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Node::decode(&bytes);
        }

        #[test]
        fn encode_and_decode_agree(names in proptest::collection::vec(("[a-z]{0,9}", any::<u64>()), 0..5),
                                   data in proptest::collection::vec(any::<u8>(), 0..20)) {
            let links = names.into_iter().map(|(name, tsize)| Link { cid: raw_cid(name.as_bytes()), name, tsize }).collect();
            let node = Node { links, data };
            prop_assert_eq!(Node::decode(&node.encode()), Ok(node));
        }
    }
}

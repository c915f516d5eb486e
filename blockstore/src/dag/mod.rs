//! The links of a block, for every codec we walk.

pub(crate) mod pb;
pub(crate) mod reference;

use cid::Cid;
use ipld_core::codec::Links;
use serde_ipld_dagcbor::codec::DagCborCodec;

use crate::block::Block;
use crate::cid::{DAG_CBOR, DAG_PB, RAW};

/// Why a block's links cannot be told.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LinksError {
    #[error("{cid} does not parse: {reason}")]
    Malformed { cid: Cid, reason: String },
    #[error("{cid} has codec {codec:#x}, whose links we cannot read")]
    UnknownCodec { cid: Cid, codec: u64 },
}

/// The CIDs a block links to, in the order they stand in it. Raw blocks have none.
pub fn links(block: &Block) -> Result<Vec<Cid>, LinksError> {
    let cid = *block.cid();
    let malformed = |reason: String| LinksError::Malformed { cid, reason };
    match cid.codec() {
        RAW => Ok(Vec::new()),
        DAG_PB => {
            let node = pb::Node::decode(block.bytes()).map_err(|error| malformed(error.to_string()))?;
            Ok(node.links.into_iter().map(|link| link.cid).collect())
        }
        DAG_CBOR => match DagCborCodec::links(block.bytes()) {
            Ok(found) => Ok(found.collect()),
            Err(error) => Err(malformed(error.to_string())),
        },
        codec => Err(LinksError::UnknownCodec { cid, codec }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::{dag_cbor_cid, raw_cid};
    use ipld_core::ipld::Ipld;

    #[test]
    fn dag_cbor_links_are_found_at_any_depth() {
        let (a, b) = (raw_cid(b"a"), raw_cid(b"b"));
        let tree =
            Ipld::List(vec![Ipld::Link(a), Ipld::Map([("deep".to_string(), Ipld::List(vec![Ipld::Link(b)]))].into())]);
        let bytes = serde_ipld_dagcbor::to_vec(&tree).expect("encode");
        let block = Block::new(dag_cbor_cid(&bytes), bytes).expect("block");
        assert_eq!(links(&block), Ok(vec![a, b]));
    }

    #[test]
    fn cbor_nested_without_end_is_an_error_and_not_a_crash() {
        let bytes = vec![0x81; 1 << 20];
        let block = Block::new(dag_cbor_cid(&bytes), bytes).expect("block");
        assert!(matches!(links(&block), Err(LinksError::Malformed { .. })));
    }

    #[test]
    fn an_unknown_codec_is_said_by_number() {
        let cid = Cid::new_v1(0x0129, *raw_cid(b"{}").hash());
        let block = Block::new(cid, *b"{}").expect("block");
        assert_eq!(links(&block), Err(LinksError::UnknownCodec { cid, codec: 0x0129 }));
    }
}

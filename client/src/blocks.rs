//! Single blocks of the Content service.

use artdag_proto::v1;
use cid::Cid;
use serde::Serialize;

use crate::{
    Client, Error,
    names::{answered_cid, cid_text},
};

/// The largest block that any peer takes; more is refused before it is sent.
const MAX_BLOCK: usize = 2 * 1024 * 1024;

/// A block by name and size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Block {
    #[serde(serialize_with = "cid_text")]
    pub cid: Cid,
    pub size: u64,
}

impl Client {
    /// Puts one block. Empty names mean raw and sha2-256.
    pub async fn put_block(&self, data: Vec<u8>, codec: &str, multihash: &str) -> Result<Block, Error> {
        if data.len() > MAX_BLOCK {
            return Err(Error::InvalidInput(format!(
                "a block is at most {MAX_BLOCK} bytes and this is {}; use artdag add",
                data.len()
            )));
        }
        let request = v1::PutBlockRequest { data, codec: codec.to_owned(), multihash: multihash.to_owned() };
        let answer = self.content_service().put_block(request).await;
        let answer = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Block { cid: answered_cid(&answer.cid)?, size: answer.size })
    }

    /// The bytes of one block, fetched from the peers if the node lacks it.
    pub async fn get_block(&self, cid: &Cid) -> Result<Vec<u8>, Error> {
        let request = v1::GetBlockRequest { cid: cid.to_string() };
        let answer = self.content_service().get_block(request).await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner().data)
    }
}

//! The Records service: the replicated facts.

use artdag_proto::v1;
use cid::Cid;
use serde::Serialize;

use crate::{
    Answers, Client, Digest, Error,
    names::{answered_cid, cid_text},
};

/// An action gave a CID.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResultRecord {
    pub cache_id: Option<Digest>,
    pub action_id: Option<Digest>,
    #[serde(serialize_with = "cid_text")]
    pub cid: Cid,
    /// Peer id of the node that published it.
    pub origin: String,
    pub incarnation: u64,
    pub number: u64,
    pub unix_ms: i64,
    pub size: u64,
    pub duration_ms: u64,
    pub toolset: String,
    /// Distinct CIDs known for this action; more than 1 is a conflict.
    pub candidates: u32,
}

impl Client {
    /// The result under a cache_id or an action_id.
    pub async fn get_record(&self, id: &Digest) -> Result<ResultRecord, Error> {
        let request = v1::GetRecordRequest { id: id.0.to_vec() };
        let answer = self.records_service().get_record(request).await;
        parse(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// At most `limit` of them; `None` means all.
    pub async fn list_records(&self, limit: Option<u32>) -> Result<Answers<ResultRecord>, Error> {
        let request = v1::ListRecordsRequest { limit: limit.unwrap_or(0) };
        let answer = self.records_service().list_records(request).await;
        let stream = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Answers::new(self.url_shared(), stream, parse))
    }
}

fn parse(record: v1::ResultRecord) -> Result<ResultRecord, Error> {
    Ok(ResultRecord {
        cache_id: Digest::parse(&record.cache_id)?,
        action_id: Digest::parse(&record.action_id)?,
        cid: answered_cid(&record.cid)?,
        origin: record.origin,
        incarnation: record.incarnation,
        number: record.number,
        unix_ms: record.unix_ms,
        size: record.size,
        duration_ms: record.duration_ms,
        toolset: record.toolset,
        candidates: record.candidates,
    })
}

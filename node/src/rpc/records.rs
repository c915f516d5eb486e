//! The Records service: decode, one call, encode.

use artdag_proto::v1 as wire;
use tonic::{Request, Response, Status};

use super::{
    answers::{self, Answers},
    status::invalid,
};
use crate::{
    lease::peer_of,
    records::{KnownResult, RecordsHandle},
    task::Tasks,
};

/// Serves the records of this node.
pub struct RecordsService {
    records: RecordsHandle,
    tasks: Tasks,
}

impl RecordsService {
    /// Over these records.
    #[must_use]
    pub fn new(records: RecordsHandle, tasks: Tasks) -> Self {
        Self { records, tasks }
    }
}

#[tonic::async_trait]
impl wire::records_server::Records for RecordsService {
    type ListRecordsStream = Answers<wire::ResultRecord>;

    async fn get_record(
        &self,
        request: Request<wire::GetRecordRequest>,
    ) -> Result<Response<wire::ResultRecord>, Status> {
        let id: [u8; 32] = request
            .into_inner()
            .id
            .as_slice()
            .try_into()
            .map_err(|_| invalid("a cache_id or action_id has 32 bytes, 64 hex digits"))?;
        let found = self.records.by_either(id);
        let found =
            found.ok_or_else(|| Status::not_found(format!("no result for {} is known here", hex::encode(id))))?;
        Ok(Response::new(encode(found)))
    }

    async fn list_records(
        &self,
        request: Request<wire::ListRecordsRequest>,
    ) -> Result<Response<Self::ListRecordsStream>, Status> {
        let limit = request.into_inner().limit as usize;
        let results = self.records.list(if limit == 0 { usize::MAX } else { limit });
        let results = results.into_iter().map(encode).collect();
        Ok(Response::new(answers::lines(&self.tasks, "list records", results)))
    }
}

fn encode(result: KnownResult) -> wire::ResultRecord {
    wire::ResultRecord {
        cache_id: result.cache_id.0.to_vec(),
        action_id: result.action_id.0.to_vec(),
        cid: result.cid.to_string(),
        origin: peer_of(&result.origin).to_string(),
        incarnation: result.incarnation,
        number: result.number,
        unix_ms: i64::try_from(result.unix_ms).unwrap_or(i64::MAX),
        size: result.size,
        duration_ms: result.duration_ms,
        toolset: result.toolset,
        candidates: result.candidates,
    }
}

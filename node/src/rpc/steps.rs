//! The Steps service, for members: this node is asked to run an action.

use std::sync::Arc;

use artdag_core::{
    action::Action,
    identity::{ActionId, CacheId, Origin},
    scheduler::FailureClass,
};
use artdag_network::PeerId;
use artdag_proto::v1::{self as wire, execute_step_event::Event};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::DropGuard;
use tonic::{Request, Response, Status};
use tracing::{Instrument, info_span};

use super::{
    members::Caller,
    status::{invalid, parse_cid},
};
use crate::{
    lease::peer_of,
    rpc::trace::TraceContext,
    scheduler::worker::{Order, Progress, Worker},
    task::Tasks,
};

/// Progress reports between the worker and the stream.
const QUEUE: usize = 32;
/// A step has at most a few dozen inputs.
const INPUTS_MAX: usize = 1024;
const HOLDERS_MAX: usize = 64;

/// Serves the worker of this node.
pub struct StepsService {
    worker: Arc<Worker>,
    tasks: Tasks,
}

impl StepsService {
    /// Over this worker.
    #[must_use]
    pub fn new(worker: Arc<Worker>, tasks: Tasks) -> Self {
        Self { worker, tasks }
    }
}

type Events = std::pin::Pin<Box<dyn futures::Stream<Item = Result<wire::ExecuteStepEvent, Status>> + Send>>;

#[tonic::async_trait]
impl wire::steps_server::Steps for StepsService {
    type ExecuteStepStream = Events;

    async fn execute_step(
        &self,
        request: Request<wire::ExecuteStepRequest>,
    ) -> Result<Response<Self::ExecuteStepStream>, Status> {
        if request.extensions().get::<Caller>().is_none() {
            return Err(Status::unauthenticated("only members may ask for steps"));
        }
        let span = info_span!("step", trace_id = TraceContext::of(&request).trace_id);
        let order = decode(request.into_inner())?;
        let (tell, progress) = mpsc::channel(QUEUE);
        // Cancelled with the node, and when the caller drops the stream.
        let cancel = self.tasks.stopping().child_token();
        let (worker, token) = (self.worker.clone(), cancel.clone());
        let work = async move { worker.execute(order, tell, token).await };
        self.tasks.spawn("step", work.instrument(span));
        let guard = cancel.drop_guard();
        Ok(Response::new(events(progress, guard)))
    }
}

fn events(progress: mpsc::Receiver<Progress>, guard: DropGuard) -> Events {
    Box::pin(ReceiverStream::new(progress).map(move |progress| {
        let _held = &guard;
        Ok(wire::ExecuteStepEvent { event: Some(encode(progress)) })
    }))
}

fn decode(request: wire::ExecuteStepRequest) -> Result<Order, Status> {
    let action = Action::decode(&request.action).map_err(|error| invalid(error.to_string()))?;
    let cache_id = request.cache_id.as_slice().try_into().map_err(|_| invalid("a cache_id has 32 bytes"))?;
    if request.inputs.len() > INPUTS_MAX || request.inputs.iter().any(|of| of.holders.len() > HOLDERS_MAX) {
        return Err(invalid("too many inputs or holders"));
    }
    let lost = if request.lost_cid.is_empty() { None } else { Some(parse_cid(&request.lost_cid)?) };
    let holders = request.inputs.iter().map(|of| of.holders.iter().filter_map(|id| id.parse().ok()).collect());
    let producers = request.inputs.iter().map(|of| of.action_id.as_slice().try_into().ok().map(ActionId));
    Ok(Order {
        action,
        cache_id: CacheId(cache_id),
        holders: holders.collect(),
        producers: producers.collect(),
        lost,
        timeout_ms: request.timeout_ms,
    })
}

fn encode(progress: Progress) -> Event {
    use wire::execute_step_event as event;
    match progress {
        Progress::Fetching => Event::Fetching(event::Fetching {}),
        Progress::Running { progress, message } => Event::Running(event::Running { progress, message }),
        Progress::Following { holder } => Event::Following(event::Following { node: name(&holder) }),
        Progress::Done(done) => Event::Done(event::Done {
            cid: done.cid.to_string(),
            ms: done.ms,
            content_hash: done.content_hash.map(Vec::from).unwrap_or_default(),
            size: done.size,
            reused: done.reused,
            node: name(&done.node),
        }),
        Progress::Failed(failed) => Event::Failed(event::Failed {
            missing_cids: missing(&failed.class),
            class: encode_class(&failed.class).into(),
            message: failed.message,
            log: failed.log,
        }),
    }
}

fn missing(class: &FailureClass) -> Vec<String> {
    match class {
        FailureClass::LostBytes { missing } => missing.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

fn encode_class(class: &FailureClass) -> wire::FailureClass {
    match class {
        FailureClass::Input => wire::FailureClass::Input,
        FailureClass::Executor => wire::FailureClass::Executor,
        FailureClass::Node | FailureClass::Disconnected => wire::FailureClass::Node,
        FailureClass::LostBytes { .. } => wire::FailureClass::LostBytes,
        FailureClass::Busy => wire::FailureClass::Busy,
    }
}

fn name(origin: &Origin) -> String {
    let peer: PeerId = peer_of(origin);
    peer.to_string()
}

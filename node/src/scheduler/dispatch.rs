//! Gives one step to one node, this one or another, and brings back what it says. However it
//! ends, the coordinator hears exactly one last word.

use std::sync::Arc;

use artdag_core::{
    action::Action,
    identity::{ActionId, CacheId, Origin},
    scheduler::FailureClass,
};
use artdag_proto::v1::{self as wire, execute_step_event::Event, steps_client::StepsClient};
use cid::Cid;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tracing::{Instrument, info_span};

use super::worker::{Failed, Finished, Order, Progress, Worker};
use crate::{
    lease::peer_of,
    rpc::{channel::MemberChannels, trace::TraceContext},
};

/// Reports of one step on their way to the coordinator.
const QUEUE: usize = 32;

/// One step for one node.
pub struct Assignment {
    pub step: usize,
    pub step_id: String,
    pub attempt: u32,
    pub node: Origin,
    pub execution_id: String,
    pub trace_id: String,
    pub action: Action,
    pub cache_id: CacheId,
    /// For each input, who is known to have it.
    pub holders: Vec<Vec<Origin>>,
    /// For each input, the action that made it.
    pub producers: Vec<Option<ActionId>>,
    /// A result of this step whose bytes could not be had.
    pub lost: Option<Cid>,
    pub timeout_ms: u64,
}

/// What a step on some node said.
pub struct Report {
    pub step: usize,
    pub attempt: u32,
    pub progress: Progress,
}

/// Runs an assignment to its end.
pub async fn run(
    assignment: Assignment,
    own: Origin,
    worker: Arc<Worker>,
    channels: Arc<MemberChannels>,
    reports: mpsc::Sender<Report>,
    cancel: CancellationToken,
) {
    let (tell, mut said) = mpsc::channel(QUEUE);
    let (step, attempt) = (assignment.step, assignment.attempt);
    let work = async {
        if assignment.node == own {
            let span = info_span!("step", trace_id = assignment.trace_id);
            worker.execute(order(assignment), tell, cancel).instrument(span).await;
        } else {
            let last = remote(assignment, &channels, &tell, cancel).await;
            let _ = tell.send(last).await;
            drop(tell);
        }
    };
    let relay = async {
        while let Some(progress) = said.recv().await {
            let report = Report { step, attempt, progress };
            if reports.send(report).await.is_err() {
                // The run has ended and wants to hear no more; keep draining so the work can end.
                said.close();
            }
        }
    };
    tokio::join!(work, relay);
}

fn order(assignment: Assignment) -> Order {
    let holders = assignment.holders.iter().map(|of| of.iter().map(peer_of).collect());
    Order {
        holders: holders.collect(),
        action: assignment.action,
        cache_id: assignment.cache_id,
        producers: assignment.producers,
        lost: assignment.lost,
        timeout_ms: assignment.timeout_ms,
    }
}

/// Streams what the other node says; gives the last word. Dropping the stream cancels the step.
async fn remote(
    assignment: Assignment,
    channels: &MemberChannels,
    tell: &mpsc::Sender<Progress>,
    cancel: CancellationToken,
) -> Progress {
    let node = assignment.node;
    let mut client = StepsClient::new(channels.to(&peer_of(&node)));
    let trace_id = assignment.trace_id.clone();
    let mut request = Request::new(encode(assignment));
    TraceContext::mark(&trace_id, &mut request);
    let called = tokio::select! {
        called = client.execute_step(request) => called,
        () = cancel.cancelled() => return failed(FailureClass::Node, "cancelled"),
    };
    let mut events = match called {
        Ok(response) => response.into_inner(),
        Err(status) => return refused(&status),
    };
    loop {
        let event = tokio::select! {
            event = events.message() => event,
            () = cancel.cancelled() => return failed(FailureClass::Node, "cancelled"),
        };
        match event {
            Ok(Some(wire::ExecuteStepEvent { event: Some(event) })) => match decode(event, node) {
                last @ (Progress::Done(_) | Progress::Failed(_)) => return last,
                progress => drop(tell.send(progress).await),
            },
            Ok(_) => return failed(FailureClass::Disconnected, "the node broke off"),
            Err(status) => return refused(&status),
        }
    }
}

fn encode(assignment: Assignment) -> wire::ExecuteStepRequest {
    let inputs = assignment.holders.iter().zip(&assignment.producers).map(|(holders, producer)| {
        let holders = holders.iter().map(|origin| peer_of(origin).to_string()).collect();
        wire::Input { holders, action_id: producer.map(|id| id.0.to_vec()).unwrap_or_default() }
    });
    wire::ExecuteStepRequest {
        inputs: inputs.collect(),
        execution_id: assignment.execution_id,
        step_id: assignment.step_id,
        attempt: assignment.attempt,
        action: assignment.action.encode(),
        cache_id: assignment.cache_id.0.to_vec(),
        timeout_ms: assignment.timeout_ms,
        lost_cid: assignment.lost.map(|cid| cid.to_string()).unwrap_or_default(),
    }
}

fn decode(event: Event, node: Origin) -> Progress {
    match event {
        Event::Fetching(_) => Progress::Fetching,
        Event::Running(running) => Progress::Running { progress: running.progress, message: running.message },
        Event::Following(following) => Progress::Following { holder: following.node.parse().unwrap_or(node) },
        Event::Done(done) => match done.cid.parse() {
            Ok(cid) => Progress::Done(Finished {
                cid,
                ms: done.ms,
                content_hash: done.content_hash.try_into().ok(),
                size: done.size,
                reused: done.reused,
                node: done.node.parse().unwrap_or(node),
            }),
            Err(_) => failed(FailureClass::Node, "the node answered with something that is no CID"),
        },
        Event::Failed(told) => {
            let class = match told.class() {
                wire::FailureClass::Input => FailureClass::Input,
                wire::FailureClass::Executor => FailureClass::Executor,
                wire::FailureClass::LostBytes => {
                    let missing = told.missing_cids.iter().filter_map(|cid| cid.parse().ok());
                    FailureClass::LostBytes { missing: missing.collect() }
                }
                wire::FailureClass::Busy => FailureClass::Busy,
                wire::FailureClass::Node | wire::FailureClass::Unspecified => FailureClass::Node,
            };
            Progress::Failed(Failed { class, message: told.message, log: told.log })
        }
    }
}

/// A broken connection is not the node's fault; an answer that refuses is.
fn refused(status: &tonic::Status) -> Progress {
    let class = match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::Internal => {
            FailureClass::Disconnected
        }
        _ => FailureClass::Node,
    };
    failed(class, format!("the node broke off: {}", status.message()))
}

fn failed(class: FailureClass, message: impl Into<String>) -> Progress {
    Progress::Failed(Failed { class, message: message.into(), log: String::new() })
}

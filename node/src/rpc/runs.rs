//! The Runs service: decode, one call, encode.

use std::sync::Arc;

use artdag_proto::v1 as wire;
use tonic::{Request, Response, Status};

use super::{
    answers::{self, Answer, Answers},
    status::{IntoStatus, invalid, parse_cid},
};
use crate::{
    lease::peer_of,
    rpc::trace::TraceContext,
    scheduler::{
        Runs, Submission,
        run::{Event, Happened, Run, RunState, RunView, StepState, StepView},
    },
    task::Tasks,
};

/// Events sent at a time.
const PAGE: usize = 256;
/// Inputs and parameters of one submission.
const GIVEN_MAX: usize = 1024;

/// Serves the runs of this node.
pub struct RunsService {
    runs: Arc<Runs>,
    tasks: Tasks,
}

impl RunsService {
    /// Over these runs.
    #[must_use]
    pub fn new(runs: Arc<Runs>, tasks: Tasks) -> Self {
        Self { runs, tasks }
    }
}

#[tonic::async_trait]
impl wire::runs_server::Runs for RunsService {
    type WatchRunStream = Answers<wire::RunEvent>;
    type ListRunsStream = Answers<wire::Run>;

    async fn submit_run(
        &self,
        request: Request<wire::SubmitRunRequest>,
    ) -> Result<Response<wire::SubmitRunResponse>, Status> {
        let trace = TraceContext::of(&request);
        let submission = decode(request.into_inner(), trace.trace_id)?;
        let view = self.runs.submit(submission).await.map_err(IntoStatus::into_status)?;
        Ok(Response::new(wire::SubmitRunResponse {
            execution_id: view.execution_id,
            run_id: view.run_id.0.to_vec(),
            plan_cid: view.plan.to_string(),
            durability: "local".into(),
        }))
    }

    async fn watch_run(
        &self,
        request: Request<wire::WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        let id = request.into_inner().execution_id;
        let run = self.runs.get(&id).await.map_err(IntoStatus::into_status)?;
        Ok(Response::new(answers::stream(&self.tasks, "watch run", |answers| watch(id, run, answers))))
    }

    async fn cancel_run(
        &self,
        request: Request<wire::CancelRunRequest>,
    ) -> Result<Response<wire::CancelRunResponse>, Status> {
        let id = request.into_inner().execution_id;
        let view = self.runs.cancel(&id).await.map_err(IntoStatus::into_status)?;
        Ok(Response::new(wire::CancelRunResponse { state: run_state(view.state).into() }))
    }

    async fn list_runs(&self, _: Request<wire::ListRunsRequest>) -> Result<Response<Self::ListRunsStream>, Status> {
        let views = self.runs.list().await.map_err(IntoStatus::into_status)?;
        let views = views.into_iter().map(encode_run).collect();
        Ok(Response::new(answers::lines(&self.tasks, "list runs", views)))
    }

    async fn get_run(&self, request: Request<wire::GetRunRequest>) -> Result<Response<wire::Run>, Status> {
        let run = self.runs.get(&request.into_inner().execution_id).await.map_err(IntoStatus::into_status)?;
        Ok(Response::new(encode_run(run.view())))
    }
}

/// All events so far, then the live ones, until the run has ended.
async fn watch(id: String, run: Arc<Run>, answers: Answer<wire::RunEvent>) {
    let mut length = run.watch();
    let mut next = 0;
    loop {
        let (events, open) = run.since(next, PAGE);
        for happened in events {
            let event = encode_event(&id, next, happened);
            if answers.send(Ok(event)).await.is_err() {
                return;
            }
            next += 1;
        }
        if !open {
            return;
        }
        // Fails only when the run is gone, and then nothing more happens in it.
        if length.wait_for(|length| *length > next).await.is_err() {
            return;
        }
    }
}

fn decode(request: wire::SubmitRunRequest, trace_id: String) -> Result<Submission, Status> {
    if request.inputs.len() > GIVEN_MAX || request.parameters.len() > GIVEN_MAX {
        return Err(invalid(format!("more than {GIVEN_MAX} inputs or parameters")));
    }
    let inputs = request.inputs.iter().map(|(name, cid)| Ok((name.clone(), parse_cid(cid)?)));
    let parameters = request.parameters.iter().map(|(name, text)| match serde_json::from_str(text) {
        Ok(value) => Ok((name.clone(), value)),
        Err(_) => Err(invalid(format!("parameter {name}: `{text}` is no JSON value"))),
    });
    Ok(Submission {
        inputs: inputs.collect::<Result<_, Status>>()?,
        parameters: parameters.collect::<Result<_, Status>>()?,
        recipe: request.recipe,
        recipe_name: request.recipe_name,
        seed: request.seed,
        trace_id,
    })
}

fn encode_event(id: &str, sequence: usize, happened: Happened) -> wire::RunEvent {
    let event = match happened.event {
        Event::Step(step) => wire::run_event::Event::Step(encode_step(*step)),
        Event::Run(run) => wire::run_event::Event::Run(encode_run(*run)),
    };
    wire::RunEvent {
        execution_id: id.to_owned(),
        sequence: sequence as u64,
        unix_ms: millis(happened.unix_ms),
        event: Some(event),
    }
}

fn encode_run(view: RunView) -> wire::Run {
    wire::Run {
        execution_id: view.execution_id,
        run_id: view.run_id.0.to_vec(),
        state: run_state(view.state).into(),
        recipe_name: view.recipe_name,
        plan_cid: view.plan.to_string(),
        output_cid: view.output.map(|cid| cid.to_string()).unwrap_or_default(),
        content_hash: view.content_hash.map(Vec::from).unwrap_or_default(),
        created_unix_ms: millis(view.created_unix_ms),
        finished_unix_ms: millis(view.finished_unix_ms),
        message: view.message,
        steps: view.steps.into_iter().map(encode_step).collect(),
        hits: view.hits,
        coordinator: peer_of(&view.coordinator).to_string(),
    }
}

fn encode_step(step: StepView) -> wire::StepStatus {
    wire::StepStatus {
        id: step.id,
        r#type: step.kind,
        state: step_state(step.state).into(),
        node: step.node.map(|origin| peer_of(&origin).to_string()).unwrap_or_default(),
        attempt: step.attempt,
        cid: step.cid.map(|cid| cid.to_string()).unwrap_or_default(),
        ms: step.ms,
        progress: step.progress,
        message: step.message,
        cache_id: step.cache_id.0.to_vec(),
        action_id: step.action_id.map(|id| id.0.to_vec()).unwrap_or_default(),
    }
}

fn run_state(state: RunState) -> wire::RunState {
    match state {
        RunState::Running => wire::RunState::Running,
        RunState::Succeeded => wire::RunState::Succeeded,
        RunState::Failed => wire::RunState::Failed,
        RunState::Cancelled => wire::RunState::Cancelled,
    }
}

fn step_state(state: StepState) -> wire::StepState {
    match state {
        StepState::Waiting => wire::StepState::Waiting,
        StepState::Ready => wire::StepState::Ready,
        StepState::Fetching => wire::StepState::Fetching,
        StepState::Running => wire::StepState::Running,
        StepState::Following => wire::StepState::Following,
        StepState::Succeeded => wire::StepState::Succeeded,
        StepState::Hit => wire::StepState::Hit,
        StepState::Failed => wire::StepState::Failed,
        StepState::Skipped => wire::StepState::Skipped,
    }
}

fn millis(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

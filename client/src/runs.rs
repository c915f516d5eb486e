//! The Runs service: submit a recipe, follow it, stop it.

use std::collections::BTreeMap;

use artdag_proto::v1;
use cid::Cid;
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{
    Answers, Client, Digest, Error,
    names::{answered_optional_cid, optional_cid_text},
};

/// The node takes no larger recipe; said here before it is sent.
const MAX_RECIPE: usize = 1024 * 1024;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Submission {
    /// As written: YAML or JSON.
    pub recipe: Vec<u8>,
    /// The name that error messages use.
    pub recipe_name: String,
    pub inputs: BTreeMap<String, Cid>,
    pub parameters: BTreeMap<String, serde_json::Value>,
    pub seed: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Submitted {
    pub execution_id: String,
    pub run_id: Option<Digest>,
    #[serde(serialize_with = "optional_cid_text")]
    pub plan_cid: Option<Cid>,
    /// `local`: the run lies on this node only.
    pub durability: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl RunState {
    /// Nothing more will happen.
    pub fn is_terminal(self) -> bool {
        self != Self::Running
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Waiting,
    Ready,
    Fetching,
    Running,
    Following,
    Succeeded,
    /// Found in the cache; nothing ran.
    Hit,
    Failed,
    Skipped,
}

impl StepState {
    /// Nothing more will happen to the step.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Hit | Self::Failed | Self::Skipped)
    }

    /// A node works on it now.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Fetching | Self::Running | Self::Following)
    }

    /// As in `--json`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Fetching => "fetching",
            Self::Running => "running",
            Self::Following => "following",
            Self::Succeeded => "succeeded",
            Self::Hit => "hit",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepStatus {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub state: StepState,
    /// Peer id of the node that runs or ran it, or whose result was taken; empty before.
    pub node: String,
    /// From 1; 0 when nothing ran.
    pub attempt: u32,
    #[serde(serialize_with = "optional_cid_text")]
    pub cid: Option<Cid>,
    /// Wall time of the successful attempt.
    pub ms: u64,
    /// 0 to 1.
    pub progress: f64,
    pub message: String,
    pub cache_id: Option<Digest>,
    pub action_id: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    pub execution_id: String,
    pub run_id: Option<Digest>,
    pub state: RunState,
    pub recipe_name: String,
    #[serde(serialize_with = "optional_cid_text")]
    pub plan_cid: Option<Cid>,
    #[serde(serialize_with = "optional_cid_text")]
    pub output_cid: Option<Cid>,
    pub content_hash: Option<Digest>,
    pub created_unix_ms: i64,
    /// 0 while it runs.
    pub finished_unix_ms: i64,
    pub message: String,
    pub steps: Vec<StepStatus>,
    /// Steps found in the cache when the run was planned.
    pub hits: u32,
    /// Peer id of the node that coordinates it.
    pub coordinator: String,
}

/// One thing that happened to a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEvent {
    pub execution_id: String,
    pub sequence: u64,
    pub unix_ms: i64,
    pub news: News,
}

#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Step(StepStatus),
    Run(Run),
}

/// `{"event":"step", execution_id, sequence, unix_ms, step:{…}}`, or `{"event":"run", …the run}`.
impl Serialize for RunEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.news {
            News::Step(step) => {
                let mut line = serializer.serialize_struct("RunEvent", 5)?;
                line.serialize_field("event", "step")?;
                line.serialize_field("execution_id", &self.execution_id)?;
                line.serialize_field("sequence", &self.sequence)?;
                line.serialize_field("unix_ms", &self.unix_ms)?;
                line.serialize_field("step", step)?;
                line.end()
            }
            News::Run(run) => RunLine { event: "run", run }.serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct RunLine<'a> {
    event: &'static str,
    #[serde(flatten)]
    run: &'a Run,
}

impl Client {
    /// Returns once the run is durable as [`Submitted::durability`] says.
    pub async fn submit_run(&self, submission: &Submission) -> Result<Submitted, Error> {
        if submission.recipe.len() > MAX_RECIPE {
            return Err(Error::InvalidInput(format!(
                "{} is larger than a recipe may be ({MAX_RECIPE} bytes)",
                submission.recipe_name
            )));
        }
        let request = v1::SubmitRunRequest {
            recipe: submission.recipe.clone(),
            recipe_name: submission.recipe_name.clone(),
            inputs: as_text(&submission.inputs),
            parameters: as_text(&submission.parameters),
            seed: submission.seed,
        };
        let answer = self.runs_service().submit_run(request).await;
        let answer = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Submitted {
            execution_id: answer.execution_id,
            run_id: Digest::parse(&answer.run_id)?,
            plan_cid: answered_optional_cid(&answer.plan_cid)?,
            durability: answer.durability,
        })
    }

    /// All events from the start, then the live ones, until the run ends.
    pub async fn watch_run(&self, execution_id: &str) -> Result<Answers<RunEvent>, Error> {
        let request = v1::WatchRunRequest { execution_id: execution_id.to_owned() };
        let answer = self.runs_service().watch_run(request).await;
        let stream = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Answers::new(self.url_shared(), stream, parse_event))
    }

    /// Follows a run to its end and returns it as it then is.
    pub async fn follow_run(
        &self,
        execution_id: &str,
        on_event: &mut (dyn FnMut(&RunEvent) -> Result<(), Error> + Send),
    ) -> Result<Run, Error> {
        let mut events = self.watch_run(execution_id).await?;
        while let Some(event) = events.next().await? {
            match event.news {
                News::Run(run) if run.state.is_terminal() && !run.steps.is_empty() => {
                    return Ok(run);
                }
                News::Run(run) if run.state.is_terminal() => break,
                _ => on_event(&event)?,
            }
        }
        let run = self.get_run(execution_id).await?;
        if run.state.is_terminal() {
            return Ok(run);
        }
        Err(Error::TryLater(format!("the node stopped telling about run {execution_id}")))
    }

    pub async fn list_runs(&self) -> Result<Answers<Run>, Error> {
        let answer = self.runs_service().list_runs(v1::ListRunsRequest {}).await;
        let stream = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Answers::new(self.url_shared(), stream, parse_run))
    }

    pub async fn get_run(&self, execution_id: &str) -> Result<Run, Error> {
        let request = v1::GetRunRequest { execution_id: execution_id.to_owned() };
        let answer = self.runs_service().get_run(request).await;
        parse_run(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// The state it has then: a run that had ended keeps its own.
    pub async fn cancel_run(&self, execution_id: &str) -> Result<RunState, Error> {
        let request = v1::CancelRunRequest { execution_id: execution_id.to_owned() };
        let answer = self.runs_service().cancel_run(request).await;
        parse_run_state(answer.map_err(|status| self.failed(&status))?.into_inner().state())
    }
}

fn as_text<V: ToString>(values: &BTreeMap<String, V>) -> std::collections::HashMap<String, String> {
    values.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
}

fn parse_event(event: v1::RunEvent) -> Result<RunEvent, Error> {
    let news = match event.event {
        Some(v1::run_event::Event::Step(step)) => News::Step(parse_step(step)?),
        Some(v1::run_event::Event::Run(run)) => News::Run(parse_run(run)?),
        None => return Err(Error::Answer("an event that says nothing".to_owned())),
    };
    Ok(RunEvent { execution_id: event.execution_id, sequence: event.sequence, unix_ms: event.unix_ms, news })
}

fn parse_run(run: v1::Run) -> Result<Run, Error> {
    Ok(Run {
        state: parse_run_state(run.state())?,
        run_id: Digest::parse(&run.run_id)?,
        plan_cid: answered_optional_cid(&run.plan_cid)?,
        output_cid: answered_optional_cid(&run.output_cid)?,
        content_hash: Digest::parse(&run.content_hash)?,
        steps: run.steps.into_iter().map(parse_step).collect::<Result<_, _>>()?,
        execution_id: run.execution_id,
        recipe_name: run.recipe_name,
        created_unix_ms: run.created_unix_ms,
        finished_unix_ms: run.finished_unix_ms,
        message: run.message,
        hits: run.hits,
        coordinator: run.coordinator,
    })
}

fn parse_step(step: v1::StepStatus) -> Result<StepStatus, Error> {
    Ok(StepStatus {
        state: parse_step_state(step.state())?,
        cid: answered_optional_cid(&step.cid)?,
        cache_id: Digest::parse(&step.cache_id)?,
        action_id: Digest::parse(&step.action_id)?,
        progress: if step.progress.is_finite() { step.progress.clamp(0.0, 1.0) } else { 0.0 },
        id: step.id,
        kind: step.r#type,
        node: step.node,
        attempt: step.attempt,
        ms: step.ms,
        message: step.message,
    })
}

fn parse_run_state(state: v1::RunState) -> Result<RunState, Error> {
    match state {
        v1::RunState::Running => Ok(RunState::Running),
        v1::RunState::Succeeded => Ok(RunState::Succeeded),
        v1::RunState::Failed => Ok(RunState::Failed),
        v1::RunState::Cancelled => Ok(RunState::Cancelled),
        v1::RunState::Unspecified => Err(Error::Answer("a run in no state".to_owned())),
    }
}

fn parse_step_state(state: v1::StepState) -> Result<StepState, Error> {
    match state {
        v1::StepState::Waiting => Ok(StepState::Waiting),
        v1::StepState::Ready => Ok(StepState::Ready),
        v1::StepState::Fetching => Ok(StepState::Fetching),
        v1::StepState::Running => Ok(StepState::Running),
        v1::StepState::Following => Ok(StepState::Following),
        v1::StepState::Succeeded => Ok(StepState::Succeeded),
        v1::StepState::Hit => Ok(StepState::Hit),
        v1::StepState::Failed => Ok(StepState::Failed),
        v1::StepState::Skipped => Ok(StepState::Skipped),
        v1::StepState::Unspecified => Err(Error::Answer("a step in no state".to_owned())),
    }
}

//! A plan and its bytes.
//!
//! # Bytes
//!
//! dag-cbor of the fields of [`Plan`] under their names, map keys by length and then bytewise;
//! ids as byte strings of 32, CIDs as links, a step's input as `{source: id}` or `{step: id}`.
//!
//! What always holds of a decoded plan: the bytes are the canonical ones; ids are unique; a step's
//! inputs are sources or steps before it; every executor is of the step's type and of the plan's
//! toolset and threads; every config is in the normal form of its type; the output exists.
//! Whether the cache ids are the right ones only a holder of the namespace can say:
//! [`Plan::names_hold`].

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;
use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use super::PLANNER_VERSION;
use crate::action::Executor;
use crate::identity::{self, CacheId, InputKey, Namespace, PlanId, RunId};
use crate::limits::{MAX_NODES, MAX_PLAN_BYTES, MAX_STEP_INPUTS};
use crate::recipe::{NodeType, is_name};

/// What is to be run: an object with a CID of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Of the planner that made it.
    pub version: u32,
    /// The recipe's.
    pub name: String,
    /// The recipe file.
    pub recipe: Cid,
    /// Every input given, by name.
    pub inputs: BTreeMap<String, Cid>,
    /// Every parameter with its value.
    pub parameters: BTreeMap<String, Ipld>,
    /// Decided what is random.
    pub seed: u64,
    /// Pinned for all steps: `ffmpeg-5.1`.
    pub toolset: String,
    /// Pinned for all steps.
    pub threads: u32,
    /// What it follows from.
    pub plan_id: PlanId,
    /// What was asked for.
    pub run_id: RunId,
    /// The contents it starts from.
    pub sources: Vec<PlanSource>,
    /// Inputs first.
    pub steps: Vec<Step>,
    /// The id of the step, or of the source, that is asked for.
    pub output: String,
}

/// A content that steps start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSource {
    /// The node's id in the recipe.
    pub id: String,
    /// The input's name.
    pub input: String,
    /// The content.
    pub cid: Cid,
}

/// One computation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The node's id in the recipe; enters no name.
    pub id: String,
    /// What is done.
    #[serde(rename = "type")]
    pub kind: NodeType,
    /// By what: the text of an [`Executor`].
    pub executor: String,
    /// Normalised.
    pub config: Ipld,
    /// In order.
    pub inputs: Vec<StepInput>,
    /// Its name.
    pub cache_id: CacheId,
}

/// Where a step's input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepInput {
    /// A source of the plan, by id.
    Source(String),
    /// The output of a step before, by id.
    Step(String),
}

impl StepInput {
    /// The id, of whichever.
    pub fn id(&self) -> &str {
        match self {
            Self::Source(id) | Self::Step(id) => id,
        }
    }
}

/// Why bytes are not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a plan: {0}")]
pub struct NotAPlan(String);

impl Plan {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let ipld = ipld_core::serde::to_ipld(self).expect("every field has a place in the data model");
        identity::encode(&ipld)
    }

    /// The plan in bytes from a disk or a peer.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAPlan> {
        if bytes.len() > MAX_PLAN_BYTES {
            return Err(NotAPlan(format!("more than {MAX_PLAN_BYTES} bytes")));
        }
        let plan: Self = serde_ipld_dagcbor::from_slice(bytes).map_err(|error| NotAPlan(error.to_string()))?;
        plan.check().map_err(NotAPlan)?;
        if plan.encode() != bytes {
            return Err(NotAPlan("the encoding is not the canonical one".to_owned()));
        }
        Ok(plan)
    }

    fn check(&self) -> Result<(), String> {
        if self.version != PLANNER_VERSION {
            return Err(format!("version {}, this is {PLANNER_VERSION}", self.version));
        }
        if self.steps.len() + self.sources.len() > MAX_NODES {
            return Err(format!("more than {MAX_NODES} nodes"));
        }
        if !self.parameters.values().all(plain) {
            return Err("a parameter is not a plain value".to_owned());
        }
        let mut before = BTreeSet::new();
        for source in &self.sources {
            new_id(&source.id, &mut before)?;
        }
        let sources = before.clone();
        for step in &self.steps {
            self.check_step(step, &sources, &before)?;
            new_id(&step.id, &mut before)?;
        }
        if !before.contains(self.output.as_str()) {
            return Err(format!("no step {:?}", self.output));
        }
        Ok(())
    }

    fn check_step(&self, step: &Step, sources: &BTreeSet<&str>, before: &BTreeSet<&str>) -> Result<(), String> {
        let refused = |message: &str| Err(format!("step {:?}: {message}", step.id));
        let Ok(executor) = step.executor.parse::<Executor>() else {
            return refused("an unknown executor");
        };
        let pinned = executor.toolset.to_string() == self.toolset && executor.threads == self.threads;
        if executor.kind != step.kind || step.kind == NodeType::Source || !pinned {
            return refused("an executor of another kind, toolset or number of threads");
        }
        if step.inputs.len() > MAX_STEP_INPUTS {
            return refused("too many inputs");
        }
        for input in &step.inputs {
            let known = match input {
                StepInput::Source(id) => sources.contains(id.as_str()),
                StepInput::Step(id) => before.contains(id.as_str()) && !sources.contains(id.as_str()),
            };
            if !known {
                return refused("an input that is not before it");
            }
        }
        step.kind
            .check_normalised(&step.config, step.inputs.len(), &executor.toolset.name)
            .map_err(|message| format!("step {:?}: {message}", step.id))
    }

    /// Whether every cache id is the one that this namespace gives.
    pub fn names_hold(&self, namespace: &Namespace) -> bool {
        let mut keys: BTreeMap<&str, InputKey> = BTreeMap::new();
        for source in &self.sources {
            keys.insert(&source.id, InputKey::Source(source.cid));
        }
        self.steps.iter().all(|step| {
            let inputs = step.inputs.iter().map(|input| keys.get(input.id()).copied());
            let Some(inputs) = inputs.collect::<Option<Vec<_>>>() else {
                return false;
            };
            let name = step.kind.name();
            let id = identity::cache_id(namespace, name, &step.executor, &step.config, &inputs);
            keys.insert(&step.id, InputKey::Step(step.cache_id));
            id == step.cache_id
        })
    }
}

fn new_id<'a>(id: &'a str, known: &mut BTreeSet<&'a str>) -> Result<(), String> {
    if !is_name(id) || !known.insert(id) {
        return Err(format!("the id {id:?} is not a name or stands twice"));
    }
    Ok(())
}

/// What a parameter may be, and what dag-cbor can say.
fn plain(value: &Ipld) -> bool {
    match value {
        Ipld::Null | Ipld::Bool(_) | Ipld::String(_) => true,
        Ipld::Integer(number) => i64::try_from(*number).is_ok() || u64::try_from(*number).is_ok(),
        Ipld::Float(number) => number.is_finite(),
        Ipld::Bytes(_) | Ipld::List(_) | Ipld::Map(_) | Ipld::Link(_) => false,
    }
}

//! From a recipe and its inputs to a plan: the steps the output needs, each with its name.
//!
//! What always holds of a plan made here: steps stand in an order in which inputs come first, and
//! among equals in the order of the recipe; only what the output needs is in it; every cache id is
//! known before anything runs; equal requests give equal bytes. A SEQUENCE of one input is that
//! input. One toolset and one number of threads are pinned for all steps.
//! What this file does not do: look anything up, choose nodes, or merge steps that mean the same
//! (the lease of their common action does).

mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;

pub use plan::{NotAPlan, Plan, PlanSource, Step, StepInput};

use crate::action::{Executor, Toolset};
use crate::identity::{self, InputKey, Namespace, PlanBasis};
use crate::limits::{MAX_PLAN_BYTES, MAX_THREADS};
use crate::recipe::{self, Bound, Node, NodeType, Recipe, RecipeErrors};

/// Goes up when the same request comes to give another plan.
pub const PLANNER_VERSION: u32 = 1;

/// Everything a plan follows from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is asked for.
    pub recipe: &'a Recipe,
    /// The content of the recipe file.
    pub recipe_cid: Cid,
    /// Input name to content; names the recipe does not declare are refused.
    pub inputs: &'a BTreeMap<String, Cid>,
    /// Parameter name to value; the rest take their defaults.
    pub parameters: &'a BTreeMap<String, serde_json::Value>,
    /// Decides what is random.
    pub seed: u64,
    /// What every name is made under.
    pub namespace: &'a Namespace,
    /// Pinned for all steps; its name must be the recipe's.
    pub toolset: &'a Toolset,
    /// Pinned for all steps, 1 to [`MAX_THREADS`].
    pub threads: u32,
}

/// Why there is no plan. Every message says what to give instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The recipe is wrong with these parameters.
    #[error(transparent)]
    Recipe(#[from] RecipeErrors),
    /// Inputs or parameters are missing, unknown or unfit.
    #[error("{}", .0.join("\n"))]
    Request(Vec<String>),
    /// No such tools here.
    #[error("the recipe wants the toolset {wanted}, the plan would pin {pinned}: write toolset: {} in the recipe or use a node that has {wanted}", pinned.name)]
    Toolset {
        /// What the recipe names.
        wanted: String,
        /// What the request pins.
        pinned: Toolset,
    },
    /// One block could not hold it.
    #[error("the plan is {0} bytes, at most {MAX_PLAN_BYTES} are allowed: write several smaller recipes")]
    TooLarge(usize),
}

/// Makes the plan.
pub fn plan(request: &Request<'_>) -> Result<Plan, PlanError> {
    let recipe = request.recipe;
    if request.toolset.name != recipe.toolset {
        return Err(PlanError::Toolset { wanted: recipe.toolset.clone(), pinned: request.toolset.clone() });
    }
    let bound = bound(request)?;
    let nodes = needed(recipe);
    missing_inputs(request, &nodes)?;
    let mut lowering = Lowering::new(request, &bound);
    for node in nodes {
        lowering.node(node);
    }
    let plan = lowering.finish()?;
    match plan.encode().len() {
        length if length > MAX_PLAN_BYTES => Err(PlanError::TooLarge(length)),
        _ => Ok(plan),
    }
}

fn bound(request: &Request<'_>) -> Result<Bound, PlanError> {
    let mut errors = recipe::unknown_inputs(request.recipe, request.inputs);
    if !(1..=MAX_THREADS).contains(&request.threads) {
        errors.push(format!("{} threads: give 1 to {MAX_THREADS}", request.threads));
    }
    match request.recipe.bind(request.parameters) {
        Ok(bound) if errors.is_empty() => Ok(bound),
        Ok(_) => Err(PlanError::Request(errors)),
        Err(more) => Err(PlanError::Request(errors.into_iter().chain(more).collect())),
    }
}

/// The nodes the output needs, inputs first, else in the order of the recipe.
fn needed(recipe: &Recipe) -> Vec<&Node> {
    let by_id: BTreeMap<&str, &Node> = recipe.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut wanted = BTreeSet::from([recipe.output.as_str()]);
    let mut unseen = vec![recipe.output.as_str()];
    while let Some(id) = unseen.pop() {
        for input in by_id.get(id).map_or(&[][..], |node| &node.inputs) {
            if wanted.insert(input) {
                unseen.push(input);
            }
        }
    }
    let order = recipe::order(&recipe.nodes).expect("a parsed recipe has no cycle");
    let nodes = order.into_iter().map(|index| &recipe.nodes[index]);
    nodes.filter(|node| wanted.contains(node.id.as_str())).collect()
}

fn missing_inputs(request: &Request<'_>, nodes: &[&Node]) -> Result<(), PlanError> {
    let names: BTreeSet<&str> = nodes.iter().filter_map(|node| node.source_input()).collect();
    let missing = names.into_iter().filter(|name| !request.inputs.contains_key(*name));
    let say = |name: &str| {
        let what = request.recipe.inputs.get(name).filter(|text| !text.is_empty());
        let what = what.map_or(String::new(), |text| format!(" ({text})"));
        format!("input {name:?}{what} is missing: give {name}=PATH or {name}=CID")
    };
    let missing: Vec<String> = missing.map(say).collect();
    if missing.is_empty() { Ok(()) } else { Err(PlanError::Request(missing)) }
}

/// The plan while it is made.
struct Lowering<'a> {
    request: &'a Request<'a>,
    bound: &'a Bound,
    sources: Vec<PlanSource>,
    steps: Vec<Step>,
    /// For each node: what stands for it, and the key under which others name it.
    known: BTreeMap<&'a str, (StepInput, InputKey)>,
    errors: Vec<recipe::RecipeError>,
}

impl<'a> Lowering<'a> {
    fn new(request: &'a Request<'a>, bound: &'a Bound) -> Self {
        Self { request, bound, sources: Vec::new(), steps: Vec::new(), known: BTreeMap::new(), errors: Vec::new() }
    }

    fn node(&mut self, node: &'a Node) {
        let config = self.request.recipe.normal_config(node, self.bound, self.request.seed);
        let config = match config {
            Ok(config) => config,
            Err(errors) => return self.errors.extend(errors),
        };
        // Absent only after an error in an input's config, and then no plan comes of it.
        let inputs = node.inputs.iter().map(|id| self.known.get(id.as_str()).cloned());
        let Some(inputs) = inputs.collect::<Option<Vec<_>>>() else {
            return;
        };
        let known = match (node.kind, inputs.as_slice()) {
            (NodeType::Source, _) => self.source(node),
            (NodeType::Sequence, [only]) => Some(only.clone()),
            _ => Some(self.step(node, config, inputs)),
        };
        if let Some(known) = known {
            self.known.insert(&node.id, known);
        }
    }

    fn source(&mut self, node: &Node) -> Option<(StepInput, InputKey)> {
        let input = node.source_input()?;
        let cid = *self.request.inputs.get(input)?;
        self.sources.push(PlanSource { id: node.id.clone(), input: input.to_owned(), cid });
        Some((StepInput::Source(node.id.clone()), InputKey::Source(cid)))
    }

    fn step(
        &mut self,
        node: &Node,
        config: ipld_core::ipld::Ipld,
        inputs: Vec<(StepInput, InputKey)>,
    ) -> (StepInput, InputKey) {
        let executor =
            Executor { kind: node.kind, threads: self.request.threads, toolset: self.request.toolset.clone() };
        let executor = executor.to_string();
        let (inputs, keys): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
        let namespace = self.request.namespace;
        let cache_id = identity::cache_id(namespace, node.kind.name(), &executor, &config, &keys);
        let id = node.id.clone();
        self.steps.push(Step { id: id.clone(), kind: node.kind, executor, config, inputs, cache_id });
        (StepInput::Step(id), InputKey::Step(cache_id))
    }

    fn finish(self) -> Result<Plan, PlanError> {
        let request = self.request;
        let output = self.known.get(request.recipe.output.as_str());
        let (true, Some((output, _))) = (self.errors.is_empty(), output) else {
            return Err(RecipeErrors::new(&request.recipe.file, self.errors).into());
        };
        let parameters = self.bound.to_ipld();
        let toolset = request.toolset.to_string();
        let plan_id = identity::plan_id(&PlanBasis {
            recipe: &request.recipe_cid,
            inputs: request.inputs,
            parameters: &parameters,
            analysis: &[],
            seed: request.seed,
            toolset: &toolset,
            threads: request.threads,
            planner: PLANNER_VERSION,
        });
        let run_id =
            identity::run_id(request.namespace, &request.recipe_cid, request.inputs, &parameters, request.seed);
        Ok(Plan {
            version: PLANNER_VERSION,
            name: request.recipe.name.clone(),
            recipe: request.recipe_cid,
            inputs: request.inputs.clone(),
            parameters,
            seed: request.seed,
            toolset,
            threads: request.threads,
            plan_id,
            run_id,
            sources: self.sources,
            steps: self.steps,
            output: output.id().to_owned(),
        })
    }
}

//! From a submission to a plan: parse, choose the toolset, plan, store recipe and plan.

use artdag_blockstore::{AddError, Block, Store};
use artdag_core::{
    action::Toolset,
    planner::{self, Plan},
    recipe::{self, Recipe},
};
use cid::Cid;

use super::{
    RunError, RunsArgs, Submission,
    run::{RunState, RunView, StepState, StepView},
};
use crate::{clock, entropy, task::blocking};

/// Threads of every step. Pinned, since another number gives other bytes (ffmpeg's encoders).
const STEP_THREADS: u32 = 2;

/// Plans the submission; what it stores is durable, the run itself is not yet.
pub async fn prepare(args: &RunsArgs, submission: Submission) -> Result<(Plan, RunView), RunError> {
    let recipe = recipe::parse(&submission.recipe, &submission.recipe_name)
        .map_err(|errors| RunError::Recipe(errors.to_string()))?;
    let toolset = choose_toolset(args, &recipe)?;
    let recipe_cid = store_recipe(&args.store, submission.recipe).await?;
    let plan = planner::plan(&planner::Request {
        recipe: &recipe,
        recipe_cid,
        inputs: &submission.inputs,
        parameters: &submission.parameters,
        seed: submission.seed,
        namespace: &args.namespace,
        toolset: &toolset,
        threads: STEP_THREADS,
    })
    .map_err(|error| RunError::Input(error.to_string()))?;
    let plan_cid = store_plan(&args.store, &plan).await?;
    let view = view(args, &recipe, &plan, plan_cid);
    Ok((plan, view))
}

/// The version that most members offer, this node's own first, so that a plan pins one that can
/// run in as many places as possible.
fn choose_toolset(args: &RunsArgs, recipe: &Recipe) -> Result<Toolset, RunError> {
    let offers = args.directory.offers();
    let named = |text: &String| text.parse::<Toolset>().ok().filter(|toolset| toolset.name == recipe.toolset);
    let mut candidates: Vec<(usize, bool, Toolset)> = Vec::new();
    for offer in &offers {
        for toolset in offer.toolsets.iter().filter_map(named) {
            match candidates.iter_mut().find(|(_, _, known)| *known == toolset) {
                Some((count, own, _)) => {
                    *count += 1;
                    *own |= offer.origin == args.own;
                }
                None => candidates.push((1, offer.origin == args.own, toolset)),
            }
        }
    }
    let best = candidates.into_iter().max_by(|a, b| (a.1, a.0, &a.2).cmp(&(b.1, b.0, &b.2)));
    best.map(|(_, _, toolset)| toolset).ok_or_else(|| {
        let how = if recipe.toolset == "ffmpeg" { "; install it with: apt-get install ffmpeg" } else { "" };
        RunError::Toolset(format!("no node of this cluster has the toolset {}{how}", recipe.toolset))
    })
}

async fn store_recipe(store: &Store, text: Vec<u8>) -> Result<Cid, AddError> {
    let store = store.clone();
    // A recipe is smaller than a chunk, so its file is one raw block.
    let block = Block::raw(text)?;
    let cid = *block.cid();
    blocking(move || store.put(&[block])).await?;
    Ok(cid)
}

async fn store_plan(store: &Store, plan: &Plan) -> Result<Cid, RunError> {
    let block = Block::named("dag-cbor", "sha2-256", plan.encode())
        .map_err(|error| RunError::Input(format!("the plan is too large to store: {error}")))?;
    let (cid, store) = (*block.cid(), store.clone());
    blocking(move || store.put(&[block])).await?;
    Ok(cid)
}

fn view(args: &RunsArgs, recipe: &Recipe, plan: &Plan, plan_cid: Cid) -> RunView {
    let steps = plan.steps.iter().map(|step| StepView {
        id: step.id.clone(),
        kind: step.kind.to_string(),
        state: StepState::Waiting,
        node: None,
        attempt: 0,
        cid: None,
        ms: 0,
        progress: 0.0,
        message: String::new(),
        cache_id: step.cache_id,
        action_id: None,
    });
    RunView {
        execution_id: new_execution_id(),
        run_id: plan.run_id,
        state: RunState::Running,
        recipe_name: recipe.name.clone(),
        plan: plan_cid,
        output: None,
        content_hash: None,
        created_unix_ms: clock::unix_ms(),
        finished_unix_ms: 0,
        message: String::new(),
        steps: steps.collect(),
        hits: 0,
        coordinator: args.own,
    }
}

/// Unique for all time; short enough to type.
fn new_execution_id() -> String {
    hex::encode(entropy::random::<8>())
}

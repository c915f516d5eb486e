//! Follows a run to its end: for `run --follow` and `runs watch`.
//!
//! stdout gets the events as JSON, or in text the output's CID alone, so that it can be piped.
//! Going away cancels nothing.

use anyhow::bail;
use artdag_client::{Client, Error, News, Run, RunEvent, RunState, StepState, board::StepBoard, printable};

use super::{Session, add::eprintln_quietly, runs::word};
use crate::output::Format;

pub(super) async fn follow(session: &Session, client: &Client, execution_id: &str) -> anyhow::Result<()> {
    session.if_interrupted_say(format!(
        "run {execution_id} goes on; artdag runs watch {execution_id} follows it, \
         artdag runs cancel {execution_id} stops it"
    ));
    let names = node_names(client).await;
    let mut board = (session.output.format() == Format::Text).then(|| StepBoard::new(names));
    let mut refused = None;
    let followed = client
        .follow_run(execution_id, &mut |event| match &mut board {
            Some(board) => {
                board.show(event);
                Ok(())
            }
            None => session.output.show(event, |_| String::new()).map_err(|error| {
                refused = Some(error);
                Error::InvalidInput("the output was refused".to_owned())
            }),
        })
        .await;
    drop(board);
    match refused {
        Some(error) => Err(error),
        None => conclude(session, followed?),
    }
}

/// Last the run itself; a run that did not succeed is an error that says which step and why.
fn conclude(session: &Session, run: Run) -> anyhow::Result<()> {
    let event = RunEvent {
        execution_id: run.execution_id.clone(),
        sequence: 0,
        unix_ms: run.finished_unix_ms,
        news: News::Run(run.clone()),
    };
    let output = run.output_cid.map(|cid| cid.to_string());
    match (session.output.format(), &output) {
        (Format::Text, None) => {}
        (Format::Text, Some(_)) | (Format::Json, _) => {
            session.output.show(&event, |_| output.unwrap_or_default())?;
        }
    }
    if run.state != RunState::Succeeded {
        bail!("{}", failure(&run));
    }
    if session.output.format() == Format::Text {
        let hits = run.steps.iter().filter(|step| step.state == StepState::Hit).count();
        eprintln_quietly(&format!("{} steps, {hits} of them hits", run.steps.len()));
    }
    Ok(())
}

fn failure(run: &Run) -> String {
    let mut text = format!("run {} {}", run.execution_id, word(run.state));
    if !run.message.is_empty() {
        text.push_str(&format!(": {}", printable(&run.message)));
    }
    for step in run.steps.iter().filter(|step| step.state == StepState::Failed) {
        text.push_str(&format!("\n  step {}: {}", step.id, printable(&step.message)));
    }
    text
}

/// `self` for the node we speak to; the others go by the end of their ids.
async fn node_names(client: &Client) -> std::collections::BTreeMap<String, String> {
    let nodes = client.nodes().await.unwrap_or_default();
    let own = nodes.into_iter().filter(|node| node.is_self);
    own.map(|node| (node.peer_id, "self".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use artdag_client::{Digest, StepStatus};

    fn failed_run() -> Run {
        let step = StepStatus {
            id: "graded".to_owned(),
            kind: "TRANSFORM".to_owned(),
            state: StepState::Failed,
            node: "12D3KooWx".to_owned(),
            attempt: 2,
            cid: None,
            ms: 0,
            progress: 0.0,
            message: "not media".to_owned(),
            cache_id: Some(Digest([1; 32])),
            action_id: None,
        };
        Run {
            execution_id: "e1".to_owned(),
            run_id: Some(Digest([2; 32])),
            state: RunState::Failed,
            recipe_name: "film.yaml".to_owned(),
            plan_cid: None,
            output_cid: None,
            content_hash: None,
            created_unix_ms: 5,
            finished_unix_ms: 6,
            message: "a step failed".to_owned(),
            steps: vec![step],
            hits: 0,
            coordinator: "12D3KooWy".to_owned(),
        }
    }

    #[test]
    fn a_failure_names_the_step_and_the_reason() {
        assert_eq!(failure(&failed_run()), "run e1 failed: a step failed\n  step graded: not media");
    }

    #[test]
    fn the_last_line_has_the_documented_json() {
        let run = failed_run();
        let event = RunEvent { execution_id: run.execution_id.clone(), sequence: 9, unix_ms: 6, news: News::Run(run) };
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        assert_eq!(
            serde_json::to_string(&event).expect("serialises"),
            format!(
                "{{\"event\":\"run\",\"execution_id\":\"e1\",\"run_id\":\"{two}\",\
                 \"state\":\"failed\",\"recipe_name\":\"film.yaml\",\"plan_cid\":null,\
                 \"output_cid\":null,\"content_hash\":null,\"created_unix_ms\":5,\
                 \"finished_unix_ms\":6,\"message\":\"a step failed\",\"steps\":[{{\
                 \"id\":\"graded\",\"type\":\"TRANSFORM\",\"state\":\"failed\",\
                 \"node\":\"12D3KooWx\",\"attempt\":2,\"cid\":null,\"ms\":0,\"progress\":0.0,\
                 \"message\":\"not media\",\"cache_id\":\"{one}\",\"action_id\":null}}],\
                 \"hits\":0,\"coordinator\":\"12D3KooWy\"}}"
            )
        );
    }

    #[test]
    fn a_step_event_has_the_documented_json() {
        let step = failed_run().steps.remove(0);
        let event = RunEvent { execution_id: "e1".to_owned(), sequence: 3, unix_ms: 4, news: News::Step(step) };
        let line = serde_json::to_value(&event).expect("serialises");
        assert_eq!(line["event"], "step");
        assert_eq!(line["sequence"], 3);
        assert_eq!(line["step"]["type"], "TRANSFORM");
        assert_eq!(line["step"]["state"], "failed");
    }
}

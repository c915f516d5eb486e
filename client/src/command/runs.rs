//! `artdag runs ls|show|watch|cancel`.

use artdag_client::{Run, RunState, printable, short_peer, step_line};
use clap::Subcommand;
use serde_json::json;

use super::{Session, follow::follow};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the runs this node knows
    Ls,
    /// Show a run with its steps
    Show { execution_id: String },
    /// Show the steps as they happen and wait for the end
    Watch { execution_id: String },
    /// Stop a run and the steps it started
    Cancel { execution_id: String },
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let (client, output) = (session.client().await?, &session.output);
        match self.action {
            Action::Ls => {
                let mut runs = client.list_runs().await?;
                while let Some(run) = runs.next().await? {
                    output.show(&run, headline)?;
                }
                Ok(())
            }
            Action::Show { execution_id } => output.show(&client.get_run(&execution_id).await?, details),
            Action::Watch { execution_id } => follow(session, &client, &execution_id).await,
            Action::Cancel { execution_id } => {
                let state = client.cancel_run(&execution_id).await?;
                let line = json!({ "execution_id": execution_id, "state": state });
                output.show(&line, |_| format!("{execution_id} {}", word(state)))
            }
        }
    }
}

fn headline(run: &Run) -> String {
    let output = run.output_cid.map_or(String::new(), |cid| cid.to_string());
    let line = format!("{} {:9} {} {output}", run.execution_id, word(run.state), run.recipe_name);
    printable(&line).trim_end().to_owned()
}

fn details(run: &Run) -> String {
    let mut lines = vec![headline(run)];
    if !run.message.is_empty() {
        lines.push(printable(&run.message));
    }
    for step in &run.steps {
        lines.push(format!("  {}", step_line(step, &short_peer(&step.node))));
    }
    lines.join("\n")
}

pub(super) fn word(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Succeeded => "succeeded",
        RunState::Failed => "failed",
        RunState::Cancelled => "cancelled",
    }
}

//! `artdag`: the command line of a node.
//!
//! stdout carries data only; progress and errors go to stderr. Exit codes: 0 ok, 1 failure,
//! 2 usage, 130 and 143 when interrupted or terminated. A reader that goes away ends the command
//! quietly. It decides nothing: every command is a call or two of the client library.

mod command;
mod output;

use std::{io::Write, process::ExitCode, time::Duration};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use command::{Command, Session};
use output::{Format, Output, ReaderGone};

/// How long a thread may take to remove what it had begun before we leave anyway.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(3);
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Adds and reads content, runs recipes and looks after a node
#[derive(Debug, Parser)]
#[command(name = "artdag", version, max_term_width = 100)]
struct Cli {
    /// The node to speak to
    #[arg(
        long,
        global = true,
        env = artdag_client::NODE_VARIABLE,
        default_value = artdag_client::DEFAULT_NODE,
        value_name = "URL"
    )]
    node: String,
    /// Print JSON: one object per line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = if cli.json { Format::Json } else { Format::Text };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format, &error.into()),
    };
    // An empty variable means the same as none.
    let node = if cli.node.is_empty() { artdag_client::DEFAULT_NODE.to_owned() } else { cli.node };
    let session = Session::new(node, Output::new(format));
    let code = runtime.block_on(run_or_stop(cli.command, &session));
    // Threads that clean up get their time; one that waits for stdin does not hold us.
    runtime.shutdown_timeout(CLEAN_UP_LIMIT);
    code
}

async fn run_or_stop(command: Command, session: &Session) -> ExitCode {
    let stopped = tokio::select! {
        outcome = command.run(session) => {
            return match outcome {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(session.output.format(), &error),
            };
        }
        code = stop_signal() => code,
    };
    let words = session.parting_words();
    if !words.is_empty() {
        let _ = writeln!(std::io::stderr(), "{words}");
    }
    ExitCode::from(stopped)
}

/// Resolves when the user or the system wants us to stop.
async fn stop_signal() -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals keep their usual effect.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => INTERRUPTED,
        _ = terminate.recv() => TERMINATED,
    }
}

fn fail(format: Format, error: &anyhow::Error) -> ExitCode {
    if error.chain().any(|cause| cause.is::<ReaderGone>()) {
        return ExitCode::SUCCESS;
    }
    let line = match format {
        Format::Text => format!("error: {error:#}"),
        Format::Json => {
            let kind = error.downcast_ref::<artdag_client::Error>().map_or("failed", |e| e.kind());
            let message = format!("{error:#}");
            serde_json::json!({ "error": { "kind": kind, "message": message } }).to_string()
        }
    };
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.replace("CID", CID).split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_manual_says_parses() {
        let lines = [
            "artdag add film.mp4",
            "artdag add -r folder --json",
            "artdag --json add --hidden --no-pin -r folder",
            "artdag get CID -o out",
            "artdag get /ipfs/CID/a/b",
            "artdag cat CID --offset 5 --length 10",
            "artdag ls CID",
            "artdag stat ipfs://CID",
            "artdag pin add CID --name film",
            "artdag pin rm CID",
            "artdag pin ls",
            "artdag block get CID -o block",
            "artdag block put",
            "artdag block put file --codec dag-cbor --multihash sha2-256",
            "artdag block stat CID",
            "artdag public add CID",
            "artdag public rm CID",
            "artdag public ls",
            "artdag run film.yaml -i clip=clip.mp4 -i logo=CID -p warmth=1.2 --seed 7 --follow",
            "artdag runs ls",
            "artdag runs show 0123",
            "artdag runs watch 0123",
            "artdag runs cancel 0123",
            "artdag nodes --node http://127.0.0.1:9",
            "artdag records ls --limit 5",
            "artdag records get abababababababababababababababababababababababababababababababab",
        ];
        for line in lines {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        let lines = [
            "artdag",
            "artdag add",
            "artdag get",
            "artdag get not-a-cid",
            "artdag cat CID --offset -1",
            "artdag stat CID/../x",
            "artdag run r.yaml -i clip",
            "artdag run r.yaml -i =x",
            "artdag run r.yaml -p x",
            "artdag run r.yaml -i a=1 --seed minus",
            "artdag records get abc",
            "artdag frobnicate",
        ];
        for line in lines {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn json_and_node_stand_anywhere() {
        for line in ["artdag --json nodes", "artdag nodes --json", "artdag pin ls --json"] {
            assert!(parse(line).expect(line).json, "{line}");
        }
        assert_eq!(parse("artdag pin ls --node http://h:1").expect("valid").node, "http://h:1");
    }
}

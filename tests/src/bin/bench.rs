//! `bench NAME…`: measures ours and a peer in turn on this machine. One file per name in `tests/bench/`, and one
//! line in [`BENCHES`]. Tables go to stdout, rows to `target/bench/NAME.json`, what it is doing to stderr.

#[path = "../../bench/demo.rs"]
mod demo;
#[path = "../../bench/idle.rs"]
mod idle;
#[path = "../../bench/rows.rs"]
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;

use rows::{Machine, Row};

/// Takes the number of pairs.
type Measure = fn(usize) -> Vec<Row>;

/// Name, what it measures, how.
const BENCHES: &[(&str, &str, Measure)] = &[
    ("demo", "a film on three nodes beside the same ffmpeg commands run by hand", demo::measure),
    ("idle", "a node that does nothing: time to its first answer, memory, size of the program", idle::measure),
];

/// Fewer say nothing about the spread.
const PAIRS_MIN: usize = 5;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let unknown = names.iter().find(|name| !BENCHES.iter().any(|(known, ..)| known == name));
    if names.is_empty() || unknown.is_some() {
        if let Some(name) = unknown {
            eprintln!("there is no bench `{name}`; write one of:");
        }
        for (name, what, _) in BENCHES {
            eprintln!("{name:8} {what}");
        }
        return ExitCode::from(2);
    }
    let pairs = std::env::var("BENCH_PAIRS").ok().and_then(|text| text.parse().ok()).unwrap_or(PAIRS_MIN);
    let machine = Machine::look();
    let mut all_met = true;
    for (name, what, measure) in BENCHES.iter().filter(|(name, ..)| names.iter().any(|asked| asked == name)) {
        let rows = measure(pairs);
        println!("### {name}: {what}\n\n{machine}\n\n{}", rows::table(&rows));
        let file = write(name, &machine, &rows);
        eprintln!("rows in {}", file.display());
        all_met &= rows.iter().all(|row| row.met() != Some(false));
    }
    if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write(name: &str, machine: &Machine, rows: &[Row]) -> PathBuf {
    let program = std::env::current_exe().expect("a process knows its own program");
    let target = program.ancestors().nth(2).expect("the program lies in target/release");
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let file = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&rows::json(name, machine, rows)).expect("rows are plain data");
    std::fs::write(&file, text).expect("the target folder can be written");
    file
}

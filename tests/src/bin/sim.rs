//! `sim --seeds N --from S`: runs N simulations of records and leases, from seed S on, and says
//! how to replay the ones that fail.

use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::Parser;

#[path = "../../sim/mod.rs"]
mod sim;

#[derive(Parser)]
#[command(about = "Simulates records and leases under faults; one seed decides all")]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let started = std::time::Instant::now();
    let mut total = sim::Report::default();
    let mut failed = 0;
    for seed in args.from..args.from.saturating_add(args.seeds) {
        match run(seed) {
            Ok(report) => total.add(&report),
            Err(why) => {
                failed += 1;
                println!("seed {seed}: {why}");
                println!("  replay: cargo run --release -p artdag-tests --bin sim -- --seeds 1 --from {seed}");
            }
        }
    }
    println!(
        "sim: {total} in {:.1} s: {} passed, {failed} failed",
        started.elapsed().as_secs_f64(),
        args.seeds - failed
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A panic in the code under test is a failure of its seed.
fn run(seed: u64) -> Result<sim::Report, String> {
    catch_unwind(|| sim::run(seed)).unwrap_or_else(|_| Err("panicked".into()))
}

//! Processes as the kernel shows them: finding the built programs, descendants, signals, time and memory used.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The kernel's unit of time in /proc, fixed for user space on the machines we build for.
const USER_HZ: u64 = 100;

/// The built program `name`, beside the test that runs. Build it first: a test of one package does not
/// build the programs of another.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its own program");
    let folder = test
        .ancestors()
        .find(|folder| folder.join(name).is_file())
        .unwrap_or_else(|| panic!("{name} is not built: run `cargo build --release --workspace`"));
    folder.join(name)
}

/// Whether the command can be run and says yes.
pub fn succeeds(command: &str, arguments: &[&str]) -> bool {
    let status =
        Command::new(command).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Sends a signal; a process that is gone already is fine.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid of a child is positive");
    let _ = kill_process(pid, signal);
}

/// Whether the process runs; a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// All descendants of a process, nearest first, as (pid, name).
pub fn descendants(of: u32) -> Vec<(u32, String)> {
    let all: Vec<(u32, u32, String)> = every_process();
    let mut found: Vec<(u32, String)> = Vec::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        for (pid, _, name) in all.iter().filter(|(_, p, _)| *p == parent) {
            found.push((*pid, name.clone()));
            parents.push(*pid);
        }
    }
    found
}

fn every_process() -> Vec<(u32, u32, String)> {
    let entries = std::fs::read_dir("/proc").expect("there is a /proc");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let known = pids.filter_map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some((pid, stat(pid)?[1].parse().ok()?, name.trim().to_string()))
    });
    known.collect()
}

/// The fields of `/proc/PID/stat` after the name: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.rsplit_once(')')?.1;
    Some(rest.split_whitespace().map(str::to_string).collect())
}

/// Processor time of a process and of the children it has waited for.
pub fn cpu_time(pid: u32) -> Duration {
    ticks(pid, 11) + children_cpu_time(pid)
}

/// Processor time of the children that a process has waited for.
pub fn children_cpu_time(pid: u32) -> Duration {
    ticks(pid, 13)
}

/// Two neighbouring fields of `/proc/PID/stat` in user time: utime and stime are fields 14 and 15 of
/// proc_pid_stat(5), cutime and cstime 16 and 17; `stat` counts from the third.
fn ticks(pid: u32, first: usize) -> Duration {
    let fields = stat(pid).expect("the process runs");
    let ticks: u64 = fields[first..first + 2].iter().map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Duration::from_millis(ticks * 1000 / USER_HZ)
}

/// Resident memory in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS is there");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("VmRSS is a number of kB");
    kibibytes * 1024
}

/// What a process sees at `path`, in its own mount namespace.
pub fn seen_by(pid: u32, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root{}", path.display()))
}

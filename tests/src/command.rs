//! Runs one command to its end, under a deadline, and keeps what it said.

use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::wait;

/// Longer than anything a test runs; a command that takes this long hangs.
const DEADLINE: Duration = Duration::from_secs(180);

/// What a command left behind.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    line: String,
}

impl Finished {
    /// Itself, if the command succeeded.
    #[track_caller]
    pub fn ok(self) -> Finished {
        assert!(self.status.success(), "`{}` failed with {}:\n{}{}", self.line, self.status, self.text(), self.stderr);
        self
    }

    /// What it wrote to stderr, if it failed as it should have.
    #[track_caller]
    pub fn failed(self) -> String {
        assert!(!self.status.success(), "`{}` succeeded but should not have:\n{}", self.line, self.text());
        assert!(self.status.code().is_some(), "`{}` did not exit by itself: {}", self.line, self.status);
        assert!(!self.stderr.contains("panicked at"), "`{}` panicked:\n{}", self.line, self.stderr);
        self.stderr
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Every line of stdout as JSON.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("`{}`: {e}: {line}", self.line));
        self.text().lines().map(parse).collect()
    }

    /// The last line of stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        self.json_lines().pop().unwrap_or_else(|| panic!("`{}` said nothing\n{}", self.line, self.stderr))
    }
}

/// Runs `program` with `arguments` to its end.
#[track_caller]
pub fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> Finished {
    finish(Command::new(program).args(arguments))
}

/// Runs a prepared command to its end; panics when it cannot be started or hangs.
#[track_caller]
pub fn finish(command: &mut Command) -> Finished {
    let line = format!("{command:?}");
    let out = tempfile::tempfile().expect("a scratch file");
    let err = tempfile::tempfile().expect("a scratch file");
    let clone = |file: &std::fs::File| Stdio::from(file.try_clone().expect("a file can be shared"));
    // Files rather than pipes: nobody has to read while it runs.
    command.stdin(Stdio::null()).stdout(clone(&out)).stderr(clone(&err));
    let mut child = command.spawn().unwrap_or_else(|e| panic!("`{line}` cannot be started: {e}"));
    let status = wait::within(DEADLINE, || child.try_wait().expect("a child can be waited for"));
    let (stdout, stderr) = (content(out), content(err));
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    let Some(status) = status else {
        end(&mut child);
        panic!("`{line}` did not end in {DEADLINE:?}:\n{}{stderr}", String::from_utf8_lossy(&stdout));
    };
    Finished { status, stdout, stderr, line }
}

fn content(mut file: std::fs::File) -> Vec<u8> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a scratch file can be read back");
    bytes
}

/// Kills a child and takes its exit status.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

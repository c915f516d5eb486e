//! The node's side of one outside process: starts it, drains it, ends it.
//!
//! One thread, one loop: wait for output, the end or a tick; then look at the reasons to stop.
//! What always holds: when [`run`] returns, no process of the group lives. The leader is reaped
//! only after its group was killed, so the group's number cannot have become another's.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio_util::sync::CancellationToken;

use super::log::Log;
use super::{
    Command, EXIT_NOT_CONFINED, EXIT_NOT_EXECUTED, Ended, Ending, Enforced, LaunchError, Launcher, REPORT_MARK, Spec,
};
use crate::executor::output;

/// How late a cancel or a time-out is seen at most.
const TICK: Duration = Duration::from_millis(50);
/// Between asking a process to end and ending it. Ours keep nothing worth waiting for, and the
/// node itself has 5 s to stop.
const GRACE: Duration = Duration::from_secs(1);
/// After the end of the group its pipes close at once; whoever still holds them is not waited for.
const DRAIN: Duration = Duration::from_secs(1);
/// How often the workspace is measured. A single file is bounded by the kernel anyway.
const MEASURE_EVERY: Duration = Duration::from_millis(500);
/// One read. A tool that writes faster than we read waits in its pipe.
const READ_BYTES: usize = 16 * 1024;
/// What may stand before the launcher's report.
const MAX_PREFACE_BYTES: usize = 16 * 1024;

/// Runs `command` until it and its whole group have ended.
pub(super) fn run(
    launcher: &Launcher,
    command: &Command,
    on_stdout: impl FnMut(&[u8]),
    stop: &CancellationToken,
) -> Result<Ended, LaunchError> {
    let started = Instant::now();
    let mut child = start(launcher, command)?;
    let mut pipes = Pipes::new(&mut child, on_stdout);
    let watched = watch(&child, command, &mut pipes, stop, started);
    // Also when watching failed: the child must not outlive this call.
    let ended = Group::of(&child).signal(Signal::KILL);
    let status = child.wait()?;
    let reason = watched?;
    ended?;
    pipes.drain();
    finish(command, status, reason, pipes)
}

fn start(launcher: &Launcher, command: &Command) -> Result<Child, LaunchError> {
    let spec = Spec {
        program: command.program.clone().into(),
        arguments: command.arguments.clone(),
        workspace: command.workspace.clone().into(),
        readable: command.readable.iter().map(Into::into).collect(),
        limits: command.limits,
        parent: rustix::process::getpid().as_raw_pid(),
    };
    let child = std::process::Command::new(&launcher.program)
        .args(&launcher.arguments)
        .env_clear()
        .envs(launcher.environment.iter().cloned())
        .process_group(0)
        .stdin(Stdio::from(spec_file(&spec)?))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok(child)
}

/// The spec as a file without a name: unlike a pipe it never blocks its writer.
fn spec_file(spec: &Spec) -> std::io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("artdag-spec", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(spec)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// The process group that the child leads.
struct Group(Pid);

impl Group {
    fn of(child: &Child) -> Self {
        Self(Pid::from_child(child))
    }

    fn signal(&self, signal: Signal) -> std::io::Result<()> {
        match rustix::process::kill_process_group(self.0, signal) {
            // The leader is not reaped yet, so its group can be empty but never another's.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Why we ended a process, and when we began to.
#[derive(Clone, Copy)]
struct Stopping {
    reason: Ending,
    since: Instant,
}

fn watch<F: FnMut(&[u8])>(
    child: &Child,
    command: &Command,
    pipes: &mut Pipes<F>,
    stop: &CancellationToken,
    started: Instant,
) -> std::io::Result<Option<Ending>> {
    let leader = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let group = Group::of(child);
    let mut stopping: Option<Stopping> = None;
    let mut measured = started;
    loop {
        if pipes.wait(Some(leader.as_fd()), TICK)? {
            return Ok(stopping.map(|stopping| stopping.reason));
        }
        let now = Instant::now();
        match stopping {
            Some(Stopping { since, .. }) if now >= since + GRACE => group.signal(Signal::KILL)?,
            Some(_) => {}
            None => {
                let measure = now >= measured + MEASURE_EVERY;
                measured = if measure { now } else { measured };
                if let Some(reason) = reason_to_stop(command, stop, now - started, measure) {
                    group.signal(Signal::TERM)?;
                    stopping = Some(Stopping { reason, since: now });
                }
            }
        }
    }
}

fn reason_to_stop(command: &Command, stop: &CancellationToken, ran: Duration, measure: bool) -> Option<Ending> {
    if stop.is_cancelled() {
        return Some(Ending::Cancelled);
    }
    if ran >= command.timeout {
        return Some(Ending::TimedOut);
    }
    let over = || {
        let used = output::used_bytes(&command.workspace);
        used.is_none_or(|used| used > command.limits.disk_bytes)
    };
    (measure && over()).then_some(Ending::DiskLimit)
}

/// Both outputs of the process, and the launcher's report at the head of the first.
struct Pipes<F> {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    log: Log,
    preface: Vec<u8>,
    enforced: Option<Enforced>,
    on_stdout: F,
}

impl<F: FnMut(&[u8])> Pipes<F> {
    fn new(child: &mut Child, on_stdout: F) -> Self {
        Self {
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            log: Log::default(),
            preface: Vec::new(),
            enforced: None,
            on_stdout,
        }
    }

    /// Waits for output or `leader`'s end, no longer than `at_most`, and takes one piece of each.
    /// True when the leader has ended.
    fn wait(&mut self, leader: Option<BorrowedFd<'_>>, at_most: Duration) -> std::io::Result<bool> {
        let (out, err, gone) = self.ready(leader, at_most)?;
        let mut piece = [0u8; READ_BYTES];
        if out {
            let read = read(self.stdout.as_mut(), &mut piece)?;
            match read {
                0 => self.stdout = None,
                length => self.take_stdout(&piece[..length]),
            }
        }
        if err {
            let read = read(self.stderr.as_mut(), &mut piece)?;
            match read {
                0 => self.stderr = None,
                length => self.log.push(&piece[..length]),
            }
        }
        Ok(gone)
    }

    fn ready(&self, leader: Option<BorrowedFd<'_>>, at_most: Duration) -> std::io::Result<(bool, bool, bool)> {
        let sources = [self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd), leader];
        let mut polled: Vec<PollFd<'_>> =
            sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(at_most).map_err(std::io::Error::other)?;
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut answers = polled.iter().map(|fd| !fd.revents().is_empty());
        let mut answer = |source: &Option<BorrowedFd<'_>>| source.is_some() && answers.next().unwrap_or(false);
        Ok((answer(&sources[0]), answer(&sources[1]), answer(&sources[2])))
    }

    fn take_stdout(&mut self, piece: &[u8]) {
        if self.enforced.is_some() {
            return (self.on_stdout)(piece);
        }
        if self.preface.len() + piece.len() > MAX_PREFACE_BYTES {
            return;
        }
        self.preface.extend_from_slice(piece);
        if let Some((enforced, end)) = find_report(&self.preface) {
            self.enforced = Some(enforced);
            let rest = self.preface.split_off(end);
            if !rest.is_empty() {
                (self.on_stdout)(&rest);
            }
        }
    }

    fn drain(&mut self) {
        let until = Instant::now() + DRAIN;
        while (self.stdout.is_some() || self.stderr.is_some()) && Instant::now() < until {
            if self.wait(None, TICK).is_err() {
                return;
            }
        }
    }
}

fn read(source: Option<&mut impl Read>, piece: &mut [u8]) -> std::io::Result<usize> {
    let Some(source) = source else { return Ok(0) };
    match source.read(piece) {
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => source.read(piece),
        other => other,
    }
}

/// The report, and where the tool's own output begins.
fn find_report(text: &[u8]) -> Option<(Enforced, usize)> {
    let mark = format!("\n{REPORT_MARK}");
    let start = text.windows(mark.len()).position(|window| window == mark.as_bytes())? + mark.len();
    let length = text[start..].iter().position(|byte| *byte == b'\n')?;
    let enforced = serde_json::from_slice(&text[start..start + length]).ok()?;
    Some((enforced, start + length + 1))
}

fn finish<F>(
    command: &Command,
    status: ExitStatus,
    reason: Option<Ending>,
    pipes: Pipes<F>,
) -> Result<Ended, LaunchError> {
    let log = pipes.log.finish();
    let code = status.code();
    let enforced = match (pipes.enforced, reason) {
        (Some(enforced), _) => enforced,
        (None, Some(_)) => Enforced::UNKNOWN,
        (None, None) if code == Some(EXIT_NOT_CONFINED.into()) => {
            return Err(LaunchError::Refused(log));
        }
        (None, None) => {
            let message = format!("it ended with {status} before it began: {log}");
            return Err(LaunchError::Refused(message));
        }
    };
    if code == Some(EXIT_NOT_EXECUTED.into()) && reason.is_none() {
        return Err(LaunchError::NotExecutable { program: command.program.clone(), message: log });
    }
    let ending = reason.unwrap_or_else(|| by_itself(status));
    Ok(Ended { ending, log, enforced })
}

/// What an end means that we did not bring about.
fn by_itself(status: ExitStatus) -> Ending {
    let signal = status.signal().unwrap_or(0);
    match status.code() {
        Some(code) => Ending::Code(code),
        None if signal == libc::SIGXCPU => Ending::TimedOut,
        None if signal == libc::SIGXFSZ => Ending::DiskLimit,
        None => Ending::Signal(signal),
    }
}

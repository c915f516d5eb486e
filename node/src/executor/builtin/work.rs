//! One built-in step under way: its job, its token, its clock.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::executor::{Failure, FailureClass, Job, ProgressSender};

/// What every built-in step works with.
#[derive(Debug)]
pub(super) struct Work {
    pub job: Job,
    progress: ProgressSender,
    stop: CancellationToken,
    started: Instant,
}

impl Work {
    pub(super) fn new(job: Job, progress: ProgressSender, stop: CancellationToken) -> Self {
        let started = Instant::now();
        Self { job, progress, stop, started }
    }

    /// To be called between pieces of work, each of which takes well under a second: tells how
    /// far the step is, and ends it when it should end.
    pub(super) fn check(&self, done: usize, of: usize) -> Result<(), Failure> {
        if self.stop.is_cancelled() {
            return Err(Failure::new(FailureClass::Cancelled, "the step was cancelled"));
        }
        if self.started.elapsed() >= self.job.timeout {
            let message = format!("the step was stopped after {:?}", self.job.timeout);
            return Err(Failure::new(FailureClass::TimedOut, message));
        }
        self.progress.send(done as f32 / of.max(1) as f32 * 0.99);
        Ok(())
    }

    /// The only input of the step.
    pub(super) fn only_input(&self) -> Result<usize, Failure> {
        match self.job.inputs.len() {
            1 => Ok(0),
            count => Err(Failure::input(format!("this step takes one input, not {count}"))),
        }
    }
}

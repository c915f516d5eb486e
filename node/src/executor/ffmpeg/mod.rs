//! The ffmpeg toolset: video and sound of any kind in, Matroska between steps, MP4 at the end.
//!
//! A step is: look at the inputs (`media`), write the command as data (`rendering`, `steps/`),
//! run it through the launcher, look at the output. Intermediates are H.264 at 4:2:0, constant
//! frame rate, BT.709, with 48 kHz stereo FLAC, so that sound keeps its length through any number
//! of steps and pictures cost little time; MUX encodes once for delivery.
//! What always holds: no shell, only local files, one demuxer per input that *we* chose by its
//! first bytes, fixed threads and bit-exact flags. A failure is never retried another way.

mod media;
mod rendering;
mod steps;
#[cfg(test)]
mod tests;
mod tools;
mod watching;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use self::media::{Media, Packets};
use self::tools::Tools;
use self::watching::Watching;
use super::launcher::{Command, Ended, Ending, LaunchError, Launcher, Limits};
use super::output;
use super::{Executor, Failure, FailureClass, Job, Output, ProgressSender, Toolset, Unavailable};

/// A runaway reserves far more; a 4K encode with many threads stays below 4 GiB.
const ADDRESS_SPACE_BYTES: u64 = 16 << 30;
/// 64 inputs, libraries and a few of its own.
const OPEN_FILES: u64 = 256;
/// Reading headers takes milliseconds; counting the packets of an hour of film takes seconds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// What ffprobe may say about one file: a film with 100 streams needs less than half of it.
const MAX_LOOK_BYTES: usize = 1 << 20;

/// Runs steps with the `ffmpeg` and `ffprobe` of this node.
#[derive(Debug)]
pub struct Ffmpeg {
    launcher: Launcher,
    /// Directories to look in, as in `PATH`.
    search: OsString,
    tools: OnceCell<Tools>,
}

impl Ffmpeg {
    /// Looks for nothing yet, and then on `PATH`.
    pub fn new(launcher: Launcher) -> Self {
        Self::searching(launcher, std::env::var_os("PATH").unwrap_or_default())
    }

    fn searching(launcher: Launcher, search: OsString) -> Self {
        Self { launcher, search, tools: OnceCell::new() }
    }

    async fn tools(&self) -> Result<&Tools, Unavailable> {
        let find = || tools::find(&self.launcher, &self.search);
        self.tools.get_or_try_init(find).await
    }
}

#[async_trait]
impl Executor for Ffmpeg {
    fn name(&self) -> &str {
        "ffmpeg"
    }

    async fn probe(&self) -> Result<Toolset, Unavailable> {
        let version = self.tools().await?.version.clone();
        let name = self.name().to_owned();
        Ok(Toolset { name, version })
    }

    async fn execute(
        &self,
        job: &Job,
        progress: &ProgressSender,
        cancel: &CancellationToken,
    ) -> Result<Output, Failure> {
        let tools = self.tools().await;
        let tools = tools.map_err(|missing| Failure::new(FailureClass::Node, missing.to_string()))?;
        let bench = Bench { launcher: &self.launcher, tools, job, cancel };
        let inputs = bench.look_at_inputs().await?;
        let rendering = steps::rendering(job, &inputs)?;
        let watching = Watching::new(progress.clone(), rendering.seconds);
        let arguments = rendering.arguments(&inputs, job.threads);
        let ended = bench.ffmpeg(arguments, watching).await?;
        let name = rendering.output_name();
        let path = output::accept(&job.workspace, name, job.disk_bytes);
        let path = path.map_err(|failure| with_log(failure, &ended.log))?;
        bench.check_output(&path, &ended.log).await?;
        progress.send(1.0);
        Ok(Output { path, log: ended.log, build: tools.build.clone(), enforced: Some(ended.enforced) })
    }
}

fn with_log(failure: Failure, log: &str) -> Failure {
    let log = log.to_owned();
    Failure { log, ..failure }
}

/// All that one step works with.
struct Bench<'a> {
    launcher: &'a Launcher,
    tools: &'a Tools,
    job: &'a Job,
    cancel: &'a CancellationToken,
}

impl Bench<'_> {
    async fn look_at_inputs(&self) -> Result<Vec<Media>, Failure> {
        let packets = steps::packets_wanted(self.job.kind);
        let mut inputs = Vec::with_capacity(self.job.inputs.len());
        for (index, path) in self.job.inputs.iter().enumerate() {
            let named = |failure: Failure| Failure { message: format!("input {index} {}", failure.message), ..failure };
            let demuxer = media::demuxer(path).map_err(named)?;
            let media = self.look(path, demuxer, packets).await.map_err(named)?;
            inputs.push(media);
        }
        Ok(inputs)
    }

    /// What ffprobe says about one file. A failure's message goes on after the file's name.
    async fn look(&self, path: &Path, demuxer: &'static str, packets: Packets) -> Result<Media, Failure> {
        let arguments = media::look_arguments(path, demuxer, packets);
        let timeout = self.job.timeout.min(LOOK_TIMEOUT);
        let readable = vec![path.to_path_buf()];
        let command = self.command(&self.tools.ffprobe, arguments, readable, timeout);
        let said = self.launcher.capture(command, MAX_LOOK_BYTES, self.cancel);
        let (ended, text) = said.await.map_err(not_launched)?;
        match ended.ending {
            Ending::Code(0) => media::parse(path, demuxer, &text),
            Ending::Code(_) if !is_node_trouble(&ended.log) => Err(Failure {
                class: FailureClass::Input,
                message: "is not media that ffmpeg can read".to_owned(),
                log: ended.log,
            }),
            _ => Err(self.failure("ffprobe", ended)),
        }
    }

    async fn ffmpeg(&self, arguments: Vec<OsString>, mut watching: Watching) -> Result<Ended, Failure> {
        let on_stdout = move |piece: &[u8]| watching.take(piece);
        let readable = self.job.inputs.clone();
        let command = self.command(&self.tools.ffmpeg, arguments, readable, self.job.timeout);
        let ended = self.launcher.run(command, on_stdout, self.cancel).await;
        let ended = ended.map_err(not_launched)?;
        match ended.ending {
            Ending::Code(0) => Ok(ended),
            _ => Err(self.failure("ffmpeg", ended)),
        }
    }

    /// An output that does not play is the tool's failure, whatever its exit code said.
    async fn check_output(&self, path: &Path, log: &str) -> Result<(), Failure> {
        let unplayable = |failure: Failure| match failure.class {
            FailureClass::Input => Failure {
                class: FailureClass::Executor,
                message: format!("ffmpeg's output {}", failure.message),
                log: format!("{log}\n{}", failure.log),
            },
            _ => failure,
        };
        let demuxer = media::demuxer(path).map_err(unplayable)?;
        let media = self.look(path, demuxer, Packets::Skip).await;
        let media = media.map_err(unplayable)?;
        if media.seconds.is_some_and(|seconds| seconds > 0.0) {
            return Ok(());
        }
        let message = "ffmpeg's output has no length: nothing of the input was left to encode";
        let failure = Failure::new(FailureClass::Executor, message);
        Err(with_log(failure, log))
    }

    fn command(&self, program: &Path, arguments: Vec<OsString>, readable: Vec<PathBuf>, timeout: Duration) -> Command {
        let threads = u64::from(self.job.threads.max(1));
        Command {
            program: program.to_path_buf(),
            arguments,
            workspace: self.job.workspace.clone(),
            readable,
            limits: Limits {
                // Decoder, filters and encoder each have their threads.
                cpu_seconds: (timeout.as_secs() + 1).saturating_mul(3 * threads),
                address_space_bytes: ADDRESS_SPACE_BYTES,
                disk_bytes: self.job.disk_bytes,
                open_files: OPEN_FILES,
            },
            timeout,
        }
    }

    fn failure(&self, tool: &str, ended: Ended) -> Failure {
        let last = ended.log.lines().last().unwrap_or("it said nothing");
        let (class, message) = match ended.ending {
            Ending::Cancelled => (FailureClass::Cancelled, format!("{tool} was cancelled")),
            Ending::TimedOut => {
                let message = format!("{tool} was stopped after {:?}", self.job.timeout);
                (FailureClass::TimedOut, message)
            }
            Ending::DiskLimit => return with_log(output::too_large(self.job.disk_bytes), &ended.log),
            Ending::Code(_) if is_node_trouble(&ended.log) => {
                let message = format!("this node has no room for {tool}: {last}");
                (FailureClass::Node, message)
            }
            Ending::Code(code) => {
                let message = format!("{tool} failed with exit code {code}: {last}");
                (FailureClass::Executor, message)
            }
            // Nobody but the kernel, short of memory, kills with 9.
            Ending::Signal(9) => {
                let message = format!("{tool} was killed, most likely for want of memory");
                (FailureClass::Node, message)
            }
            Ending::Signal(signal) => {
                let message = format!("{tool} crashed with signal {signal}: {last}");
                (FailureClass::Executor, message)
            }
        };
        Failure { class, message, log: ended.log }
    }
}

/// What ffmpeg prints of ENOSPC, EDQUOT and ENOMEM.
fn is_node_trouble(log: &str) -> bool {
    const TROUBLES: [&str; 3] = ["No space left on device", "Disk quota exceeded", "Cannot allocate memory"];
    TROUBLES.iter().any(|trouble| log.contains(trouble))
}

fn not_launched(error: LaunchError) -> Failure {
    match error {
        LaunchError::Start(error) => Failure::io("starting a tool", &error),
        other => Failure::new(FailureClass::Node, other.to_string()),
    }
}

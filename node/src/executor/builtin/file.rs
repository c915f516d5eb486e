//! The files of the built-in toolset: what an input is, and an output that cannot grow too large.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use super::work::Work;
use crate::executor::{Failure, FailureClass, output};

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One picture or an animation.
    Png,
    /// Sound.
    Wav,
    /// A web page; only ever an output.
    Html,
}

impl Format {
    pub(super) fn output_name(self) -> &'static str {
        match self {
            Self::Png => "output.png",
            Self::Wav => "output.wav",
            Self::Html => "output.html",
        }
    }
}

/// Opens input `index` and says what it is by its first bytes.
pub(super) fn open(work: &Work, index: usize) -> Result<(Format, BufReader<File>), Failure> {
    let path = work.job.inputs.get(index);
    let path = path.ok_or_else(|| Failure::input(format!("there is no input {index}")))?;
    let failed = |error: io::Error| Failure::io(&format!("reading input {index}"), &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut head = Vec::new();
    (&mut file).take(12).read_to_end(&mut head).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let format = if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        Format::Png
    } else if head.starts_with(b"RIFF") && head.ends_with(b"WAVE") {
        Format::Wav
    } else {
        return Err(Failure::input(format!(
            "input {index} is not media for the built-in toolset: give it a PNG picture or a WAV sound, or write toolset: ffmpeg"
        )));
    };
    Ok((format, BufReader::new(file)))
}

/// What all inputs are; they must be alike.
pub(super) fn common_format(work: &Work) -> Result<Format, Failure> {
    let (first, _) = open(work, 0)?;
    for index in 1..work.job.inputs.len() {
        if open(work, index)?.0 != first {
            return Err(Failure::input(format!("input {index} and input 0 are not both pictures or both sound")));
        }
    }
    Ok(first)
}

/// The step's output, which refuses to grow beyond what the job allows.
#[derive(Debug)]
pub(super) struct Sink {
    file: BufWriter<File>,
    position: u64,
    disk_bytes: u64,
}

impl Sink {
    pub(super) fn create(work: &Work, format: Format) -> Result<Self, Failure> {
        let path = work.job.workspace.join(format.output_name());
        let file = File::create_new(path);
        let file = file.map_err(|error| Failure::io("making the step's output", &error))?;
        Ok(Self { file: BufWriter::new(file), position: 0, disk_bytes: work.job.disk_bytes })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.position.saturating_add(bytes.len() as u64);
        if end > self.disk_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.file.write(bytes)?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Sink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.file.seek(to)?;
        Ok(self.position)
    }
}

/// The failure of a write to a [`Sink`].
pub(super) fn write_failure(work: &Work, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::FileTooLarge {
        return output::too_large(work.job.disk_bytes);
    }
    let failure = Failure::io("writing the step's output", error);
    Failure { class: FailureClass::Node, ..failure }
}

//! Reads ffmpeg's `-progress` lines.

use crate::executor::ProgressSender;

/// Lines of `-progress` are `key=value` and short; a longer one is none of ours.
const MAX_LINE_BYTES: usize = 256;

/// Turns the tool's standard output into a share done.
#[derive(Debug)]
pub(super) struct Watching {
    progress: ProgressSender,
    /// How long the output will be; unknown: only the end is told.
    seconds: Option<f64>,
    line: Vec<u8>,
}

impl Watching {
    pub(super) fn new(progress: ProgressSender, seconds: Option<f64>) -> Self {
        let seconds = seconds.filter(|seconds| *seconds > 0.0);
        let line = Vec::new();
        Self { progress, seconds, line }
    }

    /// Takes output in pieces of any length.
    pub(super) fn take(&mut self, piece: &[u8]) {
        for byte in piece {
            if *byte == b'\n' {
                self.tell();
                self.line.clear();
            } else if self.line.len() < MAX_LINE_BYTES {
                self.line.push(*byte);
            }
        }
    }

    fn tell(&self) {
        let Some(seconds) = self.seconds else { return };
        let line = std::str::from_utf8(&self.line).unwrap_or_default();
        let done = line.strip_prefix("out_time_us=").and_then(|value| value.trim().parse::<i64>().ok());
        if let Some(done) = done {
            // The end is told only when the output was looked at.
            let share = (done as f64 / 1e6 / seconds).min(0.99);
            self.progress.send(share as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::progress;

    #[test]
    fn a_share_of_the_known_length_in_any_pieces() {
        let (sender, receiver) = progress();
        let mut watching = Watching::new(sender, Some(4.0));
        let text = b"frame=1\nout_time_us=1000000\nout_time=00:00:01.0\nprogress=continue\n\
            out_time_us=N/A\nout_time_us=-20\nout_time_us=2000000\n";
        for piece in text.chunks(7) {
            watching.take(piece);
        }
        assert_eq!(*receiver.borrow(), 0.5);
        watching.take(&[b'x'; 100_000]);
        assert!(watching.line.len() <= MAX_LINE_BYTES);
        watching.take(b"\nout_time_us=99000000\n");
        assert_eq!(*receiver.borrow(), 0.99);
    }
}

//! The last words of a tool: a buffer that keeps the end and forgets the beginning.

use crate::executor::MAX_LOG_BYTES;

/// At most [`MAX_LOG_BYTES`] of what was pushed, from the end.
#[derive(Debug, Default)]
pub(super) struct Log {
    bytes: Vec<u8>,
    dropped: bool,
}

impl Log {
    /// Adds `piece`. The buffer holds up to twice the bound between cuts, so that cutting costs
    /// little per byte.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        if self.bytes.len() > 2 * MAX_LOG_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let surplus = self.bytes.len().saturating_sub(MAX_LOG_BYTES);
        self.dropped |= surplus > 0;
        self.bytes.drain(..surplus);
    }

    /// The text; whole lines where the beginning was forgotten.
    pub(super) fn finish(mut self) -> String {
        self.cut();
        let newline = self.bytes.iter().position(|byte| *byte == b'\n');
        let start = match newline {
            Some(newline) if self.dropped => newline + 1,
            _ => 0,
        };
        String::from_utf8_lossy(&self.bytes[start..]).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_end_within_the_bound() {
        let mut log = Log::default();
        for line in 0..100_000 {
            log.push(format!("line {line}\n").as_bytes());
            assert!(log.bytes.len() <= 2 * MAX_LOG_BYTES);
        }
        let text = log.finish();
        assert!(text.len() <= MAX_LOG_BYTES);
        assert!(text.starts_with("line ") && text.ends_with("line 99999"));
    }
}

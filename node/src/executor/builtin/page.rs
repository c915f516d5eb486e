//! MUX: one web page that shows an animation and plays a sound, with both inside it, so that the
//! page is a whole by itself.

use std::io::{self, Read, Write};

use artdag_core::recipe::config::Mux;
use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;

use super::file::{self, Format, Sink, write_failure};
use super::picture::Reader;
use super::sound;
use super::work::Work;
use crate::executor::Failure;

/// Larger pages make browsers stall.
const MAX_PAGE_INPUT_BYTES: u64 = 256 << 20;
/// One piece between two looks at the token.
const PIECE_BYTES: usize = 1 << 20;

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>artdag</title>
<style>
html { height: 100%; background: #111; }
body { min-height: 100%; margin: 0; display: grid; place-content: center; gap: 1rem; }
img { max-width: 96vw; max-height: 84vh; display: block; margin: auto; }
audio { width: 100%; }
</style>
</head>
<body>
<img alt=\"rendered by artdag\" src=\"data:image/png;base64,";
const MIDDLE: &str = "\">
<audio controls loop src=\"data:audio/wav;base64,";
const TAIL: &str = "\"></audio>
</body>
</html>
";

pub(super) fn run(config: &Mux, work: &Work) -> Result<Format, Failure> {
    let (seen, heard) = (config.video_stream, config.audio_stream);
    // Whole and of the right kind, not only by their first bytes.
    let mut reader = Reader::open(work, seen)?;
    while reader.next()?.is_some() {
        work.check(0, 1)?;
    }
    sound::read(work, heard)?;
    let mut sink = Sink::create(work, Format::Html)?;
    let failed = |error: io::Error| write_failure(work, &error);
    sink.write_all(HEAD.as_bytes()).map_err(failed)?;
    inline(work, seen, &mut sink)?;
    sink.write_all(MIDDLE.as_bytes()).map_err(failed)?;
    inline(work, heard, &mut sink)?;
    sink.write_all(TAIL.as_bytes()).map_err(failed)?;
    sink.flush().map_err(failed)?;
    Ok(Format::Html)
}

fn inline(work: &Work, index: usize, sink: &mut Sink) -> Result<(), Failure> {
    let (_, file) = file::open(work, index)?;
    let mut file = file.take(MAX_PAGE_INPUT_BYTES + 1);
    let mut encoder = EncoderWriter::new(sink, &STANDARD);
    let mut piece = vec![0; PIECE_BYTES];
    let mut taken = 0u64;
    loop {
        work.check(index, work.job.inputs.len())?;
        let read = file.read(&mut piece);
        let read = read.map_err(|error| Failure::io(&format!("reading input {index}"), &error))?;
        if read == 0 {
            break;
        }
        taken += read as u64;
        if taken > MAX_PAGE_INPUT_BYTES {
            return Err(Failure::input(format!(
                "input {index} is larger than the {MAX_PAGE_INPUT_BYTES} bytes that a page can hold"
            )));
        }
        let written = encoder.write_all(&piece[..read]);
        written.map_err(|error| write_failure(work, &error))?;
    }
    encoder.finish().map_err(|error| write_failure(work, &error))?;
    Ok(())
}

//! Clips made on the spot, and what ffprobe says about a file.

use std::path::Path;

use serde_json::Value;

use crate::command;

/// Writes a clip with a moving picture and a tone; the same bytes for the same arguments and ffmpeg.
pub fn make_clip(path: &Path, seconds: u32, width: u32, height: u32) {
    let picture = format!("testsrc2=duration={seconds}:size={width}x{height}:rate=25");
    let sound = format!("sine=frequency=440:duration={seconds}:sample_rate=48000");
    let path = path.to_str().expect("test paths are text");
    #[rustfmt::skip]
    let arguments = [
        "-v", "error", "-y", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound,
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "2", "-c:a", "aac", "-shortest",
        "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", path,
    ];
    command::run("ffmpeg", &arguments).ok();
}

/// Whether a file decodes without a complaint, and what is in it.
#[derive(Debug)]
pub struct Probe {
    pub duration_s: f64,
    pub width: u64,
    pub height: u64,
    pub videos: usize,
    pub sounds: usize,
    pub container: String,
}

/// What ffprobe sees.
#[track_caller]
pub fn probe(path: &Path) -> Probe {
    let file = path.to_str().expect("test paths are text");
    let arguments = ["-v", "error", "-of", "json=compact=1", "-show_format", "-show_streams", file];
    let finished = command::run("ffprobe", &arguments).ok();
    let answer: Value = serde_json::from_str(&finished.text()).expect("ffprobe writes JSON");
    let streams = answer["streams"].as_array().cloned().unwrap_or_default();
    let of = |kind: &str| streams.iter().filter(|s| s["codec_type"] == kind).cloned().collect::<Vec<_>>();
    let (videos, sounds) = (of("video"), of("audio"));
    let side = |name: &str| videos.first().and_then(|v| v[name].as_u64()).unwrap_or(0);
    Probe {
        duration_s: answer["format"]["duration"].as_str().and_then(|d| d.parse().ok()).unwrap_or(0.0),
        width: side("width"),
        height: side("height"),
        videos: videos.len(),
        sounds: sounds.len(),
        container: answer["format"]["format_name"].as_str().unwrap_or_default().to_string(),
    }
}

/// Decodes the whole file; panics on anything the decoder complains about.
#[track_caller]
pub fn plays(path: &Path) {
    let file = path.to_str().expect("test paths are text");
    let finished = command::run("ffmpeg", &["-v", "error", "-xerror", "-i", file, "-f", "null", "-"]).ok();
    assert_eq!(finished.stderr, "", "{file} does not decode cleanly");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_clip_is_what_was_asked_for_every_time() {
        if !crate::skip::needs_tool("a_made_clip_is_what_was_asked_for_every_time", "ffmpeg", "-version") {
            return;
        }
        let folder = tempfile::tempdir().expect("a scratch folder");
        let (one, two) = (folder.path().join("one.mp4"), folder.path().join("two.mp4"));
        make_clip(&one, 2, 320, 180);
        make_clip(&two, 2, 320, 180);
        assert!(std::fs::read(&one).expect("made") == std::fs::read(&two).expect("made"), "the same bytes");
        plays(&one);
        let probe = probe(&one);
        assert_eq!((probe.width, probe.height, probe.videos, probe.sounds), (320, 180, 1, 1), "{probe:?}");
        assert!((probe.duration_s - 2.0).abs() < 0.1, "{probe:?}");
    }
}

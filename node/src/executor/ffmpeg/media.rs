//! What an input is: its container by its first bytes, the rest by ffprobe.
//!
//! What always holds: ffmpeg opens a file only with the demuxer named here, so that nothing that
//! reads further files (playlists, concat lists, image patterns) is ever tried.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::executor::Failure;

/// Enough for two MPEG-TS packets.
const SNIFF_BYTES: u64 = 512;
/// Pictures larger than this are refused by the decoder: 16K by 16K.
pub(super) const MAX_PIXELS: u32 = 1 << 28;
/// Faster than any clip worth rendering; beyond it a header is lying.
const MAX_FRAME_RATE: f64 = 240.0;
/// For pictures without any rate of their own.
const DEFAULT_FRAME_RATE: Rate = Rate { num: 25, den: 1 };

/// A file that ffmpeg can read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Media {
    pub path: PathBuf,
    pub demuxer: &'static str,
    pub seconds: Option<f64>,
    pub video: Option<Video>,
    pub audio: Option<Audio>,
}

/// The first picture stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Video {
    pub width: u32,
    pub height: u32,
    pub rate: Rate,
    pub codec: String,
    /// 8-bit 4:2:0, BT.709, limited range: how our intermediates are.
    pub normal: bool,
    /// Known when packets were counted.
    pub frames: Option<u64>,
}

/// The first sound stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Audio {
    pub codec: String,
}

/// Frames per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub num: u32,
    pub den: u32,
}

/// Whether ffprobe reads the whole file to count its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packets {
    Count,
    Skip,
}

impl Media {
    /// How long its pictures last, or all of it without pictures.
    pub(super) fn length(&self) -> Option<f64> {
        let counted = self.video.as_ref().and_then(|video| {
            let frames = video.frames.filter(|frames| *frames > 0)?;
            Some(frames as f64 / video.rate.value())
        });
        counted.or(self.seconds)
    }
}

impl Rate {
    pub(super) fn value(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

/// The demuxer for a file. A failure's message goes on after the file's name.
pub(super) fn demuxer(path: &Path) -> Result<&'static str, Failure> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SNIFF_BYTES).read_to_end(&mut head))
        .map_err(|error| Failure::io("cannot be read", &error))?;
    sniff(&head).ok_or_else(|| {
        Failure::input(
            "is not media: write a video, sound or picture file (mp4, mkv, webm, mov, avi, ts, flv, wav, flac, mp3, ogg, png, jpeg, gif)",
        )
    })
}

fn sniff(head: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, mark: &[u8]| {
        let end = offset + mark.len();
        head.get(offset..end).is_some_and(|found| found == mark)
    };
    let atoms: [&[u8]; 6] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"];
    let transport = head.len() > 376 && head[0] == 0x47 && head[188] == 0x47 && head[376] == 0x47;
    let mp3 = head.len() > 2 && head[0] == 0xff && head[1] & 0xe6 == 0xe2;
    match () {
        () if at(0, b"\x1a\x45\xdf\xa3") => Some("matroska"),
        () if atoms.iter().any(|atom| at(4, atom)) => Some("mov"),
        () if at(0, b"RIFF") && at(8, b"WAVE") => Some("wav"),
        () if at(0, b"RIFF") && at(8, b"AVI ") => Some("avi"),
        () if at(0, b"\x89PNG\r\n\x1a\n") => Some("png_pipe"),
        () if at(0, b"\xff\xd8\xff") => Some("jpeg_pipe"),
        () if at(0, b"GIF8") => Some("gif"),
        () if at(0, b"OggS") => Some("ogg"),
        () if at(0, b"fLaC") => Some("flac"),
        () if at(0, b"FLV\x01") => Some("flv"),
        () if at(0, b"ID3") || mp3 => Some("mp3"),
        () if transport => Some("mpegts"),
        () => None,
    }
}

/// How an input is opened, for ffprobe and ffmpeg alike.
pub(super) fn open_arguments(path: &Path, demuxer: &str) -> Vec<OsString> {
    let mut file = OsString::from("file:");
    file.push(path);
    let fixed = ["-protocol_whitelist", "file,pipe", "-format_whitelist", demuxer, "-f", demuxer, "-i"];
    let mut arguments: Vec<OsString> = fixed.iter().map(OsString::from).collect();
    arguments.push(file);
    arguments
}

/// Arguments of ffprobe.
pub(super) fn look_arguments(path: &Path, demuxer: &str, packets: Packets) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["-hide_banner", "-v", "error"].map(Into::into).into();
    if packets == Packets::Count {
        arguments.push("-count_packets".into());
    }
    arguments.extend(["-show_streams", "-show_format", "-of", "json"].map(Into::into));
    arguments.extend(open_arguments(path, demuxer));
    arguments
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    streams: Vec<SaidStream>,
    format: Option<SaidFormat>,
}

#[derive(Deserialize)]
struct SaidFormat {
    duration: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SaidStream {
    codec_type: String,
    codec_name: String,
    width: u32,
    height: u32,
    pix_fmt: String,
    color_space: String,
    color_range: String,
    r_frame_rate: String,
    avg_frame_rate: String,
    nb_read_packets: Option<String>,
    side_data_list: Vec<SideData>,
    disposition: Disposition,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Disposition {
    attached_pic: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SideData {
    rotation: Option<f64>,
}

/// What ffprobe's JSON says. A failure's message goes on after the file's name.
pub(super) fn parse(path: &Path, demuxer: &'static str, text: &[u8]) -> Result<Media, Failure> {
    let said: Said = serde_json::from_slice(text)
        .map_err(|_| Failure::input("cannot be understood: ffprobe does not describe it"))?;
    let stream = |kind: &str| {
        let mut streams = said.streams.iter();
        // The cover of a song is not a film.
        streams.find(|stream| stream.codec_type == kind && stream.disposition.attached_pic == 0)
    };
    let video = stream("video").map(video);
    let audio = stream("audio").map(|stream| Audio { codec: stream.codec_name.clone() });
    if video.is_none() && audio.is_none() {
        return Err(Failure::input("has neither pictures nor sound"));
    }
    if let Some(Video { width, height, .. }) = &video
        && (*width == 0 || *height == 0)
    {
        return Err(Failure::input("is damaged: its pictures have no size"));
    }
    let seconds = said.format.and_then(|format| format.duration);
    let seconds = seconds.and_then(|text| text.parse::<f64>().ok());
    Ok(Media {
        path: path.to_path_buf(),
        demuxer,
        seconds: seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0),
        video,
        audio,
    })
}

fn video(stream: &SaidStream) -> Video {
    let mut turns = stream.side_data_list.iter().filter_map(|data| data.rotation);
    let quarter = turns.next_back().is_some_and(|turn| (turn / 90.0).round() % 2.0 != 0.0);
    let (width, height) = match quarter {
        true => (stream.height, stream.width),
        false => (stream.width, stream.height),
    };
    let frames = stream.nb_read_packets.as_ref();
    Video {
        width,
        height,
        rate: rate(&stream.r_frame_rate, &stream.avg_frame_rate),
        codec: stream.codec_name.clone(),
        normal: is_normal(stream, height),
        frames: frames.and_then(|frames| frames.parse().ok()),
    }
}

/// Without a word about its colours, video of this height or more is BT.709 by convention; below
/// it is BT.601, which is another matrix.
const HIGH_DEFINITION: u32 = 720;

fn is_normal(stream: &SaidStream, height: u32) -> bool {
    let matrix = match stream.color_space.as_str() {
        "bt709" => true,
        "" | "unknown" => height >= HIGH_DEFINITION,
        _ => false,
    };
    let range = matches!(stream.color_range.as_str(), "tv" | "unknown" | "");
    matrix && range && stream.pix_fmt == "yuv420p"
}

/// The base rate where pictures really come at it, else the mean, to a thousandth.
fn rate(base: &str, mean: &str) -> Rate {
    let usable = |rate: &Rate| (0.1..=MAX_FRAME_RATE).contains(&rate.value());
    let base = parse_rate(base).filter(usable);
    let mean = parse_rate(mean).filter(usable);
    match (base, mean) {
        (Some(base), Some(mean)) if (base.value() / mean.value() - 1.0).abs() < 0.01 => base,
        (_, Some(mean)) if mean.den <= 1001 => mean,
        (_, Some(mean)) => Rate { num: (mean.value() * 1000.0).round() as u32, den: 1000 },
        (Some(base), None) => base,
        (None, None) => DEFAULT_FRAME_RATE,
    }
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (num, den) = text.split_once('/')?;
    let (num, den) = (num.parse().ok()?, den.parse().ok()?);
    (num > 0 && den > 0).then_some(Rate { num, den })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn playlists_texts_and_scripts_have_no_demuxer() {
        let hostile: [&[u8]; 5] = [
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"<?xml version=\"1.0\"?><MPD></MPD>",
            b"hello",
            b"",
        ];
        for head in hostile {
            assert_eq!(sniff(head), None);
        }
        assert_eq!(sniff(b"\x00\x00\x00\x20ftypisom"), Some("mov"));
        assert_eq!(sniff(b"\x1a\x45\xdf\xa3rest"), Some("matroska"));
    }

    #[test]
    fn rates_are_what_plays() {
        let told = |base, mean| rate(base, mean).to_string();
        assert_eq!(told("30000/1001", "30000/1001"), "30000/1001");
        assert_eq!(told("90000/1", "299700/10000"), "29970/1000");
        assert_eq!(told("25/1", "0/0"), "25/1");
        assert_eq!(told("0/0", "0/0"), "25/1");
        assert_eq!(told("1000000/1", "4000000000/1"), "25/1");
    }
}

//! One ffmpeg command as data, and its arguments.
//!
//! What always holds for every command: no shell, no standard input, only local files, the
//! pinned threads everywhere, bit-exact muxer, encoders and scalers, no metadata of the inputs.

use std::ffi::OsString;

use super::media::{MAX_PIXELS, Media, Video, open_arguments};

/// At the head of every filter graph: for the scalers ffmpeg inserts by itself too.
const SCALER: &str = "sws_flags=bicubic+accurate_rnd+full_chroma_int+bitexact;";
/// At the end of every picture chain: the one form that intermediates have.
pub(super) const NORMAL_END: &str = "format=yuv420p,setsar=1,\
    setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709";
/// In front of it where pictures are not in that form yet, or were mixed as RGB.
pub(super) const TO_BT709: &str = "scale=out_color_matrix=bt709:out_range=tv,";
/// The one form of sound: a gap at the start or inside becomes silence, so that it stays in time.
pub(super) const NORMAL_SOUND: &str =
    "aresample=48000:async=1:first_pts=0,aformat=sample_fmts=s16:channel_layouts=stereo";

/// A command without the paths of its inputs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rendering {
    /// Seconds to skip in the first input.
    pub seek: Option<f64>,
    /// Filters, without [`SCALER`]. Empty: streams go through as they are.
    pub graph: String,
    /// `-map` values.
    pub maps: Vec<String>,
    pub video: VideoCodec,
    pub audio: AudioCodec,
    pub container: Container,
    /// Where the output ends, in seconds.
    pub end: Option<f64>,
    /// How long the output will be, for progress.
    pub seconds: Option<f64>,
}

/// How pictures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VideoCodec {
    None,
    Copy,
    /// H.264, as fast as it gets: measured on 2 cores at 720p, `ultrafast` takes 0.4 of
    /// `veryfast`'s time and a fifth of `fast`'s; a low crf pays for it in size, which only the
    /// cluster's own network sees.
    Intermediate,
    /// H.264 for people.
    Delivery,
}

/// How sound is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AudioCodec {
    None,
    Copy,
    /// Lossless, so that no number of steps adds noise or the encoder's delay.
    Intermediate,
    /// AAC.
    Delivery,
}

/// The file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Matroska,
    Mp4,
}

impl Rendering {
    /// An intermediate of pictures and sound with nothing in it yet.
    pub(super) fn intermediate() -> Self {
        Self {
            seek: None,
            graph: String::new(),
            maps: Vec::new(),
            video: VideoCodec::None,
            audio: AudioCodec::None,
            container: Container::Matroska,
            end: None,
            seconds: None,
        }
    }

    /// Adds a filter chain.
    pub(super) fn chain(&mut self, chain: String) {
        if !self.graph.is_empty() {
            self.graph.push(';');
        }
        self.graph.push_str(&chain);
    }

    /// Takes the pictures of `label` into the output.
    pub(super) fn take_video(&mut self, label: &str, codec: VideoCodec) {
        self.maps.push(label.to_owned());
        self.video = codec;
    }

    /// Takes the sound of `label` into the output.
    pub(super) fn take_audio(&mut self, label: &str, codec: AudioCodec) {
        self.maps.push(label.to_owned());
        self.audio = codec;
    }

    /// Sound of input `index`, if it has any, unchanged in length.
    pub(super) fn pass_audio(&mut self, index: usize, media: &Media) {
        match &media.audio {
            None => {}
            // Ours already.
            Some(audio) if audio.codec == "flac" && media.demuxer == "matroska" => {
                self.take_audio(&format!("{index}:a:0"), AudioCodec::Copy);
            }
            Some(_) => {
                self.chain(format!("[{index}:a:0]{NORMAL_SOUND}[sound]"));
                self.take_audio("[sound]", AudioCodec::Intermediate);
            }
        }
    }

    /// The file's name in the workspace.
    pub(super) fn output_name(&self) -> &'static str {
        match self.container {
            Container::Matroska => "output.mkv",
            Container::Mp4 => "output.mp4",
        }
    }

    /// The arguments of ffmpeg.
    pub(super) fn arguments(&self, inputs: &[Media], threads: u32) -> Vec<OsString> {
        let threads = threads.to_string();
        let mut words = Words::default();
        words.add("-hide_banner -nostdin -nostats -n -v warning -progress pipe:1");
        words.add("-stats_period 0.5");
        words.pair("-filter_threads", &threads);
        words.pair("-filter_complex_threads", &threads);
        for (index, media) in inputs.iter().enumerate() {
            if let (0, Some(seek)) = (index, self.seek) {
                words.pair("-ss", &seek.to_string());
            }
            words.pair("-threads", &threads);
            words.pair("-max_pixels", &MAX_PIXELS.to_string());
            words.0.extend(open_arguments(&media.path, media.demuxer));
        }
        if !self.graph.is_empty() {
            words.pair("-filter_complex", &format!("{SCALER}{}", self.graph));
        }
        for map in &self.maps {
            words.pair("-map", map);
        }
        self.output(&mut words, &threads);
        words.0
    }

    fn output(&self, words: &mut Words, threads: &str) {
        words.add("-map_metadata -1 -map_chapters -1 -sn -dn");
        words.add(match self.video {
            VideoCodec::None => "-vn",
            VideoCodec::Copy => "-c:v copy",
            VideoCodec::Intermediate => "-c:v libx264 -preset ultrafast -crf 16 -g 50 -pix_fmt yuv420p",
            VideoCodec::Delivery => "-c:v libx264 -preset veryfast -crf 20 -pix_fmt yuv420p",
        });
        words.add(match self.audio {
            AudioCodec::None => "-an",
            AudioCodec::Copy => "-c:a copy",
            AudioCodec::Intermediate => "-c:a flac -compression_level 0",
            AudioCodec::Delivery => "-c:a aac -b:a 192k",
        });
        words.add("-fflags +bitexact -flags:v +bitexact -flags:a +bitexact");
        words.pair("-threads", threads);
        if let Some(end) = self.end {
            words.pair("-t", &end.to_string());
        }
        words.add(match self.container {
            Container::Matroska => "-f matroska",
            Container::Mp4 => "-movflags +faststart -f mp4",
        });
        words.0.push(format!("file:{}", self.output_name()).into());
    }
}

/// Arguments in the making.
#[derive(Default)]
struct Words(Vec<OsString>);

impl Words {
    /// Words of our own, which hold no spaces.
    fn add(&mut self, words: &'static str) {
        self.0.extend(words.split(' ').map(OsString::from));
    }

    fn pair(&mut self, name: &str, value: &str) {
        self.0.extend([name.into(), value.into()]);
    }
}

/// The beginning of a picture chain: from zero, at a constant rate, with even sides.
pub(super) fn pictures(index: usize, video: &Video) -> String {
    let even = match video.width.is_multiple_of(2) && video.height.is_multiple_of(2) {
        true => "",
        // 4:2:0 has no half pixels.
        false => ",crop=trunc(iw/2)*2:trunc(ih/2)*2",
    };
    format!("[{index}:v:0]fps={}:start_time=0{even}", video.rate)
}

/// The end of a picture chain that kept the input's colours.
pub(super) fn normal_end(video: &Video) -> String {
    match video.normal {
        true => NORMAL_END.to_owned(),
        false => format!("{TO_BT709}{NORMAL_END}"),
    }
}

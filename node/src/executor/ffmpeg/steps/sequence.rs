//! SEQUENCE: clips one after the other, by cut, crossfade or fade.
//!
//! Every clip is first brought to one size, rate and sound form, and its sound to exactly the
//! length of its pictures (silence where it has none), so that nothing drifts however many there
//! are. What cannot be done is refused: a crossfade never becomes a cut.

use artdag_core::recipe::config::{ResizeMode, Sequence, TargetSize, TransitionType};

use super::resize::scaling;
use super::{even_size, pictures_of};
use crate::executor::Failure;
use crate::executor::ffmpeg::media::{Media, Rate, Video};
use crate::executor::ffmpeg::rendering::{
    AudioCodec, NORMAL_END, NORMAL_SOUND, Rendering, VideoCodec, normal_end, pictures,
};

pub(super) fn rendering(config: &Sequence, inputs: &[Media]) -> Result<Rendering, Failure> {
    let clips = Clips::new(config, inputs)?;
    let mut rendering = Rendering::intermediate();
    rendering.seconds = Some(clips.total());
    for index in 0..inputs.len() {
        clips.prepare(index, &mut rendering)?;
    }
    match config.transition.kind {
        TransitionType::Crossfade if inputs.len() > 1 => clips.crossfade(&mut rendering),
        _ => clips.concatenate(&mut rendering),
    }
    if clips.look.is_some() {
        rendering.take_video("[pictures]", VideoCodec::Intermediate);
    }
    if clips.sound {
        rendering.take_audio("[sound]", AudioCodec::Intermediate);
    }
    Ok(rendering)
}

/// What all pictures are brought to.
struct Look {
    width: u32,
    height: u32,
    rate: Rate,
}

struct Clips<'a> {
    config: &'a Sequence,
    inputs: &'a [Media],
    /// In seconds, one for each input.
    lengths: Vec<f64>,
    look: Option<Look>,
    sound: bool,
}

impl<'a> Clips<'a> {
    fn new(config: &'a Sequence, inputs: &'a [Media]) -> Result<Self, Failure> {
        let seen = inputs.iter().any(|media| media.video.is_some());
        let look = match seen {
            true => Some(look(config, inputs)?),
            false => None,
        };
        let lengths = inputs.iter().enumerate().map(|(index, media)| {
            let length = media.length().filter(|length| *length > 0.0);
            let length = length.ok_or_else(|| Failure::input(format!("input {index} has no known length")))?;
            fits(config, index, length).map(|()| length)
        });
        Ok(Self {
            lengths: lengths.collect::<Result<_, _>>()?,
            look,
            sound: inputs.iter().any(|media| media.audio.is_some()),
            config,
            inputs,
        })
    }

    fn total(&self) -> f64 {
        let sum: f64 = self.lengths.iter().sum();
        match self.config.transition.kind {
            TransitionType::Crossfade => sum - self.config.transition.duration * (self.lengths.len() - 1) as f64,
            _ => sum,
        }
    }

    /// Brings one input to the common form, as `[v0]` and `[a0]`.
    fn prepare(&self, index: usize, rendering: &mut Rendering) -> Result<(), Failure> {
        let media = &self.inputs[index];
        let length = self.lengths[index];
        let (mut fade, mut sound_fade) = (String::new(), String::new());
        if self.config.transition.kind == TransitionType::Fade && self.config.transition.duration > 0.0 {
            let duration = self.config.transition.duration;
            let out = length - duration;
            fade = format!(",fade=t=in:st=0:d={duration},fade=t=out:st={out}:d={duration}");
            sound_fade = format!(",afade=t=in:st=0:d={duration},afade=t=out:st={out}:d={duration}");
        }
        if let Some(look) = &self.look {
            let video = pictures_of(index, media)?;
            let form = self.form(index, video, look);
            rendering.chain(format!("{form}{fade}[v{index}]"));
        }
        if self.sound {
            let source = match media.audio {
                Some(_) => format!("[{index}:a:0]{NORMAL_SOUND},apad"),
                None => "anullsrc=r=48000:cl=stereo,aformat=sample_fmts=s16".to_owned(),
            };
            rendering.chain(format!("{source},atrim=end={length},asetpts=PTS-STARTPTS{sound_fade}[a{index}]"));
        }
        Ok(())
    }

    fn form(&self, index: usize, video: &Video, look: &Look) -> String {
        let Look { width, height, rate } = look;
        let same = (video.width, video.height, video.rate) == (*width, *height, *rate);
        if same && video.normal {
            return format!("{},{NORMAL_END}", pictures(index, video));
        }
        let scaling = scaling(ResizeMode::Fit, *width, *height, &self.config.background);
        format!("{},{scaling},fps={rate},{}", pictures(index, video), normal_end(video))
    }

    fn concatenate(&self, rendering: &mut Rendering) {
        let count = self.inputs.len();
        let (v, a) = (usize::from(self.look.is_some()), usize::from(self.sound));
        let mut chain = String::new();
        for index in 0..count {
            if v == 1 {
                chain.push_str(&format!("[v{index}]"));
            }
            if a == 1 {
                chain.push_str(&format!("[a{index}]"));
            }
        }
        chain.push_str(&format!("concat=n={count}:v={v}:a={a}"));
        if v == 1 {
            chain.push_str("[pictures]");
        }
        if a == 1 {
            chain.push_str("[sound]");
        }
        rendering.chain(chain);
    }

    fn crossfade(&self, rendering: &mut Rendering) {
        let duration = self.config.transition.duration;
        let last = self.inputs.len() - 1;
        // Where the next clip begins: each one starts `duration` before the ones so far end.
        let mut offset = 0.0;
        for index in 1..=last {
            offset += self.lengths[index - 1] - duration;
            let label = |kind: char, done: &str| match index {
                1 => format!("[{kind}0]"),
                _ => format!("[{done}{}]", index - 1),
            };
            let (video, sound) = (label('v', "x"), label('a', "y"));
            let (to_video, to_sound) = match index == last {
                true => ("[pictures]".to_owned(), "[sound]".to_owned()),
                false => (format!("[x{index}]"), format!("[y{index}]")),
            };
            if self.look.is_some() {
                rendering.chain(format!(
                    "{video}[v{index}]xfade=transition=fade:duration={duration}:offset={offset}{to_video}"
                ));
            }
            if self.sound {
                rendering.chain(format!("{sound}[a{index}]acrossfade=d={duration}{to_sound}"));
            }
        }
    }
}

fn look(config: &Sequence, inputs: &[Media]) -> Result<Look, Failure> {
    let mut videos = Vec::with_capacity(inputs.len());
    for (index, media) in inputs.iter().enumerate() {
        videos.push(pictures_of(index, media)?);
    }
    let [first, ..] = videos[..] else {
        return Err(Failure::input("a sequence needs an input"));
    };
    let size = |video: &Video| (video.width & !1, video.height & !1);
    let area = |video: &Video| u64::from(video.width) * u64::from(video.height);
    let (width, height) = match config.target_size {
        TargetSize::First => size(first),
        TargetSize::Last => size(videos[videos.len() - 1]),
        // The first of equals.
        TargetSize::Largest => {
            let largest = videos.iter().rev().max_by_key(|video| area(video));
            size(largest.unwrap_or(&first))
        }
        TargetSize::Explicit => even_size(config.width.unwrap_or(first.width), config.height.unwrap_or(first.height))?,
    };
    Ok(Look { width, height, rate: first.rate })
}

/// Whether a clip is long enough for the transitions at its ends.
fn fits(config: &Sequence, index: usize, length: f64) -> Result<(), Failure> {
    let duration = config.transition.duration;
    let (needed, what) = match config.transition.kind {
        TransitionType::Cut => return Ok(()),
        TransitionType::Crossfade => (duration, "a crossfade"),
        TransitionType::Fade => (2.0 * duration, "a fade in and out"),
    };
    if length > needed {
        return Ok(());
    }
    Err(Failure::input(format!(
        "input {index} lasts {length:.3} s, too short for {what} of {duration} s: write a shorter duration"
    )))
}

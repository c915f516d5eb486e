//! MUX: the film for people. Pictures of one input and sound of another; MP4 that plays while it
//! loads, encoded once here, since intermediates are encoded for speed. Matroska copies.

use artdag_core::recipe::config::{self, Mux};

use super::{needs_sound, pictures_of};
use crate::executor::Failure;
use crate::executor::ffmpeg::media::Media;
use crate::executor::ffmpeg::rendering::{
    AudioCodec, Container, NORMAL_SOUND, Rendering, VideoCodec, normal_end, pictures,
};

pub(super) fn rendering(config: &Mux, inputs: &[Media]) -> Result<Rendering, Failure> {
    let (seen, heard) = (config.video_stream, config.audio_stream);
    let (Some(pictures_in), Some(sound_in)) = (inputs.get(seen), inputs.get(heard)) else {
        return Err(Failure::input(format!(
            "video_stream {seen} or audio_stream {heard} is not one of the {} inputs",
            inputs.len()
        )));
    };
    let video = pictures_of(seen, pictures_in)?;
    needs_sound(heard, sound_in)?;
    let mut rendering = Rendering::intermediate();
    let lengths = (pictures_in.length(), sound_in.seconds);
    (rendering.end, rendering.seconds) = match lengths {
        (Some(a), Some(b)) if config.shortest => (Some(a.min(b)), Some(a.min(b))),
        (Some(a), Some(b)) => (None, Some(a.max(b))),
        (a, b) if config.shortest => return Err(unknown(seen, heard, a.or(b))),
        (a, b) => (None, a.or(b)),
    };
    match config.container {
        config::Container::Mp4 => {
            rendering.container = Container::Mp4;
            let (start, end) = (pictures(seen, video), normal_end(video));
            rendering.chain(format!("{start},{end}[pictures]"));
            rendering.take_video("[pictures]", VideoCodec::Delivery);
            rendering.chain(format!("[{heard}:a:0]{NORMAL_SOUND}[sound]"));
            rendering.take_audio("[sound]", AudioCodec::Delivery);
        }
        config::Container::Mkv => {
            rendering.take_video(&format!("{seen}:v:0"), VideoCodec::Copy);
            rendering.pass_audio(heard, sound_in);
        }
    }
    Ok(rendering)
}

fn unknown(seen: usize, heard: usize, known: Option<f64>) -> Failure {
    let which = match known {
        Some(_) => "one of its inputs has",
        None => "its inputs have",
    };
    Failure::input(format!(
        "the mux of input {seen} and input {heard} should end with the shorter, but {which} no known length"
    ))
}

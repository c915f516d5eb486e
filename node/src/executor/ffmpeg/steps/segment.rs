//! SEGMENT: seeks in the input (fast: everything before the last key picture is skipped, and
//! ffmpeg decodes exactly from there), then encodes again, or copies when not precise.

use artdag_core::recipe::config::Segment;

use crate::executor::Failure;
use crate::executor::ffmpeg::media::Media;
use crate::executor::ffmpeg::rendering::{AudioCodec, NORMAL_SOUND, Rendering, VideoCodec, normal_end, pictures};

pub(super) fn rendering(config: &Segment, media: &Media) -> Result<Rendering, Failure> {
    let left = media.seconds.map(|seconds| seconds - config.offset);
    if left.is_some_and(|left| left <= 0.0) {
        return Err(Failure::input(format!(
            "the segment starts at {} s, but its input lasts {} s",
            config.offset,
            media.seconds.unwrap_or_default()
        )));
    }
    let mut rendering = Rendering::intermediate();
    rendering.seek = (config.offset > 0.0).then_some(config.offset);
    rendering.end = config.duration;
    rendering.seconds = match (config.duration, left) {
        (Some(duration), Some(left)) => Some(duration.min(left)),
        (duration, left) => duration.or(left),
    };
    if config.precise {
        encode(&mut rendering, media);
    } else {
        copy(&mut rendering, media);
    }
    Ok(rendering)
}

fn encode(rendering: &mut Rendering, media: &Media) {
    if let Some(video) = &media.video {
        let (start, end) = (pictures(0, video), normal_end(video));
        rendering.chain(format!("{start},{end}[pictures]"));
        rendering.take_video("[pictures]", VideoCodec::Intermediate);
    }
    if media.audio.is_some() {
        rendering.chain(format!("[0:a:0]{NORMAL_SOUND}[sound]"));
        rendering.take_audio("[sound]", AudioCodec::Intermediate);
    }
}

fn copy(rendering: &mut Rendering, media: &Media) {
    if media.video.is_some() {
        rendering.take_video("0:v:0", VideoCodec::Copy);
    }
    if media.audio.is_some() {
        rendering.take_audio("0:a:0", AudioCodec::Copy);
    }
}

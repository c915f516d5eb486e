//! BLEND: the second over the first, pixel by pixel, as RGB: the modes mean nothing on colour
//! differences. The first gives size, rate, length and sound.

use artdag_core::recipe::config::{Blend, BlendMode};

use super::pictures_of;
use crate::executor::Failure;
use crate::executor::ffmpeg::media::Media;
use crate::executor::ffmpeg::rendering::{NORMAL_END, Rendering, TO_BT709, VideoCodec, pictures};

pub(super) fn rendering(config: &Blend, inputs: &[Media]) -> Result<Rendering, Failure> {
    let [first, second] = inputs else {
        return Err(Failure::input("a blend takes two inputs"));
    };
    let (base, over) = (pictures_of(0, first)?, pictures_of(1, second)?);
    let (width, height) = (base.width & !1, base.height & !1);
    let mut rendering = Rendering::intermediate();
    rendering.seconds = first.seconds;
    rendering.end = first.seconds;
    rendering.chain(format!("{},setsar=1,format=gbrp[under]", pictures(0, base)));
    rendering.chain(format!(
        "{},fps={},scale={width}:{height},setsar=1,format=gbrp[over]",
        pictures(1, over),
        base.rate
    ));
    rendering.chain(format!(
        "[under][over]blend=all_mode={}:all_opacity={},{TO_BT709}{NORMAL_END}[pictures]",
        mode(config.mode),
        config.opacity
    ));
    rendering.take_video("[pictures]", VideoCodec::Intermediate);
    rendering.pass_audio(0, first);
    Ok(rendering)
}

/// As ffmpeg calls it.
fn mode(mode: BlendMode) -> &'static str {
    match mode {
        BlendMode::Add => "addition",
        other => other.word(),
    }
}

//! RESIZE: scales, then pads or crops to the asked size. Sound goes through.

use artdag_core::recipe::config::{Resize, ResizeMode};

use super::{even_size, pictures_of};
use crate::executor::Failure;
use crate::executor::ffmpeg::media::Media;
use crate::executor::ffmpeg::rendering::{Rendering, VideoCodec, normal_end, pictures};

pub(super) fn rendering(config: &Resize, media: &Media) -> Result<Rendering, Failure> {
    let video = pictures_of(0, media)?;
    let (width, height) = even_size(config.width, config.height)?;
    let filters = scaling(config.mode, width, height, &config.background);
    let (start, end) = (pictures(0, video), normal_end(video));
    let mut rendering = Rendering::intermediate();
    rendering.seconds = media.seconds;
    rendering.chain(format!("{start},{filters},{end}[pictures]"));
    rendering.take_video("[pictures]", VideoCodec::Intermediate);
    rendering.pass_audio(0, media);
    Ok(rendering)
}

/// Filters that bring any picture to exactly this size.
pub(super) fn scaling(mode: ResizeMode, width: u32, height: u32, background: &str) -> String {
    let inside = "force_original_aspect_ratio=decrease:force_divisible_by=2";
    let around = "force_original_aspect_ratio=increase:force_divisible_by=2";
    let colour = background.replace('#', "0x");
    let pad = format!("pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:color={colour}");
    // Square pixels first: a scaler that keeps the aspect ratio counts pixels, not shapes.
    let square = "scale=trunc(iw*sar/2)*2:ih,setsar=1";
    match mode {
        ResizeMode::Fit => format!("{square},scale={width}:{height}:{inside},{pad}"),
        ResizeMode::Fill => {
            format!("{square},scale={width}:{height}:{around},crop={width}:{height}")
        }
        ResizeMode::Stretch => format!("scale={width}:{height}"),
        ResizeMode::Pad => {
            let smaller = format!("scale=min(iw\\,{width}):min(ih\\,{height}):{inside}");
            format!("{square},{smaller},{pad}")
        }
    }
}

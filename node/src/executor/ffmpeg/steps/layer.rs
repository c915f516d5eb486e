//! LAYER: clips and pictures on top of the first, which gives size, rate, length and sound.

use artdag_core::recipe::config::Layer;

use super::pictures_of;
use crate::executor::Failure;
use crate::executor::ffmpeg::media::{Media, Video};
use crate::executor::ffmpeg::rendering::{NORMAL_END, Rendering, TO_BT709, VideoCodec, normal_end, pictures};

pub(super) fn rendering(config: &Layer, inputs: &[Media]) -> Result<Rendering, Failure> {
    let [base, ..] = inputs else {
        return Err(Failure::input("a layer step needs an input"));
    };
    let video = pictures_of(0, base)?;
    let mut rendering = Rendering::intermediate();
    rendering.seconds = base.seconds;
    rendering.end = base.seconds;
    rendering.chain(format!("{},{}[under0]", pictures(0, video), normal_end(video)));
    for (index, (media, placement)) in inputs.iter().zip(&config.inputs).enumerate().skip(1) {
        let over = over(index, pictures_of(index, media)?, video, (placement.scale, placement.opacity));
        rendering.chain(format!("{over}[over{index}]"));
        let [right, down] = placement.position;
        // A picture, or a clip that ends sooner, stays.
        rendering
            .chain(format!("[under{}][over{index}]overlay={right}:{down}:eof_action=repeat[under{index}]", index - 1));
    }
    rendering.chain(format!("[under{}]{NORMAL_END}[pictures]", inputs.len() - 1));
    rendering.take_video("[pictures]", VideoCodec::Intermediate);
    rendering.pass_audio(0, base);
    Ok(rendering)
}

fn over(index: usize, video: &Video, base: &Video, (scale, opacity): (f64, f64)) -> String {
    let mut filters = vec![pictures(index, video), format!("fps={}", base.rate)];
    if scale != 1.0 {
        filters.push(format!("scale=max(2\\,trunc(iw*{scale}/2)*2):max(2\\,trunc(ih*{scale}/2)*2)"));
    }
    // With the picture's own transparency, where it has any.
    filters.push(match video.normal {
        true => "format=yuva420p".to_owned(),
        false => format!("{TO_BT709}format=yuva420p"),
    });
    if opacity < 1.0 {
        filters.push(format!("lutyuv=a=val*{opacity}"));
    }
    filters.join(",")
}

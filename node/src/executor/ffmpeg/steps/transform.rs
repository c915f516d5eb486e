//! TRANSFORM: colour, blur, sharpness, speed, in this order, whatever order they are written in.

use artdag_core::recipe::config::Transform;

use super::pictures_of;
use crate::executor::Failure;
use crate::executor::ffmpeg::media::{Media, Video};
use crate::executor::ffmpeg::rendering::{
    AudioCodec, NORMAL_END, NORMAL_SOUND, Rendering, TO_BT709, VideoCodec, pictures,
};

/// `atempo` skips samples beyond a factor of two and refuses less than a half.
const TEMPO_STEP: f64 = 2.0;

pub(super) fn rendering(config: &Transform, media: &Media) -> Result<Rendering, Failure> {
    let effects = &config.effects;
    let mut rendering = Rendering::intermediate();
    rendering.seconds = media.seconds.map(|seconds| seconds / effects.speed);
    if media.video.is_some() || changes_pictures(config) {
        let video = pictures_of(0, media)?;
        rendering.chain(chain(config, video)?);
        rendering.take_video("[pictures]", VideoCodec::Intermediate);
    }
    if effects.speed == 1.0 {
        rendering.pass_audio(0, media);
    } else if media.audio.is_some() {
        let tempo = tempo(effects.speed);
        rendering.chain(format!("[0:a:0]{NORMAL_SOUND}{tempo}[sound]"));
        rendering.take_audio("[sound]", AudioCodec::Intermediate);
    }
    Ok(rendering)
}

/// Whether anything but the speed is changed.
fn changes_pictures(config: &Transform) -> bool {
    let effects = &config.effects;
    changes_levels(config) || effects.hue != 0.0 || effects.blur > 0.0 || effects.sharpen > 0.0
}

fn changes_levels(config: &Transform) -> bool {
    let effects = &config.effects;
    let tones = (effects.contrast, effects.brightness, effects.gamma);
    tones != (1.0, 0.0, 1.0) || effects.saturation != 1.0
}

fn chain(config: &Transform, video: &Video) -> Result<String, Failure> {
    let effects = &config.effects;
    let mut filters = vec![pictures(0, video)];
    // The colour filters work on 4:2:0 and on the matrix the picture is in.
    filters.push(match video.normal {
        true => "format=yuv420p".to_owned(),
        false => format!("{TO_BT709}format=yuv420p"),
    });
    if changes_levels(config) {
        filters.push(format!(
            "eq=contrast={}:brightness={}:saturation={}:gamma={}",
            effects.contrast, effects.brightness, effects.saturation, effects.gamma
        ));
    }
    if effects.hue != 0.0 {
        filters.push(format!("hue=h={}", effects.hue));
    }
    if effects.blur > 0.0 {
        filters.push(boxblur(effects.blur, video)?);
    }
    if effects.sharpen > 0.0 {
        filters.push(format!("unsharp=5:5:{}:5:5:0", effects.sharpen));
    }
    if effects.speed != 1.0 {
        filters.push(format!("setpts=PTS/{},fps={}", effects.speed, video.rate));
    }
    Ok(format!("{},{NORMAL_END}[pictures]", filters.join(",")))
}

/// Whole pixels, at least one; colour planes have half the resolution.
fn boxblur(blur: f64, video: &Video) -> Result<String, Failure> {
    let radius = (blur.round() as u32).max(1);
    let room = video.width.min(video.height) / 2;
    if radius >= room {
        return Err(Failure::input(format!(
            "a blur of {blur} pixels needs a larger picture than {}x{}: write less than {room}",
            video.width, video.height
        )));
    }
    Ok(format!("boxblur=lr={radius}:cr={}", radius / 2))
}

/// A chain of tempo changes whose product is `speed`, each within what the filter does well.
fn tempo(speed: f64) -> String {
    let mut chain = String::new();
    let mut left = speed;
    while left > TEMPO_STEP {
        chain.push_str(",atempo=2");
        left /= TEMPO_STEP;
    }
    while left < 1.0 / TEMPO_STEP {
        chain.push_str(",atempo=0.5");
        left *= TEMPO_STEP;
    }
    chain.push_str(&format!(",atempo={left}"));
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tempo_is_chained_within_what_atempo_does_well() {
        for speed in [0.1, 0.3, 0.5, 1.5, 2.0, 5.0, 10.0] {
            let chain = tempo(speed);
            let factors = chain.split(",atempo=").skip(1);
            let factors: Vec<f64> = factors.filter_map(|f| f.parse().ok()).collect();
            assert!(factors.iter().all(|factor| (0.5..=2.0).contains(factor)));
            let product: f64 = factors.iter().product();
            assert!((product - speed).abs() < 1e-9, "{chain}");
        }
    }
}

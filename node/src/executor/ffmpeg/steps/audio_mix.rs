//! AUDIO_MIX: the sounds of all inputs at the same time, as long as the longest.

use artdag_core::recipe::config::AudioMix;

use super::needs_sound;
use crate::executor::Failure;
use crate::executor::ffmpeg::media::Media;
use crate::executor::ffmpeg::rendering::{AudioCodec, NORMAL_SOUND, Rendering};

pub(super) fn rendering(config: &AudioMix, inputs: &[Media]) -> Result<Rendering, Failure> {
    let mut rendering = Rendering::intermediate();
    let lengths = inputs.iter().map(|media| media.seconds.unwrap_or(0.0));
    rendering.seconds = Some(lengths.fold(0.0, f64::max));
    let mut mixed = String::new();
    for (index, (media, gain)) in inputs.iter().zip(&config.gains).enumerate() {
        needs_sound(index, media)?;
        rendering.chain(format!("[{index}:a:0]{NORMAL_SOUND},volume={gain}[a{index}]"));
        mixed.push_str(&format!("[a{index}]"));
    }
    // No slow change of loudness when one of them ends.
    rendering.chain(format!(
        "{mixed}amix=inputs={}:normalize={}:dropout_transition=0,aformat=sample_fmts=s16[sound]",
        inputs.len(),
        u8::from(config.normalize)
    ));
    rendering.take_audio("[sound]", AudioCodec::Intermediate);
    Ok(rendering)
}

//! What each node type asks of ffmpeg. One file per type, each a pure function from the typed
//! config and what the inputs are to a [`Rendering`].

mod audio_mix;
mod blend;
mod layer;
mod mux;
mod resize;
mod segment;
mod sequence;
mod transform;

use artdag_core::recipe::NodeType;
use artdag_core::recipe::config;

use super::media::{Media, Packets, Video};
use super::rendering::Rendering;
use crate::executor::{Failure, Job};

/// Whether a type must know its inputs' length to the picture.
pub(super) fn packets_wanted(kind: NodeType) -> Packets {
    match kind {
        NodeType::Sequence | NodeType::Mux => Packets::Count,
        _ => Packets::Skip,
    }
}

/// The command of a job, with its inputs as they are.
pub(super) fn rendering(job: &Job, inputs: &[Media]) -> Result<Rendering, Failure> {
    let refused = |error: artdag_core::recipe::ConfigError| Failure::input(error.to_string());
    let config = &job.config;
    match job.kind {
        NodeType::Segment => segment::rendering(&config::Segment::from_ipld(config).map_err(refused)?, one(inputs)?),
        NodeType::Resize => resize::rendering(&config::Resize::from_ipld(config).map_err(refused)?, one(inputs)?),
        NodeType::Transform => {
            transform::rendering(&config::Transform::from_ipld(config).map_err(refused)?, one(inputs)?)
        }
        NodeType::Sequence => sequence::rendering(&config::Sequence::from_ipld(config).map_err(refused)?, inputs),
        NodeType::Layer => layer::rendering(&config::Layer::from_ipld(config).map_err(refused)?, inputs),
        NodeType::Blend => blend::rendering(&config::Blend::from_ipld(config).map_err(refused)?, inputs),
        NodeType::Mux => mux::rendering(&config::Mux::from_ipld(config).map_err(refused)?, inputs),
        NodeType::AudioMix => audio_mix::rendering(&config::AudioMix::from_ipld(config).map_err(refused)?, inputs),
        NodeType::Source | NodeType::Generate => {
            Err(Failure::input(format!("{} is not a step of the ffmpeg toolset", job.kind)))
        }
    }
}

fn one(inputs: &[Media]) -> Result<&Media, Failure> {
    match inputs {
        [only] => Ok(only),
        _ => Err(Failure::input(format!("this step takes one input, not {}", inputs.len()))),
    }
}

fn pictures_of(index: usize, media: &Media) -> Result<&Video, Failure> {
    let video = media.video.as_ref();
    video.ok_or_else(|| Failure::input(format!("input {index} has no pictures")))
}

fn needs_sound(index: usize, media: &Media) -> Result<(), Failure> {
    match media.audio {
        Some(_) => Ok(()),
        None => Err(Failure::input(format!("input {index} has no sound"))),
    }
}

/// 4:2:0 has no half pixels.
fn even_size(width: u32, height: u32) -> Result<(u32, u32), Failure> {
    if width.is_multiple_of(2) && height.is_multiple_of(2) {
        return Ok((width, height));
    }
    let (wide, high) = (width.next_multiple_of(2), height.next_multiple_of(2));
    Err(Failure::input(format!("{width}x{height} has an odd side, which video cannot have: write {wide}x{high}")))
}

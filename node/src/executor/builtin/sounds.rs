//! SEGMENT, AUDIO_MIX and SEQUENCE of sounds.

use artdag_core::recipe::config::{AudioMix, Segment, Sequence, TransitionType};

use super::file::Format;
use super::sound::{self, Sound, samples};
use super::work::Work;
use crate::executor::Failure;

pub(super) fn segment(config: &Segment, work: &Work) -> Result<Format, Failure> {
    let sound = sound::read(work, work.only_input()?)?;
    let from = samples(config.offset);
    if from >= sound.samples.len() {
        return Err(Failure::input(format!(
            "the segment starts at {} s, but its input lasts {} s",
            config.offset,
            sound.samples.len() as f64 / f64::from(sound::RATE)
        )));
    }
    let length = config.duration.map_or(usize::MAX, samples);
    let to = from.saturating_add(length).min(sound.samples.len());
    let samples = sound.samples[from..to].to_vec();
    sound::write(work, &Sound { samples })
}

pub(super) fn mix(config: &AudioMix, work: &Work) -> Result<Format, Failure> {
    let mut sums: Vec<[i64; 2]> = Vec::new();
    // In 65,536ths, so that sums are whole numbers in any order.
    let gain = |gain: f64| (gain * 65_536.0).round() as i64;
    for (index, factor) in (0..work.job.inputs.len()).zip(&config.gains) {
        let sound = sound::read(work, index)?;
        let length = sums.len().max(sound.samples.len());
        sums.resize(length, [0, 0]);
        for (sum, sample) in sums.iter_mut().zip(&sound.samples) {
            sum[0] += i64::from(sample[0]) * gain(*factor);
            sum[1] += i64::from(sample[1]) * gain(*factor);
        }
        work.check(index, work.job.inputs.len())?;
    }
    // As ffmpeg's amix: each sound keeps its share of the whole.
    let scale = match config.normalize {
        true => 65_536 * work.job.inputs.len() as i64,
        false => 65_536,
    };
    let sample = |sum: i64| clip(sum / scale.max(1));
    let samples = sums.iter().map(|sum| sum.map(sample)).collect();
    sound::write(work, &Sound { samples })
}

pub(super) fn sequence(config: &Sequence, work: &Work) -> Result<Format, Failure> {
    let kind = config.transition.kind;
    let transition = match kind {
        TransitionType::Cut => 0,
        _ => samples(config.transition.duration),
    };
    let mut out: Vec<[i16; 2]> = Vec::new();
    for index in 0..work.job.inputs.len() {
        work.check(index, work.job.inputs.len())?;
        let mut clip = sound::read(work, index)?.samples;
        let needed = match kind {
            TransitionType::Fade => 2 * transition,
            _ => transition,
        };
        if clip.len() <= needed && needed > 0 {
            return Err(Failure::input(format!(
                "input {index} is too short for a transition of {} s: write a shorter duration",
                config.transition.duration
            )));
        }
        match kind {
            TransitionType::Cut => out.append(&mut clip),
            TransitionType::Fade => {
                fade(&mut clip, transition);
                out.append(&mut clip);
            }
            TransitionType::Crossfade => crossfade(&mut out, &clip, transition),
        }
    }
    sound::write(work, &Sound { samples: out })
}

fn fade(clip: &mut [[i16; 2]], length: usize) {
    let last = clip.len().saturating_sub(1);
    for place in 0..length {
        for at in [place, last - place] {
            clip[at] = clip[at].map(|value| weigh(value, place, length));
        }
    }
}

/// The first clip has nothing before it and is taken as it is.
fn crossfade(out: &mut Vec<[i16; 2]>, clip: &[[i16; 2]], length: usize) {
    if out.is_empty() {
        out.extend_from_slice(clip);
        return;
    }
    let length = length.min(out.len()).min(clip.len());
    let start = out.len() - length;
    for (place, coming) in clip[..length].iter().enumerate() {
        let going = out[start + place];
        let side = |side: usize| {
            let low = i64::from(weigh(going[side], length - place, length));
            let high = i64::from(weigh(coming[side], place, length));
            clip_sum(low, high)
        };
        out[start + place] = [side(0), side(1)];
    }
    out.extend_from_slice(&clip[length..]);
}

fn weigh(value: i16, part: usize, of: usize) -> i16 {
    (i64::from(value) * part as i64 / of.max(1) as i64) as i16
}

fn clip_sum(low: i64, high: i64) -> i16 {
    clip(low + high)
}

fn clip(value: i64) -> i16 {
    value.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}

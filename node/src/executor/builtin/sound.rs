//! Sound: WAV of any kind in, 48 kHz 16-bit stereo out.
//!
//! What always holds: a [`Sound`] has one form and at most [`MAX_SECONDS`], so that it fits
//! memory and every step can add samples to samples.

use std::fs::File;
use std::io::BufReader;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use super::file::{self, Format, Sink};
use super::work::Work;
use crate::executor::Failure;

/// Samples per second of every sound here.
pub(super) const RATE: u32 = 48_000;
/// Ten minutes take 115 MB.
pub(super) const MAX_SECONDS: f64 = 600.0;
const MAX_SAMPLES: usize = MAX_SECONDS as usize * RATE as usize;
/// What a header may claim; the highest rate in use.
const MAX_INPUT_RATE: u32 = 768_000;
/// Samples between two looks at the token: some milliseconds.
const CHECK_EVERY: usize = 1 << 18;

/// Left and right, sample by sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sound {
    pub samples: Vec<[i16; 2]>,
}

/// A place in a sound, or a length, in samples.
pub(super) fn samples(seconds: f64) -> usize {
    (seconds.clamp(0.0, MAX_SECONDS * 200.0) * f64::from(RATE)).round() as usize
}

/// Reads input `index`, which must be sound.
pub(super) fn read(work: &Work, index: usize) -> Result<Sound, Failure> {
    let (format, file) = file::open(work, index)?;
    if format != Format::Wav {
        return Err(Failure::input(format!("input {index} has no sound")));
    }
    let broken = |error: hound::Error| match error {
        // Without a number it is hound's own word for a file that ends too soon.
        hound::Error::IoError(error) if error.raw_os_error().is_some() => {
            Failure::io(&format!("reading input {index}"), &error)
        }
        other => Failure::input(format!("input {index} is not a sound: {other}")),
    };
    let reader = WavReader::new(file).map_err(broken)?;
    let spec = reader.spec();
    if !(1..=MAX_INPUT_RATE).contains(&spec.sample_rate) || spec.channels == 0 {
        return Err(Failure::input(format!(
            "input {index} claims {} samples per second on {} channels",
            spec.sample_rate, spec.channels
        )));
    }
    let most = (MAX_SECONDS * f64::from(spec.sample_rate)) as u32;
    if reader.duration() > most {
        return Err(Failure::input(format!(
            "input {index} is longer than {MAX_SECONDS} s, the most that the built-in toolset takes"
        )));
    }
    let plain = decode(work, reader, spec)?.map_err(broken)?;
    Ok(Sound { samples: resample(plain, spec.sample_rate) })
}

/// The first two channels as they are; one is heard on both sides.
fn decode(
    work: &Work,
    reader: WavReader<BufReader<File>>,
    spec: WavSpec,
) -> Result<Result<Vec<[i16; 2]>, hound::Error>, Failure> {
    let channels = usize::from(spec.channels);
    let mut out = Vec::new();
    let mut pair = [0i16; 2];
    let mut each = |number: usize, value: i16| -> Result<(), Failure> {
        let channel = number % channels;
        if channel < 2 {
            pair[channel] = value;
        }
        if channels == 1 {
            pair[1] = value;
        }
        if channel + 1 == channels {
            out.push(pair);
        }
        if number.is_multiple_of(CHECK_EVERY) {
            work.check(0, 1)?;
        }
        Ok(())
    };
    match spec.sample_format {
        SampleFormat::Float => {
            for (number, value) in reader.into_samples::<f32>().enumerate() {
                match value {
                    Ok(value) => each(number, from_float(value))?,
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        SampleFormat::Int => {
            let surplus = i32::from(spec.bits_per_sample) - 16;
            for (number, value) in reader.into_samples::<i32>().enumerate() {
                match value {
                    Ok(value) => each(number, from_int(value, surplus))?,
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
    }
    Ok(Ok(out))
}

fn from_float(value: f32) -> i16 {
    // Not a number becomes zero.
    (f64::from(value) * 32_767.0).round() as i16
}

fn from_int(value: i32, surplus_bits: i32) -> i16 {
    let shifted = match surplus_bits {
        0.. => value >> surplus_bits.min(16),
        _ => value << (-surplus_bits).min(15),
    };
    shifted.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// By straight lines between samples.
fn resample(from: Vec<[i16; 2]>, rate: u32) -> Vec<[i16; 2]> {
    if rate == RATE || from.is_empty() {
        return from;
    }
    let (old, new) = (u64::from(rate), u64::from(RATE));
    let count = (from.len() as u64 * new / old).max(1) as usize;
    let last = from.len() - 1;
    (0..count.min(MAX_SAMPLES) as u64)
        .map(|place| {
            let exact = place * old;
            let (index, rest) = ((exact / new) as usize, (exact % new) as i64);
            let (before, after) = (from[index.min(last)], from[(index + 1).min(last)]);
            let between = |side: usize| {
                let (low, high) = (i64::from(before[side]), i64::from(after[side]));
                (low + (high - low) * rest / new as i64) as i16
            };
            [between(0), between(1)]
        })
        .collect()
}

/// Writes the step's output.
pub(super) fn write(work: &Work, sound: &Sound) -> Result<Format, Failure> {
    if sound.samples.is_empty() || sound.samples.len() > MAX_SAMPLES {
        return Err(Failure::input(format!(
            "the output would last {} s: more than 0 and at most {MAX_SECONDS}",
            sound.samples.len() as f64 / f64::from(RATE)
        )));
    }
    let failed = |error: hound::Error| match error {
        hound::Error::IoError(error) => file::write_failure(work, &error),
        other => file::write_failure(work, &std::io::Error::other(other)),
    };
    let spec = WavSpec { channels: 2, sample_rate: RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let sink = Sink::create(work, Format::Wav)?;
    let mut writer = WavWriter::new(sink, spec).map_err(failed)?;
    for (number, [left, right]) in sound.samples.iter().enumerate() {
        if number.is_multiple_of(CHECK_EVERY) {
            work.check(number, sound.samples.len())?;
        }
        writer.write_sample(*left).map_err(failed)?;
        writer.write_sample(*right).map_err(failed)?;
    }
    writer.finalize().map_err(failed)?;
    Ok(Format::Wav)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resampling_keeps_length_and_ends() {
        let from: Vec<[i16; 2]> = (0..44_100).map(|n| [(n % 1000) as i16, 7]).collect();
        let to = resample(from, 44_100);
        assert_eq!(to.len(), 48_000);
        assert_eq!(to[0], [0, 7]);
        assert!(to.iter().all(|pair| pair[1] == 7));
        assert_eq!(from_int(-1, -8), -256);
        assert_eq!(from_int(i32::MAX, 16), i16::MAX);
        assert_eq!(from_float(f32::NAN), 0);
        assert_eq!(from_float(9.0), i16::MAX);
    }
}

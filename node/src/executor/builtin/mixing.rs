//! LAYER and BLEND of pictures. The first input gives the size; the first that moves gives the
//! time; still pictures stay, and animations that end sooner keep their last picture.

use artdag_core::recipe::config::{Blend, BlendMode, Layer};

use super::file::Format;
use super::picture::{Frame, MAX_SIDE, Reader, Writer, cover};
use super::scaling::scale;
use super::work::Work;
use crate::executor::Failure;

pub(super) fn layer(config: &Layer, work: &Work) -> Result<Format, Failure> {
    together(work, |frames| {
        let (base, above) = frames.split_first_mut()?;
        let mut out = base.frame.clone();
        for (over, placement) in above.iter_mut().zip(config.inputs.iter().skip(1)) {
            let size = |side: u32| {
                let scaled = (f64::from(side) * placement.scale).round();
                scaled.clamp(1.0, f64::from(MAX_SIDE)) as u32
            };
            let wanted = (size(over.frame.width), size(over.frame.height));
            put(&mut out, over.scaled(wanted), placement.position, opacity(placement.opacity));
        }
        Some(out)
    })
}

pub(super) fn blend(config: &Blend, work: &Work) -> Result<Format, Failure> {
    let share = opacity(config.opacity);
    together(work, |frames| {
        let [base, over] = frames else { return None };
        let mut out = base.frame.clone();
        let over = over.scaled((out.width, out.height));
        let pixels = out.pixels.chunks_exact_mut(4);
        for (under, over) in pixels.zip(over.pixels.chunks_exact(4)) {
            let share = (u32::from(over[3]) * share + 127) / 255;
            for (low, high) in under[..3].iter_mut().zip(over) {
                let mixed = mix(config.mode, u32::from(*low), u32::from(*high));
                let sum = u32::from(*low) * (255 - share) + mixed * share;
                *low = ((sum + 127) / 255) as u8;
            }
        }
        Some(out)
    })
}

/// Of 255.
fn opacity(share: f64) -> u32 {
    (share * 255.0).round().clamp(0.0, 255.0) as u32
}

/// Two values of 0 to 255.
fn mix(mode: BlendMode, low: u32, high: u32) -> u32 {
    let product = |a: u32, b: u32| (a * b + 127) / 255;
    match mode {
        BlendMode::Multiply => product(low, high),
        BlendMode::Screen => 255 - product(255 - low, 255 - high),
        BlendMode::Overlay if low < 128 => product(2 * low, high),
        BlendMode::Overlay => 255 - product(2 * (255 - low), 255 - high),
        BlendMode::Add => (low + high).min(255),
        BlendMode::Subtract => low.saturating_sub(high),
        BlendMode::Average => (low + high).div_ceil(2),
        BlendMode::Difference => low.abs_diff(high),
        BlendMode::Lighten => low.max(high),
        BlendMode::Darken => low.min(high),
    }
}

fn put(under: &mut Frame, over: &Frame, [right, down]: [i32; 2], opacity: u32) {
    for y in 0..over.height {
        for x in 0..over.width {
            let to = (i64::from(x) + i64::from(right), i64::from(y) + i64::from(down));
            let (Ok(left), Ok(top)) = (u32::try_from(to.0), u32::try_from(to.1)) else {
                continue;
            };
            if left < under.width && top < under.height {
                let seen = cover(under.pixel(left, top), over.pixel(x, y), opacity);
                under.set(left, top, seen);
            }
        }
    }
}

/// One input at the present moment.
struct Showing {
    reader: Reader,
    frame: Frame,
    /// When the next picture is due.
    until_ms: u64,
    /// The picture in another size, kept while neither changes.
    scaled: Option<Frame>,
}

impl Showing {
    fn open(work: &Work, index: usize) -> Result<Self, Failure> {
        let mut reader = Reader::open(work, index)?;
        let frame = reader.next()?;
        let frame = frame.ok_or_else(|| Failure::input(format!("input {index} has no pictures")))?;
        Ok(Self { until_ms: u64::from(frame.ms), reader, frame, scaled: None })
    }

    /// Goes on to the picture of this moment; the last one stays.
    fn go_to(&mut self, now_ms: u64) -> Result<(), Failure> {
        while now_ms >= self.until_ms {
            let Some(frame) = self.reader.next()? else {
                return Ok(());
            };
            self.until_ms += u64::from(frame.ms);
            self.frame = frame;
            self.scaled = None;
        }
        Ok(())
    }

    fn scaled(&mut self, (width, height): (u32, u32)) -> &Frame {
        let frame = &self.frame;
        self.scaled.get_or_insert_with(|| scale(frame, width, height))
    }
}

/// Walks all inputs in time and writes what `combine` makes of them.
fn together(work: &Work, mut combine: impl FnMut(&mut [Showing]) -> Option<Frame>) -> Result<Format, Failure> {
    let inputs = 0..work.job.inputs.len();
    let mut showing = inputs.map(|index| Showing::open(work, index)).collect::<Result<Vec<_>, _>>()?;
    let moving = showing.iter().position(|input| input.reader.left() > 0);
    let clock = moving.unwrap_or(0);
    let none = || Failure::input("this step needs more inputs");
    let first = showing.first().ok_or_else(none)?;
    let size = first.reader.size();
    let count = showing[clock].reader.left() + 1;
    let mut writer = Writer::create(work, size, count)?;
    let mut now_ms = 0;
    for _ in 0..count {
        for input in &mut showing {
            input.go_to(now_ms)?;
        }
        let mut out = combine(&mut showing).ok_or_else(none)?;
        out.ms = showing[clock].frame.ms;
        writer.write(&out)?;
        now_ms = showing[clock].until_ms;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_stay_within_a_byte_and_know_their_ends() {
        for word in BlendMode::WORDS {
            let mode: BlendMode = serde_json::from_str(&format!("{word:?}")).expect("a word of the list");
            for low in 0..=255 {
                for high in 0..=255 {
                    assert!(mix(mode, low, high) <= 255, "{word} {low} {high}");
                }
            }
        }
        assert_eq!(mix(BlendMode::Multiply, 200, 255), 200);
        assert_eq!(mix(BlendMode::Screen, 200, 0), 200);
        assert_eq!(mix(BlendMode::Difference, 10, 30), 20);
        assert_eq!(mix(BlendMode::Subtract, 10, 30), 0);
    }
}

//! GENERATE: pictures and tones out of nothing but a seed.
//!
//! Animations come round: the picture after the last would be the first.

use artdag_core::recipe::config::{Generate, Pattern};

use super::arithmetic::sine;
use super::file::Format;
use super::picture::{FRAME_MS, Frame, Writer};
use super::sound::{self, RATE, Sound, samples};
use super::work::Work;
use crate::executor::Failure;

/// Steps of one turn in the table of sines.
const TURN: usize = 4096;
/// The table's largest value.
const UNIT: i64 = 32_767;
/// A tone comes and goes this slowly, in seconds, so that it does not click.
const ATTACK: f64 = 0.02;
const RELEASE: f64 = 0.25;
/// Overtones of a tone, each with its share of 256: a soft, bell-like sound.
const OVERTONES: [(u64, i64); 4] = [(1, 140), (2, 64), (3, 28), (5, 12)];

pub(super) fn run(config: &Generate, work: &Work) -> Result<Format, Failure> {
    let table = table();
    match config.kind {
        Pattern::Tone => tone(config, work, &table),
        Pattern::Gradient | Pattern::Plasma => pictures(config, work, &table),
    }
}

fn table() -> Vec<i64> {
    let value = |step: usize| (sine(step as f64 / TURN as f64) * UNIT as f64).round() as i64;
    (0..TURN).map(value).collect()
}

/// Numbers that follow from a seed (SplitMix64, by Steele, Lea and Flood).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// What the seed decides about pictures.
struct Palette {
    /// Where red, green and blue begin in their turn.
    phases: [u64; 3],
    /// Waves: how often across, how often down, how often in the whole animation, where they begin.
    waves: Vec<[u64; 4]>,
}

impl Palette {
    fn new(config: &Generate) -> Self {
        let mut numbers = Numbers(config.seed);
        let base = numbers.below(TURN as u64);
        let spread = TURN as u64 / 6 + numbers.below(TURN as u64 / 6);
        let waves = match config.kind {
            Pattern::Gradient => 1,
            _ => 4,
        };
        let mut wave =
            || [1 + numbers.below(3), 1 + numbers.below(3), 1 + numbers.below(2), numbers.below(TURN as u64)];
        Self { phases: [base, base + spread, base + 2 * spread], waves: (0..waves).map(|_| wave()).collect() }
    }
}

fn pictures(config: &Generate, work: &Work, table: &[i64]) -> Result<Format, Failure> {
    let palette = Palette::new(config);
    let size = (config.width, config.height);
    let mut writer = Writer::create(work, size, config.frames)?;
    for number in 0..config.frames {
        let now = u64::from(number) * TURN as u64 / u64::from(config.frames);
        let mut frame = Frame::filled(config.width, config.height, [0, 0, 0, 255]);
        frame.ms = FRAME_MS;
        for y in 0..config.height {
            for x in 0..config.width {
                // The longer side is one turn, so that waves are as wide as high.
                let side = u64::from(config.width.max(config.height));
                let across = u64::from(x) * TURN as u64 / side;
                let down = u64::from(y) * TURN as u64 / side;
                let place = height(config.kind, &palette, table, (across, down, now));
                let colour = palette.phases.map(|phase| shade(table, place + phase));
                frame.set(x, y, [colour[0], colour[1], colour[2], 255]);
            }
        }
        writer.write(&frame)?;
    }
    writer.finish()
}

/// Where a point stands in the turn of colours.
fn height(kind: Pattern, palette: &Palette, table: &[i64], (across, down, now): (u64, u64, u64)) -> u64 {
    let wave =
        |[right, below, turns, start]: &[u64; 4]| lookup(table, across * right + down * below + now * turns + start);
    match kind {
        Pattern::Plasma => {
            let sum: i64 = palette.waves.iter().map(wave).sum();
            let round = lookup(table, down + now) * lookup(table, across + TURN as u64 / 4) / UNIT;
            // Five waves between -1 and 1, as a place from 0 to two turns.
            let place = (sum + round + 5 * UNIT) * (2 * TURN as i64) / (10 * UNIT);
            place.unsigned_abs()
        }
        _ => (across + down) / 3 + now,
    }
}

fn lookup(table: &[i64], place: u64) -> i64 {
    table[(place % TURN as u64) as usize]
}

/// From dark to light, never quite black or white.
fn shade(table: &[i64], place: u64) -> u8 {
    (128 + lookup(table, place) * 112 / UNIT) as u8
}

fn tone(config: &Generate, work: &Work, table: &[i64]) -> Result<Format, Failure> {
    let count = samples(config.duration);
    // The turn per sample in 2^32nds, so that the pitch is exact over minutes.
    let turn = f64::from(RATE);
    let step = (config.frequency / turn * 4_294_967_296.0).round() as u64;
    let (attack, release) = (samples(ATTACK), samples(RELEASE).min(count));
    let mut out = Vec::with_capacity(count);
    for number in 0..count {
        if number.is_multiple_of(1 << 16) {
            work.check(number, count)?;
        }
        let phase = step.wrapping_mul(number as u64);
        let mut value = 0;
        for (factor, share) in OVERTONES {
            // What is beyond hearing would come back as noise.
            if config.frequency * (factor as f64) < turn / 2.0 {
                let place = (phase.wrapping_mul(factor) >> 20) % TURN as u64;
                value += lookup(table, place) * share / 256;
            }
        }
        let loud = envelope(number, count, attack, release);
        let value = (value * loud / UNIT * 3 / 4) as i16;
        out.push([value, value]);
    }
    sound::write(work, &Sound { samples: out })
}

/// Loudness of a sample, of `UNIT`.
fn envelope(number: usize, count: usize, attack: usize, release: usize) -> i64 {
    let rise = share(number, attack);
    let fall = share(count - number, release);
    // Squares, since loudness is heard by its power.
    rise.min(fall * fall / UNIT)
}

fn share(part: usize, of: usize) -> i64 {
    match part < of {
        true => part as i64 * UNIT / of as i64,
        false => UNIT,
    }
}

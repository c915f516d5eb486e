//! TRANSFORM of pictures: colour, blur, sharpness and speed, in this order.

use artdag_core::recipe::config::Transform;

use super::arithmetic::{byte, cosine, power, sine};
use super::file::Format;
use super::picture::{Frame, Reader, Writer};
use super::work::Work;
use crate::executor::Failure;

/// How bright the primaries are, to the eye (BT.709).
const LUMA: [f64; 3] = [0.2126, 0.7152, 0.0722];
/// As ffmpeg's unsharp of 5 by 5.
const SHARPEN_RADIUS: u32 = 2;

pub(super) fn run(config: &Transform, work: &Work) -> Result<Format, Failure> {
    let effects = &config.effects;
    let mut reader = Reader::open(work, work.only_input()?)?;
    let mut writer = Writer::create(work, reader.size(), reader.left())?;
    let levels = levels(effects.contrast, effects.brightness, effects.gamma);
    let matrix = matrix(effects.saturation, effects.hue);
    let coloured = (effects.saturation, effects.hue) != (1.0, 0.0);
    while let Some(mut frame) = reader.next()? {
        for pixel in frame.pixels.chunks_exact_mut(4) {
            if coloured {
                recolour(&matrix, pixel);
            }
            for value in &mut pixel[..3] {
                *value = levels[usize::from(*value)];
            }
        }
        if effects.blur > 0.0 {
            frame = blur(&frame, (effects.blur.round() as u32).max(1));
        }
        if effects.sharpen > 0.0 {
            sharpen(&mut frame, effects.sharpen);
        }
        frame.ms = ((f64::from(frame.ms) / effects.speed).round() as u32).max(1);
        writer.write(&frame)?;
    }
    writer.finish()
}

/// What each value becomes.
fn levels(contrast: f64, brightness: f64, gamma: f64) -> [u8; 256] {
    let mut table = [0; 256];
    for (value, out) in (0u32..).zip(&mut table) {
        let plain = f64::from(value) / 255.0;
        let lit = (plain - 0.5) * contrast + 0.5 + brightness;
        *out = byte(power(lit, 1.0 / gamma) * 255.0);
    }
    table
}

/// Turns colours around grey by `hue` degrees and away from it by `saturation`.
fn matrix(saturation: f64, hue: f64) -> [[f64; 3]; 3] {
    let (cos, sin) = (cosine(hue / 360.0), sine(hue / 360.0));
    // A turn around the grey axis: a plain rotation, then brightness is put back by `LUMA`.
    let third = 1.0 / 3.0;
    // The square root of a third, which is a constant, not a computation.
    let root = 0.577_350_269_189_625_8;
    let same = cos + (1.0 - cos) * third;
    let next = third * (1.0 - cos) - root * sin;
    let last = third * (1.0 - cos) + root * sin;
    let turn = [[same, next, last], [last, same, next], [next, last, same]];
    let mut out = [[0.0; 3]; 3];
    for (row, line) in out.iter_mut().enumerate() {
        for (column, cell) in line.iter_mut().enumerate() {
            let grey = LUMA[column];
            *cell = grey + (turn[row][column] - grey) * saturation;
        }
    }
    out
}

fn recolour(matrix: &[[f64; 3]; 3], pixel: &mut [u8]) {
    let from = [pixel[0], pixel[1], pixel[2]].map(f64::from);
    for (value, row) in pixel.iter_mut().zip(matrix) {
        *value = byte(row[0] * from[0] + row[1] * from[1] + row[2] * from[2]);
    }
}

/// The mean of a square around each pixel; edges repeat. Two running sums, so that a large
/// radius costs no more than a small one.
fn blur(frame: &Frame, radius: u32) -> Frame {
    let turned = blur_rows(frame, radius);
    blur_rows(&turned, radius)
}

/// Blurs along rows and gives the result with rows and columns exchanged.
fn blur_rows(frame: &Frame, radius: u32) -> Frame {
    let (width, height) = (frame.width, frame.height);
    let mut out = Frame::filled(height, width, [0; 4]);
    out.ms = frame.ms;
    let radius = i64::from(radius);
    let span = (2 * radius + 1) as u64;
    let inside = |x: i64| x.clamp(0, i64::from(width) - 1) as u32;
    for y in 0..height {
        let mut sum = [0u64; 4];
        for x in -radius..=radius {
            add(&mut sum, frame.pixel(inside(x), y));
        }
        for x in 0..i64::from(width) {
            out.set(y, inside(x), sum.map(|value| ((value + span / 2) / span) as u8));
            add(&mut sum, frame.pixel(inside(x + radius + 1), y));
            let gone = frame.pixel(inside(x - radius), y);
            for (total, value) in sum.iter_mut().zip(gone) {
                *total -= u64::from(value);
            }
        }
    }
    out
}

fn add(sum: &mut [u64; 4], pixel: [u8; 4]) {
    for (total, value) in sum.iter_mut().zip(pixel) {
        *total += u64::from(value);
    }
}

fn sharpen(frame: &mut Frame, amount: f64) {
    let soft = blur(frame, SHARPEN_RADIUS);
    for (index, (value, soft)) in frame.pixels.iter_mut().zip(&soft.pixels).enumerate() {
        if index % 4 < 3 {
            let difference = f64::from(*value) - f64::from(*soft);
            *value = byte(f64::from(*value) + amount * difference);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neutral_values_change_nothing() {
        let table = levels(1.0, 0.0, 1.0);
        assert!((0u8..=255).all(|value| table[usize::from(value)] == value));
        let mut pixel = [10, 200, 90, 255];
        recolour(&matrix(1.0, 0.0), &mut pixel);
        assert_eq!(pixel, [10, 200, 90, 255]);
        recolour(&matrix(1.0, 360.0), &mut pixel);
        assert_eq!(pixel, [10, 200, 90, 255]);
    }

    #[test]
    fn grey_stays_grey_and_blur_keeps_a_plain_colour() {
        let mut pixel = [77, 77, 77, 255];
        recolour(&matrix(2.5, 120.0), &mut pixel);
        assert_eq!(pixel, [77, 77, 77, 255]);
        let plain = Frame::filled(9, 5, [1, 2, 3, 255]);
        assert_eq!(blur(&plain, 40), plain);
    }
}

//! RESIZE of pictures: a triangle filter, widened where pictures shrink, so that nothing flickers
//! or disappears. Transparent pixels lend no colour.

use artdag_core::recipe::config::{Resize, ResizeMode};

use super::arithmetic::byte;
use super::file::Format;
use super::picture::{Frame, Reader, Writer, cover};
use super::work::Work;
use crate::executor::Failure;

pub(super) fn run(config: &Resize, work: &Work) -> Result<Format, Failure> {
    let mut reader = Reader::open(work, work.only_input()?)?;
    let background = colour(&config.background)?;
    let (width, height) = (config.width, config.height);
    let mut writer = Writer::create(work, (width, height), reader.left())?;
    while let Some(frame) = reader.next()? {
        writer.write(&place(&frame, config.mode, width, height, background))?;
    }
    writer.finish()
}

/// `frame` brought to exactly this size.
pub(super) fn place(frame: &Frame, mode: ResizeMode, width: u32, height: u32, background: [u8; 4]) -> Frame {
    if (frame.width, frame.height) == (width, height) {
        return frame.clone();
    }
    let (inside_width, inside_height) = inside(frame, width, height);
    match mode {
        ResizeMode::Stretch => scale(frame, width, height),
        ResizeMode::Fit => centre(&scale(frame, inside_width, inside_height), width, height, background),
        ResizeMode::Pad if frame.width <= width && frame.height <= height => centre(frame, width, height, background),
        ResizeMode::Pad => centre(&scale(frame, inside_width, inside_height), width, height, background),
        ResizeMode::Fill => {
            let (wide, high) = around(frame, width, height);
            centre(&scale(frame, wide, high), width, height, background)
        }
    }
}

/// The largest size of the frame's shape inside the given one.
fn inside(frame: &Frame, width: u32, height: u32) -> (u32, u32) {
    let (wide, high) = (u64::from(frame.width), u64::from(frame.height));
    match u64::from(width) * high <= u64::from(height) * wide {
        true => (width, share(width, high, wide)),
        false => (share(height, wide, high), height),
    }
}

/// The smallest size of the frame's shape around the given one.
fn around(frame: &Frame, width: u32, height: u32) -> (u32, u32) {
    let (wide, high) = (u64::from(frame.width), u64::from(frame.height));
    match u64::from(width) * high <= u64::from(height) * wide {
        true => (share(height, wide, high).max(width), height),
        false => (width, share(width, high, wide).max(height)),
    }
}

/// `side * num / den`, rounded, at least one pixel. A strip thousands of times longer than wide
/// is cut off where no picture is larger.
fn share(side: u32, num: u64, den: u64) -> u32 {
    let exact = (u64::from(side) * num + den / 2) / den.max(1);
    exact.clamp(1, 4 * u64::from(super::picture::MAX_SIDE)) as u32
}

/// In the middle of a picture of this size; what sticks out is cut off.
fn centre(frame: &Frame, width: u32, height: u32, background: [u8; 4]) -> Frame {
    let mut out = Frame::filled(width, height, background);
    out.ms = frame.ms;
    let (right, down) =
        ((i64::from(width) - i64::from(frame.width)) / 2, (i64::from(height) - i64::from(frame.height)) / 2);
    for y in 0..height {
        for x in 0..width {
            let from = (i64::from(x) - right, i64::from(y) - down);
            let (Ok(left), Ok(top)) = (u32::try_from(from.0), u32::try_from(from.1)) else {
                continue;
            };
            if left < frame.width && top < frame.height {
                out.set(x, y, cover(background, frame.pixel(left, top), 255));
            }
        }
    }
    out
}

/// Another size, whatever the shape.
pub(super) fn scale(frame: &Frame, width: u32, height: u32) -> Frame {
    if (frame.width, frame.height) == (width, height) {
        return frame.clone();
    }
    let across = weights(frame.width, width);
    let down = weights(frame.height, height);
    // Colours times opacity, first across, then down.
    let mut wide = vec![[0.0f64; 4]; width as usize * frame.height as usize];
    for (row, line) in wide.chunks_exact_mut(width as usize).enumerate() {
        for (out, (start, parts)) in line.iter_mut().zip(&across) {
            for (step, part) in parts.iter().enumerate() {
                let [red, green, blue, alpha] = frame.pixel(start + step as u32, row as u32);
                let share = f64::from(alpha) * part;
                out[0] += f64::from(red) * share;
                out[1] += f64::from(green) * share;
                out[2] += f64::from(blue) * share;
                out[3] += share;
            }
        }
    }
    let mut out = Frame::filled(width, height, [0; 4]);
    out.ms = frame.ms;
    for (y, (start, parts)) in down.iter().enumerate() {
        for x in 0..width {
            let mut sum = [0.0f64; 4];
            for (step, part) in parts.iter().enumerate() {
                let row = *start as usize + step;
                let from = wide[row * width as usize + x as usize];
                for (total, value) in sum.iter_mut().zip(from) {
                    *total += value * part;
                }
            }
            let alpha = sum[3].max(1e-9);
            let colour = |value: f64| byte(value / alpha);
            let pixel = [colour(sum[0]), colour(sum[1]), colour(sum[2]), byte(sum[3])];
            out.set(x, y as u32, pixel);
        }
    }
    out
}

/// For each place of the new side: where its sources start, and the share of each.
fn weights(from: u32, to: u32) -> Vec<(u32, Vec<f64>)> {
    let ratio = f64::from(from) / f64::from(to);
    let reach = ratio.max(1.0);
    (0..to)
        .map(|place| {
            let centre = (f64::from(place) + 0.5) * ratio - 0.5;
            let first = (centre - reach).ceil().max(0.0) as u32;
            let last = ((centre + reach).floor().max(0.0) as u32).min(from - 1);
            let first = first.min(last);
            let part = |source: u32| (1.0 - (f64::from(source) - centre).abs() / reach).max(0.0);
            let parts: Vec<f64> = (first..=last).map(part).collect();
            let sum: f64 = parts.iter().sum();
            let parts = match sum > 0.0 {
                true => parts.iter().map(|part| part / sum).collect(),
                false => vec![1.0],
            };
            (first, parts)
        })
        .collect()
}

/// `#rrggbb`, opaque.
pub(super) fn colour(text: &str) -> Result<[u8; 4], Failure> {
    let digits = text.strip_prefix('#').unwrap_or_default();
    let mut bytes = [0u8; 3];
    hex_into(digits, &mut bytes).ok_or_else(|| Failure::input(format!("{text:?} is not a colour: write #rrggbb")))?;
    Ok([bytes[0], bytes[1], bytes[2], 255])
}

fn hex_into(digits: &str, bytes: &mut [u8; 3]) -> Option<()> {
    if digits.len() != 6 || !digits.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip([0, 2, 4]) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_gives_exactly_the_size_and_keeps_a_plain_colour() {
        let red = Frame::filled(7, 3, [200, 10, 20, 255]);
        for mode in [ResizeMode::Fit, ResizeMode::Fill, ResizeMode::Stretch, ResizeMode::Pad] {
            for (width, height) in [(20, 20), (3, 11), (1, 1), (7, 3), (100, 2)] {
                let out = place(&red, mode, width, height, [0, 0, 0, 255]);
                assert_eq!((out.width, out.height), (width, height));
                assert_eq!(out.pixels.len(), (width * height * 4) as usize);
                let middle = out.pixel(width / 2, height / 2);
                assert_eq!(middle, [200, 10, 20, 255], "{mode:?} {width}x{height}");
            }
        }
        let fit = place(&red, ResizeMode::Fit, 14, 14, [1, 2, 3, 255]);
        assert_eq!(fit.pixel(0, 0), [1, 2, 3, 255]);
        let fill = place(&red, ResizeMode::Fill, 14, 14, [1, 2, 3, 255]);
        assert_eq!(fill.pixel(0, 0), [200, 10, 20, 255]);
    }
}

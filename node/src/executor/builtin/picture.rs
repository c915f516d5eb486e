//! Pictures: PNG and animated PNG, read and written picture by picture, so that a long animation
//! never lies in memory as a whole.
//!
//! What always holds: a [`Frame`] is the whole picture as it is seen (the parts that an animation
//! may consist of are put together here), and what a file claims about its size is bounded before
//! memory is taken.

use std::fs::File;
use std::io::{self, BufReader};

use png::{BlendOp, ColorType, DisposeOp, Transformations};

use super::file::{self, Format, Sink};
use super::work::Work;
use crate::executor::Failure;

/// Larger than any screen; one picture takes 64 MiB at most.
pub(super) const MAX_SIDE: u32 = 4096;
/// Two and a half minutes at 25 per second.
pub(super) const MAX_FRAMES: u32 = 4000;
/// What the decoder may take besides the picture.
const DECODER_BYTES: usize = 128 << 20;
/// How long a picture is seen that does not say: 25 per second.
pub(super) const FRAME_MS: u32 = 40;
/// How long a still picture is seen among moving ones.
pub(super) const STILL_MS: u32 = 1000;
/// The format counts in 16 bits.
const MAX_FRAME_MS: u32 = u16::MAX as u32;

/// One whole picture: eight-bit RGBA, not premultiplied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub width: u32,
    pub height: u32,
    pub pixels: Vec<u8>,
    /// How long it is seen.
    pub ms: u32,
}

impl Frame {
    /// One colour everywhere.
    pub(super) fn filled(width: u32, height: u32, colour: [u8; 4]) -> Self {
        let count = width as usize * height as usize;
        Self { width, height, pixels: colour.repeat(count), ms: FRAME_MS }
    }

    pub(super) fn pixel(&self, x: u32, y: u32) -> [u8; 4] {
        let at = self.at(x, y);
        let found = self.pixels.get(at..at + 4);
        found.map_or([0; 4], |pixel| [pixel[0], pixel[1], pixel[2], pixel[3]])
    }

    pub(super) fn set(&mut self, x: u32, y: u32, pixel: [u8; 4]) {
        let at = self.at(x, y);
        if let Some(place) = self.pixels.get_mut(at..at + 4) {
            place.copy_from_slice(&pixel);
        }
    }

    fn at(&self, x: u32, y: u32) -> usize {
        (y as usize * self.width as usize + x as usize) * 4
    }
}

/// The pictures of one input, in order.
pub(super) struct Reader {
    index: usize,
    reader: png::Reader<BufReader<File>>,
    canvas: Frame,
    dispose: Option<(DisposeOp, Area, Vec<u8>)>,
    animated: bool,
    left: u32,
    raw: Vec<u8>,
}

/// A part of the canvas.
#[derive(Debug, Clone, Copy)]
struct Area {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Reader {
    /// Opens input `index`, which must be a picture.
    pub(super) fn open(work: &Work, index: usize) -> Result<Self, Failure> {
        let (format, file) = file::open(work, index)?;
        if format != Format::Png {
            return Err(Failure::input(format!("input {index} has no pictures")));
        }
        let limits = png::Limits { bytes: DECODER_BYTES };
        let mut decoder = png::Decoder::new_with_limits(file, limits);
        decoder.set_transformations(Transformations::normalize_to_color8());
        let reader = decoder.read_info().map_err(|error| broken(index, &error))?;
        let info = reader.info();
        let (width, height) = (info.width, info.height);
        let frames = info.animation_control().map(|control| control.num_frames);
        if width > MAX_SIDE || height > MAX_SIDE || frames.unwrap_or(1) > MAX_FRAMES {
            return Err(Failure::input(format!(
                "input {index} is {width}x{height} with {} pictures: at most {MAX_SIDE}x{MAX_SIDE} and {MAX_FRAMES}",
                frames.unwrap_or(1)
            )));
        }
        let length = reader.output_buffer_size();
        let length = length.ok_or_else(|| Failure::input(format!("input {index} is too large")))?;
        Ok(Self {
            index,
            raw: vec![0; length],
            canvas: Frame::filled(width, height, [0; 4]),
            reader,
            dispose: None,
            animated: frames.is_some(),
            left: frames.unwrap_or(1),
        })
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.canvas.width, self.canvas.height)
    }

    /// Pictures still to come.
    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// The next picture, as long as there is one.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut shown = self.decode()?;
        if self.animated && self.reader.info().frame_control().is_none() {
            // A picture for those who show no animations; it is not part of this one.
            shown = self.decode()?;
        }
        let (area, ms, blend, dispose) = self.placement(shown);
        self.undo();
        let before = (dispose == DisposeOp::Previous).then(|| self.canvas.pixels.clone());
        self.paint(area, blend);
        self.dispose = Some((dispose, area, before.unwrap_or_default()));
        self.canvas.ms = ms;
        Ok(Some(self.canvas.clone()))
    }

    fn decode(&mut self) -> Result<Area, Failure> {
        let info = self.reader.next_frame(&mut self.raw);
        let info = info.map_err(|error| broken(self.index, &error))?;
        Ok(Area { x: 0, y: 0, width: info.width, height: info.height })
    }

    fn placement(&self, shown: Area) -> (Area, u32, BlendOp, DisposeOp) {
        let Some(control) = self.reader.info().frame_control() else {
            return (shown, STILL_MS, BlendOp::Source, DisposeOp::None);
        };
        let area = Area { x: control.x_offset, y: control.y_offset, ..shown };
        let unit = match control.delay_den {
            0 => 100,
            den => u32::from(den),
        };
        let ms = u32::from(control.delay_num) * 1000 / unit;
        let ms = ms.clamp(1, MAX_FRAME_MS);
        (area, ms, control.blend_op, control.dispose_op)
    }

    /// What the last picture asked for at its end.
    fn undo(&mut self) {
        match self.dispose.take() {
            Some((DisposeOp::Background, area, _)) => {
                for (x, y) in area.points() {
                    self.canvas.set(x, y, [0; 4]);
                }
            }
            Some((DisposeOp::Previous, _, before)) => self.canvas.pixels = before,
            _ => {}
        }
    }

    fn paint(&mut self, area: Area, blend: BlendOp) {
        let (colour, _) = self.reader.output_color_type();
        let samples = colour.samples();
        for (pixel, (x, y)) in self.raw.chunks_exact(samples).zip(area.points()) {
            // Outside the canvas only in a file that lies; `set` ignores it.
            if x >= self.canvas.width {
                continue;
            }
            let over = rgba(colour, pixel);
            let seen = match blend {
                BlendOp::Source => over,
                BlendOp::Over => cover(self.canvas.pixel(x, y), over, 255),
            };
            self.canvas.set(x, y, seen);
        }
    }
}

impl Area {
    fn points(self) -> impl Iterator<Item = (u32, u32)> {
        let across = self.x..self.x.saturating_add(self.width);
        let down = self.y..self.y.saturating_add(self.height);
        down.flat_map(move |y| across.clone().map(move |x| (x, y)))
    }
}

fn rgba(colour: ColorType, pixel: &[u8]) -> [u8; 4] {
    match (colour, pixel) {
        (ColorType::Grayscale, [grey]) => [*grey, *grey, *grey, 255],
        (ColorType::GrayscaleAlpha, [grey, alpha]) => [*grey, *grey, *grey, *alpha],
        (ColorType::Rgb, [red, green, blue]) => [*red, *green, *blue, 255],
        (_, [red, green, blue, alpha]) => [*red, *green, *blue, *alpha],
        _ => [0; 4],
    }
}

/// `over` on `under`, `over`'s own transparency times `opacity` (of 255).
pub(super) fn cover(under: [u8; 4], over: [u8; 4], opacity: u32) -> [u8; 4] {
    let above = u32::from(over[3]) * opacity;
    let above = (above + 127) / 255;
    if above == 0 {
        return under;
    }
    let below = u32::from(under[3]) * (255 - above);
    // In 255 * 255ths.
    let alpha = above * 255 + below;
    let mix = |low: u8, high: u8| {
        let sum = u32::from(high) * above * 255 + u32::from(low) * below;
        ((sum + alpha / 2) / alpha) as u8
    };
    [mix(under[0], over[0]), mix(under[1], over[1]), mix(under[2], over[2]), ((alpha + 127) / 255) as u8]
}

fn broken(index: usize, error: &png::DecodingError) -> Failure {
    match error {
        png::DecodingError::IoError(error) if error.raw_os_error().is_some() => {
            Failure::io(&format!("reading input {index}"), error)
        }
        other => Failure::input(format!("input {index} is not a picture: {other}")),
    }
}

/// The pictures of the output.
pub(super) struct Writer<'a> {
    work: &'a Work,
    writer: png::Writer<Sink>,
    frames: u32,
    written: u32,
}

impl<'a> Writer<'a> {
    /// An output of exactly so many pictures of this size; more than one move.
    pub(super) fn create(work: &'a Work, (width, height): (u32, u32), frames: u32) -> Result<Self, Failure> {
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) || frames > MAX_FRAMES {
            return Err(Failure::input(format!(
                "the output would have {frames} pictures of {width}x{height}: at most {MAX_FRAMES} of {MAX_SIDE}x{MAX_SIDE}"
            )));
        }
        let sink = Sink::create(work, Format::Png)?;
        let mut encoder = png::Encoder::new(sink, width, height);
        encoder.set_color(ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let failed = |error: png::EncodingError| failed(work, error);
        if frames > 1 {
            encoder.set_animated(frames, 0).map_err(failed)?;
        }
        let writer = encoder.write_header().map_err(failed)?;
        Ok(Self { work, writer, frames, written: 0 })
    }

    /// Writes the next picture, which has the size of the output.
    pub(super) fn write(&mut self, frame: &Frame) -> Result<(), Failure> {
        self.work.check(self.written as usize, self.frames as usize)?;
        let failed = |error: png::EncodingError| failed(self.work, error);
        if self.frames > 1 {
            let ms = frame.ms.clamp(1, MAX_FRAME_MS) as u16;
            self.writer.set_frame_delay(ms, 1000).map_err(failed)?;
        }
        self.writer.write_image_data(&frame.pixels).map_err(failed)?;
        self.written += 1;
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(self) -> Result<Format, Failure> {
        let work = self.work;
        self.writer.finish().map_err(|error| failed(work, error))?;
        Ok(Format::Png)
    }
}

fn failed(work: &Work, error: png::EncodingError) -> Failure {
    let error = match error {
        png::EncodingError::IoError(error) => error,
        other => io::Error::other(other),
    };
    file::write_failure(work, &error)
}

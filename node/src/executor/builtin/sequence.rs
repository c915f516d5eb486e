//! SEQUENCE of pictures (by `timeline`) or of sounds (by `sounds`).

use artdag_core::recipe::config::{ResizeMode, Sequence, TargetSize};

use super::file::{Format, common_format};
use super::picture::{Frame, Reader, Writer};
use super::scaling::{colour, place};
use super::sounds;
use super::timeline::{Piece, plan};
use super::work::Work;
use crate::executor::Failure;

pub(super) fn run(config: &Sequence, work: &Work) -> Result<Format, Failure> {
    match common_format(work)? {
        Format::Wav => sounds::sequence(config, work),
        _ => pictures(config, work),
    }
}

fn pictures(config: &Sequence, work: &Work) -> Result<Format, Failure> {
    let mut clips = Vec::with_capacity(work.job.inputs.len());
    let mut sizes = Vec::with_capacity(work.job.inputs.len());
    for index in 0..work.job.inputs.len() {
        let mut reader = Reader::open(work, index)?;
        sizes.push(reader.size());
        let mut lengths = Vec::with_capacity(reader.left() as usize);
        while let Some(frame) = reader.next()? {
            work.check(0, 1)?;
            lengths.push(frame.ms);
        }
        clips.push(lengths);
    }
    let size = target(config, &sizes)?;
    let transition_ms = (config.transition.duration * 1000.0).round() as u32;
    let pieces = plan(&clips, config.transition.kind, transition_ms)?;
    let mut writer = Writer::create(work, size, pieces.len() as u32)?;
    let mut stage = Stage { work, size, background: colour(&config.background)?, open: Vec::new() };
    for piece in &pieces {
        writer.write(&stage.show(piece)?)?;
    }
    writer.finish()
}

fn target(config: &Sequence, sizes: &[(u32, u32)]) -> Result<(u32, u32), Failure> {
    let area = |(width, height): &(u32, u32)| u64::from(*width) * u64::from(*height);
    let found = match config.target_size {
        TargetSize::First => sizes.first().copied(),
        TargetSize::Last => sizes.last().copied(),
        // The first of equals.
        TargetSize::Largest => sizes.iter().rev().max_by_key(|size| area(size)).copied(),
        TargetSize::Explicit => config.width.zip(config.height),
    };
    found.ok_or_else(|| Failure::input("a sequence needs an input and a size"))
}

/// The clips that are open at the moment: two at most, since the plan only goes on.
struct Stage<'a> {
    work: &'a Work,
    size: (u32, u32),
    background: [u8; 4],
    open: Vec<Open>,
}

struct Open {
    clip: usize,
    reader: Reader,
    /// The number of the picture in `frame`, once one was read.
    at: Option<usize>,
    frame: Frame,
}

impl Stage<'_> {
    fn show(&mut self, piece: &Piece) -> Result<Frame, Failure> {
        self.open.retain(|open| open.clip >= piece.first.0);
        let mut out = self.picture(piece.first)?;
        out.ms = piece.ms;
        if piece.share > 0 {
            let over = match piece.second {
                Some(second) => self.picture(second)?,
                None => Frame::filled(self.size.0, self.size.1, [0, 0, 0, 255]),
            };
            for (low, high) in out.pixels.iter_mut().zip(&over.pixels) {
                let sum = u32::from(*low) * (255 - piece.share) + u32::from(*high) * piece.share;
                *low = ((sum + 127) / 255) as u8;
            }
        }
        Ok(out)
    }

    fn picture(&mut self, (clip, number): (usize, usize)) -> Result<Frame, Failure> {
        let place_open = self.open.iter().position(|open| open.clip == clip);
        let at = match place_open {
            Some(at) => at,
            None => {
                self.open.push(Open {
                    clip,
                    reader: Reader::open(self.work, clip)?,
                    at: None,
                    frame: Frame::filled(self.size.0, self.size.1, self.background),
                });
                self.open.len() - 1
            }
        };
        let open = &mut self.open[at];
        while open.at.is_none_or(|at| at < number) {
            let Some(frame) = open.reader.next()? else {
                break;
            };
            // Pictures that are passed over are not worth scaling.
            let next = open.at.map_or(0, |at| at + 1);
            if next == number {
                let (width, height) = self.size;
                open.frame = place(&frame, ResizeMode::Fit, width, height, self.background);
            }
            open.at = Some(next);
        }
        Ok(open.frame.clone())
    }
}

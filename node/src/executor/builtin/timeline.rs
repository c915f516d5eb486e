//! Which pictures a sequence shows when: a pure plan, made from lengths alone, before any picture
//! is decoded. So a sequence of any length holds two pictures in memory.

use artdag_core::recipe::config::TransitionType;

use super::picture::{FRAME_MS, MAX_FRAMES};
use crate::executor::Failure;

/// One picture of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Clip and picture in it.
    pub first: (usize, usize),
    /// Clip and picture that comes in.
    pub second: Option<(usize, usize)>,
    /// How much of the second, or of black where there is none: of 255.
    pub share: u32,
    pub ms: u32,
}

/// The plan for clips whose pictures last so many milliseconds.
pub(super) fn plan(clips: &[Vec<u32>], kind: TransitionType, transition_ms: u32) -> Result<Vec<Piece>, Failure> {
    let lengths: Vec<u64> = clips.iter().map(|clip| sum(clip)).collect();
    let transition = match kind {
        TransitionType::Cut => 0,
        _ => u64::from(transition_ms),
    };
    let needed = match kind {
        TransitionType::Cut => 0,
        TransitionType::Crossfade => transition,
        TransitionType::Fade => 2 * transition,
    };
    if let Some(short) = lengths.iter().position(|length| *length <= needed && needed > 0) {
        return Err(Failure::input(format!(
            "input {short} lasts {} ms, too short for a transition of {transition} ms: write a shorter duration",
            lengths[short]
        )));
    }
    let mut pieces = Pieces { clips, out: Vec::new() };
    match kind {
        TransitionType::Crossfade if clips.len() > 1 => {
            pieces.crossfaded(&lengths, transition)?;
        }
        TransitionType::Fade => pieces.faded(&lengths, transition)?,
        _ => {
            for (clip, length) in lengths.iter().enumerate() {
                pieces.plain(clip, 0, *length)?;
            }
        }
    }
    Ok(pieces.out)
}

fn sum(clip: &[u32]) -> u64 {
    clip.iter().map(|ms| u64::from(*ms)).sum()
}

struct Pieces<'a> {
    clips: &'a [Vec<u32>],
    out: Vec<Piece>,
}

impl Pieces<'_> {
    /// The picture of a clip at a moment, and when it ends.
    fn at(&self, clip: usize, ms: u64) -> (usize, u64) {
        let mut end = 0;
        for (picture, length) in self.clips[clip].iter().enumerate() {
            end += u64::from(*length);
            if ms < end {
                return (picture, end);
            }
        }
        (self.clips[clip].len().saturating_sub(1), u64::MAX)
    }

    fn push(&mut self, piece: Piece) -> Result<(), Failure> {
        if self.out.len() >= MAX_FRAMES as usize {
            return Err(Failure::input(format!("the sequence would have more than {MAX_FRAMES} pictures")));
        }
        self.out.push(piece);
        Ok(())
    }

    /// A clip from one moment to another as it is.
    fn plain(&mut self, clip: usize, from: u64, to: u64) -> Result<(), Failure> {
        let mut now = from;
        while now < to {
            let (picture, end) = self.at(clip, now);
            let end = end.min(to).min(now + u64::from(u16::MAX));
            self.push(Piece { first: (clip, picture), second: None, share: 0, ms: (end - now) as u32 })?;
            now = end;
        }
        Ok(())
    }

    /// Steps of a transition, with the share at the middle of each.
    fn steps(transition: u64) -> impl Iterator<Item = (u64, u32, u32)> {
        let step = u64::from(FRAME_MS);
        (0..transition.div_ceil(step)).map(move |number| {
            let start = number * step;
            let end = (start + step).min(transition);
            let share = (start + end) * 255 / (2 * transition);
            (start, (end - start) as u32, share as u32)
        })
    }

    fn crossfaded(&mut self, lengths: &[u64], transition: u64) -> Result<(), Failure> {
        for (clip, length) in lengths.iter().enumerate() {
            let from = if clip == 0 { 0 } else { transition };
            let last = clip + 1 == lengths.len();
            let to = if last { *length } else { length - transition };
            self.plain(clip, from, to.max(from))?;
            if last {
                break;
            }
            for (start, ms, share) in Self::steps(transition) {
                let (going, _) = self.at(clip, length - transition + start);
                let (coming, _) = self.at(clip + 1, start);
                self.push(Piece { first: (clip, going), second: Some((clip + 1, coming)), share, ms })?;
            }
        }
        Ok(())
    }

    fn faded(&mut self, lengths: &[u64], transition: u64) -> Result<(), Failure> {
        for (clip, length) in lengths.iter().enumerate() {
            for (start, ms, share) in Self::steps(transition) {
                self.dark(clip, start, ms, 255 - share)?;
            }
            self.plain(clip, transition, length - transition)?;
            for (start, ms, share) in Self::steps(transition) {
                self.dark(clip, length - transition + start, ms, share)?;
            }
        }
        Ok(())
    }

    fn dark(&mut self, clip: usize, at: u64, ms: u32, share: u32) -> Result<(), Failure> {
        let (picture, _) = self.at(clip, at);
        self.push(Piece { first: (clip, picture), second: None, share, ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(pieces: &[Piece]) -> u32 {
        pieces.iter().map(|piece| piece.ms).sum()
    }

    #[test]
    fn lengths_add_up_and_time_only_goes_on() {
        let clips = vec![vec![400, 400, 400], vec![1000], vec![40; 50]];
        for (kind, expected) in
            [(TransitionType::Cut, 4200), (TransitionType::Fade, 4200), (TransitionType::Crossfade, 3400)]
        {
            let pieces = plan(&clips, kind, 400).expect("the clips are long enough");
            assert_eq!(total(&pieces), expected, "{kind:?}");
            for clip in 0..clips.len() {
                let seen = pieces.iter().flat_map(|piece| [Some(piece.first), piece.second]);
                let seen: Vec<usize> =
                    seen.flatten().filter(|(of, _)| *of == clip).map(|(_, picture)| picture).collect();
                assert!(seen.is_sorted(), "{kind:?} {seen:?}");
            }
        }
    }

    #[test]
    fn too_short_a_clip_is_refused_not_cut() {
        let failure = plan(&[vec![500], vec![300]], TransitionType::Crossfade, 300);
        let message = failure.expect_err("too short").message;
        assert!(message.contains("input 1"), "{message}");
    }

    #[test]
    fn no_more_pictures_than_fit() {
        let long = vec![40; MAX_FRAMES as usize];
        assert!(plan(std::slice::from_ref(&long), TransitionType::Cut, 0).is_ok());
        assert!(plan(&[long, vec![40]], TransitionType::Cut, 0).is_err());
    }
}

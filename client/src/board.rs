//! The live picture of a run on stderr: a line per step that is being worked on.
//!
//! On a terminal a line is repainted in place and the finished ones scroll above; elsewhere a
//! line is printed whenever a step's state, node or attempt changes. The only file that names
//! indicatif, together with the byte meter of `add` and `get`.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    News, RunEvent, StepStatus,
    progress::{duration_text, short_peer, size_text, step_line},
};

/// How fast the spinner turns.
const TICK: Duration = Duration::from_millis(120);
/// More lines than this would push each other off a terminal.
const MAX_LIVE_LINES: usize = 12;

/// Shows a run as it happens.
pub struct StepBoard {
    painter: Painter,
    names: BTreeMap<String, String>,
    shown: BTreeMap<String, StepStatus>,
}

enum Painter {
    Terminal { lines: MultiProgress, live: BTreeMap<String, ProgressBar> },
    Log,
}

impl StepBoard {
    /// `names` are short names for peer ids; a node without one shows as the end of its id.
    pub fn new(names: BTreeMap<String, String>) -> Self {
        let painter = if std::io::stderr().is_terminal() {
            Painter::Terminal { lines: MultiProgress::new(), live: BTreeMap::new() }
        } else {
            Painter::Log
        };
        Self { painter, names, shown: BTreeMap::new() }
    }

    pub fn show(&mut self, event: &RunEvent) {
        if let News::Step(step) = &event.news {
            self.show_step(step);
        }
    }

    fn show_step(&mut self, step: &StepStatus) {
        if !step.state.is_active() && !step.state.is_terminal() {
            return;
        }
        let line = step_line(step, &self.node_name(&step.node));
        let news = self.shown.get(&step.id).is_none_or(|before| {
            (before.state, &before.node, before.attempt) != (step.state, &step.node, step.attempt)
        });
        self.shown.insert(step.id.clone(), step.clone());
        match &mut self.painter {
            Painter::Log if news => print_line(&line),
            Painter::Log => {}
            Painter::Terminal { lines, live } if step.state.is_terminal() => {
                if let Some(bar) = live.remove(&step.id) {
                    bar.finish_and_clear();
                }
                if news {
                    // A terminal that is gone is no reason to fail.
                    let _ = lines.println(line);
                }
            }
            Painter::Terminal { lines, live } => {
                if !live.contains_key(&step.id) && live.len() >= MAX_LIVE_LINES {
                    return;
                }
                let bar = live.entry(step.id.clone()).or_insert_with(|| spinner(lines));
                bar.set_message(line);
            }
        }
    }

    fn node_name(&self, peer_id: &str) -> String {
        match self.names.get(peer_id) {
            Some(name) => format!("{name} {}", short_peer(peer_id)),
            None => short_peer(peer_id),
        }
    }
}

impl Drop for StepBoard {
    fn drop(&mut self) {
        if let Painter::Terminal { lines, .. } = &self.painter {
            let _ = lines.clear();
        }
    }
}

fn spinner(lines: &MultiProgress) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is constant and valid");
    let bar = lines.add(ProgressBar::new_spinner().with_style(style));
    bar.enable_steady_tick(TICK);
    bar
}

fn print_line(line: &str) {
    // Closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Bytes so far and the rate, on a terminal only.
pub struct ByteMeter(ProgressBar);

impl ByteMeter {
    pub fn new(what: &str) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} {decimal_bytes} {decimal_bytes_per_sec}")
            .expect("the template is constant and valid");
        let bar = ProgressBar::new_spinner().with_style(style).with_message(what.to_owned());
        Self(bar)
    }

    pub fn set(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    /// Prints a line of data without tearing the meter apart.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for ByteMeter {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// `120 files, 4.5 GB in 3.2 s: 38 files/s, 1400.0 MB/s`.
pub fn summary(files: u64, bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-6);
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    format!(
        "{files} file{}, {} in {}: {:.0} files/s, {:.1} MB/s",
        if files == 1 { "" } else { "s" },
        size_text(bytes),
        duration_text(ms),
        files as f64 / seconds,
        bytes as f64 / 1e6 / seconds
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_both_rates() {
        assert_eq!(
            summary(100, 50_000_000, Duration::from_millis(2500)),
            "100 files, 50.0 MB in 2.5 s: 40 files/s, 20.0 MB/s"
        );
        assert!(summary(1, 0, Duration::ZERO).starts_with("1 file, 0 B in 0 ms"));
    }
}

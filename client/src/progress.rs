//! One step as one line of text, and sizes and rates as people read them.

use crate::{StepState, StepStatus};

/// Width of the id and type columns; longer ones push the rest to the right.
const ID_WIDTH: usize = 12;
const TYPE_WIDTH: usize = 9;
const STATE_WIDTH: usize = 9;

/// The end of a peer id, where ids differ; they all begin alike.
pub fn short_peer(peer_id: &str) -> String {
    const TAIL: usize = 6;
    let count = peer_id.chars().count();
    if count <= TAIL + 1 {
        return peer_id.to_owned();
    }
    let tail: String = peer_id.chars().skip(count - TAIL).collect();
    format!("…{tail}")
}

/// `graded  TRANSFORM running   on A …x9Yz12  40%  attempt 2`. `node` is the name to show.
pub fn step_line(step: &StepStatus, node: &str) -> String {
    let mut line = format!(
        "{:ID_WIDTH$} {:TYPE_WIDTH$} {:STATE_WIDTH$}",
        printable(&step.id),
        printable(&step.kind),
        step.state.word()
    );
    if !node.is_empty() {
        line.push_str(if step.state == StepState::Hit { " from " } else { " on " });
        line.push_str(&printable(node));
    }
    if step.state.is_active() && step.progress > 0.0 {
        line.push_str(&format!("  {:.0}%", step.progress * 100.0));
    }
    if step.state == StepState::Succeeded {
        line.push_str(&format!("  {}", duration_text(step.ms)));
    }
    if step.attempt > 1 {
        line.push_str(&format!("  attempt {}", step.attempt));
    }
    if matches!(step.state, StepState::Failed | StepState::Skipped) && !step.message.is_empty() {
        line.push_str(&format!("  {}", printable(&step.message)));
    }
    line.trim_end().to_owned()
}

/// A node's text may hold anything; a terminal must not obey it, and a line stays one line.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub fn duration_text(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1e3),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// Decimal units, as disks and networks are sold.
pub fn size_text(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    for (unit, size) in UNITS {
        if bytes >= size {
            return format!("{:.1} {unit}", bytes as f64 / size as f64);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(state: StepState) -> StepStatus {
        StepStatus {
            id: "graded".to_owned(),
            kind: "TRANSFORM".to_owned(),
            state,
            node: "12D3KooWAbcdef".to_owned(),
            attempt: 1,
            cid: None,
            ms: 1234,
            progress: 0.4,
            message: "bad\ninput\u{1b}[2J".to_owned(),
            cache_id: None,
            action_id: None,
        }
    }

    #[test]
    fn a_line_says_what_where_and_how_far() {
        let cases = [
            (StepState::Waiting, "graded       TRANSFORM waiting   on A"),
            (StepState::Running, "graded       TRANSFORM running   on A  40%"),
            (StepState::Succeeded, "graded       TRANSFORM succeeded on A  1.2 s"),
            (StepState::Hit, "graded       TRANSFORM hit       from A"),
            (StepState::Failed, "graded       TRANSFORM failed    on A  bad input [2J"),
        ];
        for (state, line) in cases {
            assert_eq!(step_line(&step(state), "A"), line);
        }
    }

    #[test]
    fn a_second_attempt_and_a_missing_node_show() {
        let again = StepStatus { attempt: 2, ..step(StepState::Running) };
        assert_eq!(step_line(&again, "B"), "graded       TRANSFORM running   on B  40%  attempt 2");
        assert_eq!(step_line(&step(StepState::Ready), ""), "graded       TRANSFORM ready");
    }

    #[test]
    fn a_peer_is_known_by_its_end() {
        assert_eq!(short_peer("12D3KooWAbcdefGHIJKL"), "…GHIJKL");
        assert_eq!(short_peer("short"), "short");
        assert_eq!(short_peer("ééééééééééé"), "…éééééé");
    }

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(size_text(999), "999 B");
        assert_eq!(size_text(1_500_000), "1.5 MB");
        assert_eq!(duration_text(999), "999 ms");
        assert_eq!(duration_text(61_500), "1 min 1 s");
    }
}

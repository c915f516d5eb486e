//! Rows of a bench: samples of ours and of a peer, the ratio, and whether goals are met.
//!
//! `ratio > 1` always means that ours is better, whichever way the unit counts. It is the median over the pairs,
//! which were taken in turn, so that a machine that slows down meanwhile hurts both alike. A row without a goal is
//! `reported`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

/// Which way the unit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    #[allow(dead_code)] // throughputs come with the next benches
    Higher,
}

/// What a row promises: `of` (`ours`, `ratio`, or a named floor) compares with `value` by `op`.
#[derive(Clone, Debug)]
pub struct Goal {
    pub op: &'static str,
    pub value: f64,
    pub of: &'static str,
}

/// One thing measured.
#[derive(Clone, Debug)]
pub struct Row {
    pub work: String,
    pub unit: &'static str,
    pub better: Better,
    pub samples_ours: Vec<f64>,
    pub peer_name: Option<String>,
    pub samples_peer: Vec<f64>,
    pub goals: Vec<Goal>,
    /// What the machine can do at best; a goal `of` one is about how close ours comes, 1 being equal.
    pub floors: BTreeMap<&'static str, Vec<f64>>,
    /// What keeps it from being better.
    pub bound_by: &'static str,
}

impl Row {
    /// A row with nothing measured yet.
    pub fn new(work: &str, unit: &'static str, better: Better, bound_by: &'static str) -> Row {
        Row {
            work: work.to_string(),
            unit,
            better,
            samples_ours: Vec::new(),
            peer_name: None,
            samples_peer: Vec::new(),
            goals: Vec::new(),
            floors: BTreeMap::new(),
            bound_by,
        }
    }

    pub fn goal(mut self, of: &'static str, op: &'static str, value: f64) -> Row {
        self.goals.push(Goal { op, value, of });
        self
    }

    pub fn beside(mut self, peer_name: &str) -> Row {
        self.peer_name = Some(peer_name.to_string());
        self
    }

    /// Above 1: ours is better. None without a peer.
    pub fn ratio(&self) -> Option<f64> {
        let pairs = self.samples_ours.iter().zip(&self.samples_peer);
        median(&pairs.map(|(ours, peer)| self.times_better(*ours, *peer)).collect::<Vec<f64>>())
    }

    fn times_better(&self, ours: f64, other: f64) -> f64 {
        match self.better {
            Better::Lower => other / ours,
            Better::Higher => ours / other,
        }
    }

    fn value_of(&self, of: &str) -> Option<f64> {
        match of {
            "ours" => median(&self.samples_ours),
            "ratio" => self.ratio(),
            floor => Some(self.times_better(median(&self.samples_ours)?, median(self.floors.get(floor)?)?)),
        }
    }

    /// Whether every goal is met; None without goals. What could not be measured is not met.
    pub fn met(&self) -> Option<bool> {
        let holds = |goal: &Goal| self.value_of(goal.of).is_some_and(|value| compare(value, goal.op, goal.value));
        (!self.goals.is_empty()).then(|| self.goals.iter().all(holds))
    }

    fn verdict(&self) -> Value {
        self.met().map_or_else(|| json!("reported"), Value::from)
    }

    fn json(&self) -> Value {
        let goals = self.goals.iter().map(|goal| json!({"op": goal.op, "value": goal.value, "of": goal.of}));
        json!({
            "work": self.work,
            "unit": self.unit,
            "better": match self.better { Better::Lower => "lower", Better::Higher => "higher" },
            "samples_ours": self.samples_ours,
            "peer_name": self.peer_name,
            "samples_peer": self.samples_peer,
            "ratio": self.ratio(),
            "goals": goals.collect::<Vec<Value>>(),
            "met": self.verdict(),
            "bound_by": self.bound_by,
            "floors": self.floors,
        })
    }
}

fn compare(value: f64, op: &str, goal: f64) -> bool {
    match op {
        "<" => value < goal,
        "<=" => value <= goal,
        ">" => value > goal,
        ">=" => value >= goal,
        other => panic!("`{other}` is no comparison"),
    }
}

/// The middle of the samples.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|sample| sample.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// What stands in `target/bench/NAME.json`.
pub fn json(name: &str, machine: &Machine, rows: &[Row]) -> Value {
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    json!({"name": name, "machine": machine.to_string(), "rows": rows})
}

/// The rows as Markdown: medians, with the smallest and largest sample.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| work | unit | ours | peer | ratio | goal | met | bound by |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let peer = match &row.peer_name {
            Some(name) => format!("{} ({name})", spread(&row.samples_peer)),
            None => "–".into(),
        };
        let ratio = row.ratio().map_or("–".into(), |ratio| format!("{ratio:.2}"));
        let goals: Vec<String> =
            row.goals.iter().map(|goal| format!("{} {} {}", goal.of, goal.op, goal.value)).collect();
        let met = match row.met() {
            None => "reported",
            Some(true) => "yes",
            Some(false) => "**no**",
        };
        let cells =
            [&row.work, row.unit, &spread(&row.samples_ours), &peer, &ratio, &goals.join(", "), met, row.bound_by];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

fn spread(samples: &[f64]) -> String {
    let Some(middle) = median(samples) else { return "–".into() };
    let lowest = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if samples.len() == 1 { format!("{middle:.2}") } else { format!("{middle:.2} ({lowest:.2}–{highest:.2})") }
}

/// What the numbers were taken on.
#[derive(Clone, Debug)]
pub struct Machine(String);

impl Machine {
    pub fn look() -> Machine {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine(format!("{cores} cores of {}, Linux {}", model.unwrap_or("an unnamed CPU").trim(), kernel.trim()))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(better: Better, ours: &[f64], peer: &[f64]) -> Row {
        let mut row = Row::new("w", "s", better, "nothing").beside("peer");
        row.samples_ours = ours.to_vec();
        row.samples_peer = peer.to_vec();
        row
    }

    #[test]
    fn a_ratio_above_one_is_ours_whichever_way_the_unit_counts() {
        assert_eq!(row(Better::Lower, &[1.0, 2.0, 4.0], &[2.0, 4.0, 8.0]).ratio(), Some(2.0));
        assert_eq!(row(Better::Higher, &[4.0, 8.0], &[2.0, 4.0]).ratio(), Some(2.0));
        assert_eq!(row(Better::Lower, &[1.0], &[]).ratio(), None);
    }

    #[test]
    fn goals_are_about_ours_the_ratio_or_a_floor() {
        let good = row(Better::Lower, &[1.0], &[2.0]).goal("ours", "<=", 1.0).goal("ratio", ">", 1.9);
        assert_eq!(good.met(), Some(true));
        assert_eq!(good.clone().goal("cp", ">=", 0.5).met(), Some(false), "an unknown floor is not met");
        let mut near = row(Better::Higher, &[9.0], &[]).goal("cp", ">=", 0.9);
        near.floors.insert("cp", vec![10.0]);
        assert_eq!(near.met(), Some(true));
        let reported = row(Better::Lower, &[1.0], &[2.0]);
        assert_eq!((reported.met(), reported.json()["met"].as_str()), (None, Some("reported")));
    }
}

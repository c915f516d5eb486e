//! Random plans on random clusters that die, lose, refuse and stay silent, against an oracle.
//! One seed decides all.

use std::collections::{BTreeMap, BTreeSet};

use super::{content, info, node, plan_of};
use crate::identity::Origin;
use crate::planner::{Plan, StepInput};
use crate::scheduler::*;

/// Seeds that once failed.
const SEEDS_KEPT: &[u64] = &[];
const SEEDS: u64 = 1500;
/// Far more than any run takes; a run that needs them does not end.
const MOST_EVENTS: usize = 200_000;

/// SplitMix64 (Steele, Lea, Flood 2014): small and good enough to choose with.
struct Random(u64);

impl Random {
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

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

fn random_plan(random: &mut Random) -> Plan {
    let steps = 1 + random.below(14);
    let mut lines = String::new();
    for step in 0..steps {
        let mut inputs = Vec::new();
        for _ in 0..=random.below(3) {
            let input = random.below(step + 1);
            inputs.push(if input == step { "clip".to_owned() } else { format!("s{input}") });
        }
        lines += &format!("s{step}: {}\n", inputs.join(", "));
    }
    plan_of(&lines)
}

/// How much goes wrong.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// In a hundred attempts.
    failures: u64,
    /// In a hundred events.
    deaths: u64,
}

/// What is true, apart from what the scheduler believes.
struct World {
    seed: u64,
    random: Random,
    weather: Weather,
    plan: Plan,
    run: Scheduler,
    now_ms: u64,
    /// What will be told, by time and then by order of making.
    future: BTreeMap<(u64, u64), Input>,
    made: u64,
    wake_ms: Option<u64>,
    up: BTreeMap<Origin, NodeInfo>,
    down: Vec<NodeInfo>,
    /// Attempts under way: where.
    active: BTreeMap<usize, (u32, Origin)>,
    attempts: Vec<u32>,
    /// Busy: the next attempt has the same number.
    refused: BTreeSet<usize>,
    outputs: Vec<Option<cid::Cid>>,
    executions: usize,
    finished: Option<RunOutcome>,
}

impl World {
    fn new(seed: u64, weather: Weather) -> Self {
        let mut random = Random(seed);
        let plan = random_plan(&mut random);
        let run = Scheduler::new(&plan, Limits::default());
        let steps = plan.steps.len();
        let mut world = Self {
            seed,
            random,
            weather,
            plan,
            run,
            now_ms: 0,
            future: BTreeMap::new(),
            made: 0,
            wake_ms: None,
            up: BTreeMap::new(),
            down: Vec::new(),
            active: BTreeMap::new(),
            attempts: vec![0; steps],
            refused: BTreeSet::new(),
            outputs: vec![None; steps],
            executions: 0,
            finished: None,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for number in 0..=self.random.below(4) {
            let slots = 1 + self.random.below(3);
            let mut info = info(number as u8 + 1, slots as u32);
            if self.random.percent(15) {
                info.toolsets = ["builtin-1".to_owned()].into();
            }
            self.node_up(info);
        }
        for step in 0..self.plan.steps.len() {
            if self.random.percent(10) {
                self.hit(step);
            }
        }
        self.tell(Input::Start);
    }

    fn later(&mut self, wait_ms: u64, input: Input) {
        self.made += 1;
        self.future.insert((self.now_ms + wait_ms, self.made), input);
    }

    fn node_up(&mut self, info: NodeInfo) {
        self.up.insert(info.id, info.clone());
        self.tell(Input::NodeUp(info));
    }

    fn hit(&mut self, step: usize) {
        let cid = content(&format!("hit {step}"));
        self.tell(Input::Hit { step, cid, node: node(1), content_hash: None, size: Some(10) });
    }

    /// Tells the scheduler, believes what it says about states, checks what it asks for.
    fn tell(&mut self, input: Input) {
        if let Input::NodeDown(gone) = &input {
            self.active.retain(|_, (_, on)| on != gone);
        }
        for output in self.run.handle(self.now_ms, input) {
            assert!(self.finished.is_none(), "seed {}: {output:?} after the end", self.seed);
            self.asked(output);
        }
    }

    fn asked(&mut self, output: Output) {
        match output {
            Output::Execute { step, attempt, node, action, holders, timeout_ms } => {
                assert_eq!(holders.len(), action.inputs.len());
                self.check_execute(step, attempt, node, &action.inputs);
                self.active.insert(step, (attempt, node));
                self.attempts[step] = attempt;
                self.refused.remove(&step);
                self.executions += 1;
                self.fate(step, attempt, node, timeout_ms, &action.inputs);
            }
            Output::Abort { step, .. } => drop(self.active.remove(&step)),
            Output::StepChanged(status) => {
                assert_eq!(status.cid.is_some(), matches!(status.state, StepState::Succeeded | StepState::Hit));
                self.outputs[status.step] = status.cid;
            }
            Output::Finished(outcome) => {
                assert!(self.active.is_empty(), "seed {}: attempts outlive the run", self.seed);
                self.finished = Some(outcome);
            }
            Output::WakeAt(time) => self.wake_ms = Some(time),
        }
    }

    fn check_execute(&self, step: usize, attempt: u32, node: Origin, inputs: &[cid::Cid]) {
        let seed = self.seed;
        let info = self.up.get(&node).unwrap_or_else(|| panic!("seed {seed}: node {node} is down"));
        assert!(info.toolsets.contains("ffmpeg-5.1"), "seed {seed}: no tools");
        let there = self.active.values().filter(|(_, on)| *on == node).count();
        assert!(there < info.slots as usize, "seed {seed}: no slot");
        assert!(!self.active.contains_key(&step), "seed {seed}: step {step} twice at once");
        let next = self.attempts[step] + u32::from(!self.refused.contains(&step));
        assert_eq!(attempt, next, "seed {seed}: attempts are counted");
        assert!(attempt <= 32, "seed {seed}: step {step} is tried for ever");
        assert!(self.outputs[step].is_none(), "seed {seed}: step {step} has an output");
        let wanted = self.plan.steps[step].inputs.iter().map(|input| match input {
            StepInput::Source(_) => Some(content("clip")),
            StepInput::Step(id) => {
                let input = self.plan.steps.iter().position(|step| step.id == *id);
                self.outputs[input.expect("an input is a step")]
            }
        });
        let wanted: Option<Vec<_>> = wanted.collect();
        assert_eq!(wanted.as_deref(), Some(inputs), "seed {seed}: inputs of {step}");
    }

    /// Decides what becomes of an attempt.
    fn fate(&mut self, step: usize, attempt: u32, node: Origin, timeout_ms: u64, inputs: &[cid::Cid]) {
        let took_ms = 1 + self.random.below(3000);
        let mut news = |wait_ms, event| self.later(wait_ms, Input::Event { step, attempt, event });
        news(0, StepEvent::Fetching);
        news(took_ms / 2, StepEvent::Running { progress: 0.5, message: "half".to_owned() });
        let failed = |class| StepEvent::Failed { class, message: "bad luck".to_owned() };
        let end = if self.random.percent(self.weather.failures) {
            match self.random.below(8) {
                0 => failed(FailureClass::Input),
                1 | 2 => failed(FailureClass::Executor),
                3 => failed(FailureClass::Node),
                4 => failed(FailureClass::Disconnected),
                5 => failed(FailureClass::Busy),
                6 => {
                    let lost = self.random.below(inputs.len() as u64 + 1) as usize;
                    failed(FailureClass::LostBytes { missing: inputs.get(lost).copied().into_iter().collect() })
                }
                // Silence: only the deadline ends it.
                _ => return assert!(timeout_ms > 0),
            }
        } else {
            let cid = content(&format!("{step} of {inputs:?}"));
            let reused = if self.random.percent(10) { Reuse::Reused } else { Reuse::Executed };
            StepEvent::Done { cid, ms: took_ms, content_hash: None, size: self.random.below(1 << 30), reused, node }
        };
        self.later(took_ms, Input::Event { step, attempt, event: end });
    }

    fn deaths(&mut self) {
        if !self.up.is_empty() && self.random.percent(self.weather.deaths) {
            let victim = self.random.below(self.up.len() as u64) as usize;
            let (id, info) = self.up.iter().nth(victim).map(|(id, info)| (*id, info.clone())).expect("it is up");
            self.up.remove(&id);
            self.down.push(info);
            self.tell(Input::NodeDown(id));
        }
        if !self.down.is_empty() && self.random.percent(self.weather.deaths) {
            let info = self.down.remove(0);
            self.node_up(info);
        }
        if self.random.percent(1) {
            let step = self.random.below(self.plan.steps.len() as u64) as usize;
            self.hit(step);
        }
    }

    /// The next thing that happens: news or a wake, whichever is first.
    fn next(&mut self) -> Option<Input> {
        let news = self.future.first_key_value().map(|(key, _)| *key);
        match (news, self.wake_ms) {
            (Some(key), wake) if wake.is_none_or(|wake| key.0 <= wake) => {
                self.now_ms = self.now_ms.max(key.0);
                self.future.remove(&key)
            }
            (_, Some(wake)) => {
                self.now_ms = self.now_ms.max(wake);
                self.wake_ms = None;
                Some(Input::Tick)
            }
            _ => None,
        }
    }

    /// Whether news is of the attempt under way; then it may end it.
    fn note(&mut self, input: &Input) {
        let Input::Event { step, attempt, event } = input else { return };
        if self.active.get(step).is_none_or(|(current, _)| current != attempt) {
            return;
        }
        if let StepEvent::Done { .. } | StepEvent::Failed { .. } = event {
            self.active.remove(step);
        }
        if let StepEvent::Failed { class: FailureClass::Busy, .. } = event {
            self.refused.insert(*step);
        }
    }

    fn play(mut self) -> Self {
        for _ in 0..MOST_EVENTS {
            if self.finished.is_some() {
                self.check_end();
                return self;
            }
            let seed = self.seed;
            let input = self.next().unwrap_or_else(|| panic!("seed {seed}: nothing will ever happen"));
            self.note(&input);
            self.tell(input);
            if self.finished.is_none() {
                self.deaths();
            }
        }
        panic!("seed {}: it does not end", self.seed);
    }

    fn check_end(&self) {
        let seed = self.seed;
        for status in self.run.step_states() {
            let open = status.state.is_pending() || status.state.is_active();
            assert!(!open, "seed {seed}: {status:?} at the end");
        }
        let output = self.plan.steps.iter().position(|step| step.id == self.plan.output);
        match self.finished.as_ref().expect("it ended") {
            RunOutcome::Succeeded { cid, .. } => {
                assert_eq!(self.outputs[output.expect("a step")], Some(*cid), "seed {seed}");
            }
            RunOutcome::Failed { message } => assert!(!message.is_empty(), "seed {seed}"),
            RunOutcome::Cancelled => panic!("seed {seed}: nobody cancelled it"),
        }
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    SEEDS_KEPT.iter().copied().chain(0..SEEDS)
}

#[test]
fn in_any_weather_a_run_ends_once_and_keeps_its_promises() {
    let mut ended = BTreeMap::new();
    for seed in seeds() {
        let weather = Weather { failures: 10 + seed % 50, deaths: seed % 12 };
        let world = World::new(seed, weather).play();
        let how = match world.finished {
            Some(RunOutcome::Succeeded { .. }) => "succeeded",
            _ => "failed",
        };
        *ended.entry(how).or_insert(0) += 1;
    }
    // Weather that always or never fails a run would test half of it.
    assert!(ended["succeeded"] > 100 && ended["failed"] > 100, "{ended:?}");
}

#[test]
fn in_fair_weather_every_run_succeeds_and_no_step_runs_twice() {
    for seed in seeds() {
        let world = World::new(seed, Weather { failures: 0, deaths: 0 });
        let able = world.up.values().any(|info| info.toolsets.contains("ffmpeg-5.1"));
        let world = world.play();
        if able {
            assert!(matches!(world.finished, Some(RunOutcome::Succeeded { .. })), "seed {seed}");
        }
        assert!(world.executions <= world.plan.steps.len(), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let play = |seed| {
        let world = World::new(seed, Weather { failures: 30, deaths: 5 }).play();
        (world.finished, world.executions, world.now_ms)
    };
    for seed in 0..50 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
}

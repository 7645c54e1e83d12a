//! What was measured, and how it is shown.

use std::collections::BTreeMap;
use std::fmt::Write;

use hdrhistogram::Histogram;

use super::svg::{Line, Plot};
use super::{Args, BASELINE, CEILING};
use crate::harness::frames::Sizes;
use crate::harness::{Kind, Pin, Run};
use crate::machine;
use crate::stats::{Summary, short};

/// What the other side did before a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Latency {
    Awake,
    Asleep,
}

type Key = (&'static str, Sizes);

pub(super) struct Figures {
    names: Vec<&'static str>,
    busy: Vec<&'static str>,
    sizes: Vec<Sizes>,
    rounds: usize,
    seconds: f64,
    pin: Pin,
    ring: usize,
    load: String,
    runs: BTreeMap<Key, BTreeMap<usize, Run>>,
    /// Nanoseconds at p50, p99 and p99.9 of each round.
    times: BTreeMap<(Key, Latency), Vec<[f64; 3]>>,
    ceilings: BTreeMap<Sizes, Vec<f64>>,
    notes: Vec<String>,
}

impl Figures {
    pub fn new(args: &Args, kinds: &[Kind]) -> Figures {
        Figures {
            names: kinds.iter().map(|kind| kind.name).collect(),
            busy: kinds.iter().filter(|kind| kind.busy_polls).map(|kind| kind.name).collect(),
            sizes: args.sizes.clone(),
            rounds: args.rounds,
            seconds: args.seconds,
            pin: args.pin,
            ring: args.ring,
            load: machine::load(),
            runs: BTreeMap::new(),
            times: BTreeMap::new(),
            ceilings: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    pub fn add_run(&mut self, name: &'static str, sizes: Sizes, round: usize, run: Run) {
        self.runs.entry((name, sizes)).or_default().insert(round, run);
    }

    pub fn add_times(
        &mut self,
        name: &'static str,
        sizes: Sizes,
        latency: Latency,
        times: &Histogram<u64>,
    ) {
        let at = [0.5, 0.99, 0.999].map(|part| times.value_at_quantile(part) as f64);
        self.times.entry(((name, sizes), latency)).or_default().push(at);
    }

    pub fn add_ceiling(&mut self, sizes: Sizes, gbits: f64) {
        self.ceilings.entry(sizes).or_default().push(gbits);
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn summary(&self, key: Key, figure: impl Fn(&Run) -> f64) -> Option<Summary> {
        Summary::of(self.runs.get(&key)?.values().map(figure))
    }

    /// Of each round's own baseline.
    fn ratio(&self, (name, sizes): Key) -> Option<Summary> {
        let base = self.runs.get(&(BASELINE, sizes))?;
        let runs = self.runs.get(&(name, sizes))?.iter();
        let pairs = runs.filter_map(|(round, run)| Some((run, base.get(round)?)));
        Summary::of(pairs.map(|(run, base)| run.frame_rate() / base.frame_rate()))
    }

    fn ceiling(&self, sizes: Sizes) -> Option<f64> {
        Some(Summary::of(self.ceilings.get(&sizes)?.iter().copied())?.median)
    }

    /// Median over the rounds of one percentile.
    fn percentile(&self, key: Key, latency: Latency, which: usize) -> Option<f64> {
        let times = self.times.get(&(key, latency))?;
        Some(Summary::of(times.iter().map(|at| at[which]))?.median)
    }

    pub fn markdown(&self, title: &str, command: &str, plots: Option<&str>) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out, title, command, plots);
        out
    }

    fn write(
        &self,
        out: &mut String,
        title: &str,
        command: &str,
        plots: Option<&str>,
    ) -> std::fmt::Result {
        let pin = match self.pin {
            Pin::Apart => "each on a processor of its own",
            Pin::Together => "both on one processor",
            Pin::Free => "not pinned",
        };
        writeln!(out, "# {title}\n\nMachine: {}.\n", machine::line())?;
        writeln!(out, "Command: `{command}`.")?;
        writeln!(
            out,
            "Two processes, {pin}; ring of {} KiB; {} rounds of {} s, channels in turn within a \
             round; median (smallest..largest). Every frame is checked: sequence, length, a byte \
             per cache line. Load average before {}, after {}.",
            self.ring >> 10,
            self.rounds,
            self.seconds,
            self.load,
            machine::load()
        )?;
        if !self.busy.is_empty() {
            writeln!(
                out,
                "\nKeeps a processor busy while it waits: {}. All others sleep.",
                self.busy.join(", ")
            )?;
        }
        if let Some(name) = plots {
            writeln!(out, "\n![Goodput against frame size]({name}-goodput.svg)")?;
            writeln!(out, "\n![Round trip against frame size]({name}-round-trip.svg)")?;
        }
        self.table(out, "Goodput, Gbit/s", true, |key| {
            self.summary(key, Run::gbits).map(|it| it.to_string())
        })?;
        self.table(out, &format!("Frames a second, as a multiple of {BASELINE}"), false, |key| {
            self.ratio(key).map(|it| format!("{:.2}", it.median))
        })?;
        self.table(out, "Million frames a second", false, |key| {
            self.summary(key, |run| run.frame_rate() / 1e6).map(|it| short(it.median))
        })?;
        self.table(out, "Processor seconds per GiB, both sides", false, |key| {
            self.summary(key, Run::cpu_per_gib).map(|it| short(it.median))
        })?;
        if self.times.keys().any(|key| key.1 == Latency::Awake) {
            let head = "Round trip in us, one after the other: p50 / p99 / p99.9";
            self.table(out, head, false, |key| self.times_of(key, Latency::Awake))?;
        }
        if self.times.keys().any(|key| key.1 == Latency::Asleep) {
            let head = "Round trip in us, both asleep before each: p50 / p99 / p99.9";
            self.table(out, head, false, |key| self.times_of(key, Latency::Asleep))?;
        }
        for note in &self.notes {
            writeln!(out, "\n- {note}")?;
        }
        Ok(())
    }

    fn times_of(&self, key: Key, latency: Latency) -> Option<String> {
        let at = |which| Some(short(self.percentile(key, latency, which)? / 1e3));
        Some(format!("{} / {} / {}", at(0)?, at(1)?, at(2)?))
    }

    fn table(
        &self,
        out: &mut String,
        head: &str,
        with_ceiling: bool,
        cell: impl Fn(Key) -> Option<String>,
    ) -> std::fmt::Result {
        let used = |&&sizes: &&Sizes| self.names.iter().any(|name| cell((name, sizes)).is_some());
        let columns: Vec<Sizes> = self.sizes.iter().filter(used).copied().collect();
        let names: Vec<String> = columns.iter().map(ToString::to_string).collect();
        writeln!(out, "\n## {head}\n\n| channel | {} |", names.join(" | "))?;
        writeln!(out, "|---|{}", "--:|".repeat(columns.len()))?;
        for &name in &self.names {
            let cells: Vec<String> = columns
                .iter()
                .map(|&sizes| cell((name, sizes)).unwrap_or_else(|| "-".to_owned()))
                .collect();
            writeln!(out, "| {name} | {} |", cells.join(" | "))?;
        }
        if with_ceiling {
            let cells: Vec<String> =
                columns.iter().filter_map(|&sizes| self.ceiling(sizes)).map(short).collect();
            writeln!(out, "| {CEILING} | {} |", cells.join(" | "))?;
        }
        Ok(())
    }

    pub fn goodput_plot(&self) -> String {
        let mut lines = self.lines(|key| Some(self.summary(key, Run::gbits)?.median));
        lines.push(Line {
            name: CEILING.to_owned(),
            points: self.points(|sizes| self.ceiling(sizes)),
        });
        Plot { title: "Goodput", x: "bytes in a frame", y: "Gbit/s", lines }.svg()
    }

    pub fn round_trip_plot(&self) -> String {
        let lines = self.lines(|key| Some(self.percentile(key, Latency::Awake, 0)? / 1e3));
        Plot { title: "Round trip, median", x: "bytes in a frame", y: "us", lines }.svg()
    }

    fn lines(&self, figure: impl Fn(Key) -> Option<f64>) -> Vec<Line> {
        let line = |&name: &&'static str| Line {
            name: name.to_owned(),
            points: self.points(|sizes| figure((name, sizes))),
        };
        self.names.iter().map(line).collect()
    }

    fn points(&self, figure: impl Fn(Sizes) -> Option<f64>) -> Vec<(f64, f64)> {
        let point = |&sizes: &Sizes| match sizes {
            Sizes::All(len) => Some((f64::from(len), figure(sizes)?)),
            Sizes::Mixed => None,
        };
        self.sizes.iter().filter_map(point).collect()
    }
}

//! The figures as markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use stdpkt_benches::machine;
use stdpkt_benches::netperf::Test;
use stdpkt_benches::stats::Summary;

use crate::way::{ALL, RATIOS, Way};

/// What was measured so far: figures by round.
pub struct Report {
    rounds: usize,
    seconds: u32,
    load: String,
    figures: BTreeMap<(u32, Way, Test), BTreeMap<usize, f64>>,
    notes: Vec<String>,
}

impl Report {
    pub fn new(rounds: usize, seconds: u32) -> Report {
        let (figures, notes) = (BTreeMap::new(), Vec::new());
        Report { rounds, seconds, load: machine::load(), figures, notes }
    }

    pub fn add(&mut self, mtu: u32, way: Way, test: Test, round: usize, value: f64) {
        self.figures.entry((mtu, way, test)).or_default().insert(round, value);
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Of the figures of one round each.
    fn ratio(&self, mtu: u32, test: Test, over: Way, under: Way) -> Option<Summary> {
        let over = self.figures.get(&(mtu, over, test))?;
        let under = self.figures.get(&(mtu, under, test))?;
        let pairs = over.iter().filter_map(|(round, value)| Some((value, under.get(round)?)));
        Summary::of(pairs.filter(|(_, under)| **under > 0.0).map(|(over, under)| over / under))
    }

    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Report { rounds, seconds, load, .. } = self;
        writeln!(out, "Machine: {}.\n", machine::line())?;
        // As it was called: not what it gave itself.
        let words = std::env::args().skip(1).take_while(|word| word != "--inside");
        let words: Vec<String> = words.collect();
        let command = format!(
            "cargo run --release -p stdpkt-benches --bin edges-report -- {}",
            words.join(" ")
        );
        writeln!(out, "Command: `{}`.", command.trim_end())?;
        writeln!(
            out,
            "Median (smallest..largest) of {rounds} rounds of {seconds} s, ways in turn; ratios are medians of the rounds' ratios. Load average before {load}, after {}.",
            machine::load()
        )?;
        let mtus: BTreeSet<u32> = self.figures.keys().map(|key| key.0).collect();
        let tests: BTreeSet<Test> = self.figures.keys().map(|key| key.2).collect();
        for mtu in mtus {
            let heads: Vec<String> =
                tests.iter().map(|test| format!("{test}, {}", test.unit())).collect();
            writeln!(out, "\n## MTU {mtu}\n\n| way | {} | against |", heads.join(" | "))?;
            writeln!(out, "|---|{}---|", "--:|".repeat(tests.len()))?;
            for way in ALL {
                self.row(out, mtu, &tests, way)?;
            }
        }
        if !self.notes.is_empty() {
            writeln!(out)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "- {note}"))
    }

    fn row(
        &self,
        out: &mut String,
        mtu: u32,
        tests: &BTreeSet<Test>,
        way: Way,
    ) -> std::fmt::Result {
        let summary = |test: &Test| {
            let figures = self.figures.get(&(mtu, way, *test))?;
            Summary::of(figures.values().copied())
        };
        if tests.iter().all(|test| summary(test).is_none()) {
            return Ok(());
        }
        let figures: Vec<String> = tests
            .iter()
            .map(|test| summary(test).map_or("-".to_owned(), |summary| summary.to_string()))
            .collect();
        let against = RATIOS.iter().filter(|(over, _)| *over == way).map(|&(over, under)| {
            let ratios: Vec<String> = tests
                .iter()
                .filter_map(|&test| self.ratio(mtu, test, over, under))
                .map(|ratio| format!("{:.2}", ratio.median))
                .collect();
            format!("{} x {under}", ratios.join(", "))
        });
        let against: Vec<String> = against.collect();
        writeln!(out, "| {way} | {} | {} |", figures.join(" | "), against.join("; "))
    }
}

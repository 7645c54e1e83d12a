//! The figures as markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use stdpkt_benches::machine;
use stdpkt_benches::netperf::Test;
use stdpkt_benches::stats::Summary;

use crate::channel::{ALL, Channel};
use crate::idle::Idle;

type Key = (u32, Test, Channel);

/// What was measured so far.
pub struct Report {
    rounds: usize,
    seconds: u32,
    load: String,
    /// Figures by round.
    figures: BTreeMap<Key, BTreeMap<usize, f64>>,
    notes: Vec<String>,
    setup: Option<String>,
    idle: Option<String>,
}

/// Ratios shown: the first channel over the second.
const RATIOS: [(Channel, Channel); 4] = [
    (Channel::Shm, Channel::Fifo),
    (Channel::Shm, Channel::TapCopy),
    (Channel::Shm, Channel::Veth),
    (Channel::Shm, Channel::Vdens),
];

impl Report {
    pub fn new(rounds: usize, seconds: u32) -> Report {
        let (figures, notes) = (BTreeMap::new(), Vec::new());
        Report { rounds, seconds, load: machine::load(), figures, notes, setup: None, idle: None }
    }

    pub fn add(&mut self, mtu: u32, test: Test, channel: Channel, round: usize, value: f64) {
        self.figures.entry((mtu, test, channel)).or_default().insert(round, value);
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub fn setup(&mut self, times: &[Duration]) {
        let mut micros: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
        micros.sort_by(f64::total_cmp);
        let at = |part: f64| micros[((micros.len() - 1) as f64 * part) as usize];
        self.setup = Some(format!(
            "Link set-up, from both processes running to the first frame received, {} links: \
             median {:.0} us, p90 {:.0} us, p99 {:.0} us.",
            micros.len(),
            at(0.5),
            at(0.9),
            at(0.99)
        ));
    }

    pub fn idle(&mut self, idle: &Idle) {
        self.idle = Some(format!(
            "An idle chain of 3 functions ({} processes with the programs in them), watched for \
             {} s: {} context switches, {} clock ticks of processor time.",
            idle.processes, idle.seconds, idle.spent.switches, idle.spent.ticks
        ));
    }

    fn summary(&self, key: Key) -> Option<Summary> {
        Summary::of(self.figures.get(&key)?.values().copied())
    }

    /// Of the two channels' figures of one round.
    fn ratio(&self, mtu: u32, test: Test, over: Channel, under: Channel) -> Option<Summary> {
        let under = self.figures.get(&(mtu, test, under))?;
        let over = self.figures.get(&(mtu, test, over))?;
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
        writeln!(out, "# Two functions end to end, netns stack\n")?;
        writeln!(out, "Machine: {}.\n", machine::line())?;
        let words: Vec<String> = std::env::args().skip(1).collect();
        let command = format!(
            "cargo run --release -p stdpkt-benches --bin netns-report -- {}",
            words.join(" ")
        );
        writeln!(out, "Command: `{}`.", command.trim_end())?;
        writeln!(
            out,
            "Median (smallest..largest) of {rounds} rounds of {seconds} s, channels in turn; ratios are medians of the rounds' ratios. Load average before {load}, after {}.",
            machine::load()
        )?;
        writeln!(
            out,
            "`tap-copy` is a loop from TAP to TAP without a link, the ceiling of any link. UDP_STREAM is what arrived."
        )?;
        let mtus: BTreeSet<u32> = self.figures.keys().map(|key| key.0).collect();
        for mtu in mtus {
            self.table(out, mtu)?;
        }
        for text in self.setup.iter().chain(&self.idle) {
            writeln!(out, "\n{text}")?;
        }
        if !self.notes.is_empty() {
            writeln!(out)?;
        }
        for note in &self.notes {
            writeln!(out, "- {note}")?;
        }
        Ok(())
    }

    fn table(&self, out: &mut String, mtu: u32) -> std::fmt::Result {
        let of_mtu = |key: &&Key| key.0 == mtu;
        let measured: BTreeSet<Channel> = self.figures.keys().filter(of_mtu).map(|k| k.2).collect();
        let tests: BTreeSet<Test> = self.figures.keys().filter(of_mtu).map(|k| k.1).collect();
        let channels = ALL.into_iter().filter(|channel| measured.contains(channel));
        let ratios: Vec<_> = RATIOS
            .into_iter()
            .filter(|(over, under)| measured.contains(over) && measured.contains(under))
            .collect();
        let mut head = vec!["netperf".to_owned(), "unit".to_owned()];
        head.extend(channels.clone().map(|channel| channel.to_string()));
        head.extend(ratios.iter().map(|(over, under)| format!("{over}/{under}")));
        writeln!(out, "\n## MTU {mtu}\n\n| {} |", head.join(" | "))?;
        writeln!(out, "|---|---|{}", "--:|".repeat(head.len() - 2))?;
        for test in tests {
            let mut row = vec![test.to_string(), test.unit().to_owned()];
            let none = || "-".to_owned();
            row.extend(channels.clone().map(|channel| {
                self.summary((mtu, test, channel)).map_or_else(none, |it| it.to_string())
            }));
            row.extend(ratios.iter().map(|&(over, under)| {
                let ratio = self.ratio(mtu, test, over, under);
                ratio.map_or_else(none, |it| format!("{:.2}", it.median))
            }));
            writeln!(out, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

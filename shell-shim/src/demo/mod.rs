//! `stdpkt demo`: the chain of the documentation, then what its links carry.
//!
//! * `chain`: the command line that is shown and run.
//! * `measure`: two functions joined by a pipe, over each channel.
//! * `veth`: the same without stdpkt between them, for comparison.
//! * `summary`: medians, the table and the JSON object.
//! * `group` and `watch`: own children, and that none of them is left.

mod chain;
mod group;
mod measure;
mod summary;
pub mod veth;
mod watch;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::perf::args::parse_seconds;
use crate::perf::messages::Mode;
use measure::{Samples, Way};
use summary::Report;
use watch::{Interrupted, Watch};

/// `stdpkt demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stdpkt demo
  stdpkt demo --rounds 5 --seconds 3 --json")]
pub struct DemoArgs {
    /// How often each channel is measured, in turn; the table shows medians
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// How long each single measurement takes, in seconds
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_seconds)]
    pub seconds: Duration,

    /// Print the result as one JSON object on standard output
    ///
    /// Keys: machine {cores, kernel, arch}, rounds, seconds, chain {replies, lacks}, and
    /// channels: for each of shm, fifo and veth the medians (null where it could not be
    /// measured; then `absent` says why) and in `stream` and `rr` what `stdpkt perf client
    /// --json` said in each round.
    #[arg(long)]
    pub json: bool,
}

/// Runs the demo; returns its exit status, 128+N where signal N ended it.
///
/// The result goes to standard output, all else to standard error.
///
/// # Errors
/// One line, where functions cannot be run or measured here.
pub fn run(args: &DemoArgs) -> Result<u8> {
    match demo(args) {
        Err(error) => match error.downcast_ref::<Interrupted>() {
            Some(Interrupted(signal)) => Ok(128 + signal),
            None => Err(error),
        },
        done => done,
    }
}

fn demo(args: &DemoArgs) -> Result<u8> {
    let watch = Watch::new()?;
    let chain = chain::show(&watch)?;
    let channels = rounds(&watch, args)?;
    let report = Report::new(args.rounds, args.seconds, chain, channels);
    let text = if args.json { serde_json::to_string(&report)? } else { report.to_string() };
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        done => done.context("standard output")?,
    }
    Ok(if report.chain.failed() { crate::FAILED } else { 0 })
}

/// Measures each channel in each round. Who comes first changes from round to
/// round, so that what else the machine does strikes all alike.
fn rounds(watch: &Watch, args: &DemoArgs) -> Result<Vec<Samples>> {
    let mut channels: Vec<Samples> = Way::ALL.map(Samples::new).into();
    let bar = progress(u64::from(args.rounds) * Way::ALL.len() as u64 * 2);
    for round in 0..args.rounds {
        for turn in 0..channels.len() {
            let at = (round as usize + turn) % channels.len();
            let samples = &mut channels[at];
            for mode in [Mode::Stream, Mode::RequestResponse] {
                let (way, number) = (samples.way, round + 1);
                bar.set_message(format!(
                    "{} {mode}, round {number} of {}",
                    way.name(),
                    args.rounds
                ));
                samples.take(watch, mode, args.seconds)?;
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(channels)
}

fn progress(steps: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}") {
        bar.set_style(style);
    }
    bar
}

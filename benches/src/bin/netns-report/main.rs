//! `netns-report`: two functions end to end, with unchanged programs.
//!
//! netperf between two network stacks, over each channel in turn: `stdpkt run`
//! with rings and with pipes, the copy loop without any link (the ceiling), a
//! veth pair and `vdens`. All channels of one test are measured one after the
//! other, round by round in another order, so that a machine that becomes
//! slower does so for all of them; ratios are taken within a round. Then the
//! time a link takes to come up, and what an idle chain does.

mod channel;
mod idle;
mod report;
mod setup;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;

use channel::Channel;
use stdpkt_benches::netperf::Test;
use stdpkt_benches::programs;

/// Measures two functions end to end and writes a markdown table.
#[derive(Debug, Parser)]
#[command(name = "netns-report", max_term_width = 100)]
struct Args {
    /// Times that everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one measurement
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Where the table goes, besides standard output
    #[arg(long)]
    out: Option<PathBuf>,
    /// Largest IP packet
    #[arg(long, value_delimiter = ',', default_values_t = [1500, 65500])]
    mtu: Vec<u32>,
    /// Channels; those whose programs are missing are left out and named
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = channel::ALL)]
    channels: Vec<Channel>,
    /// Each function on a core of its own; for shm and fifo
    #[arg(long)]
    pin: bool,
    /// Tests, e.g. rr,tcp-64,udp-1024; all by default
    #[arg(long, value_delimiter = ',', value_parser = Test::parse)]
    tests: Vec<Test>,
    /// Links whose set-up is timed
    #[arg(long, default_value_t = 200)]
    links: usize,
    /// How long the idle chain is watched, in seconds
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// Part of this program that runs in a process of its own
    #[arg(long, hide = true, num_args = 1..)]
    part: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.part.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure(&args),
        ["veth", mtu, server, client] => channel::veth(mtu, server, client),
        ["reader"] => setup::reader(),
        ["writer"] => setup::writer(),
        ref other => bail!("no such part: {other:?}"),
    }
}

fn measure(args: &Args) -> Result<()> {
    programs::build()?;
    let scratch = tempfile::Builder::new().prefix("netns-report").tempdir()?;
    let bench = channel::Bench::new(scratch.path(), args.pin)?;
    let tests = if args.tests.is_empty() { Test::all() } else { args.tests.clone() };
    let mut report = report::Report::new(args.rounds, args.seconds);
    for &mtu in &args.mtu {
        let mut channels = args.channels.clone();
        channels.retain(|channel| match channel.unavailable(mtu, args.pin) {
            None => true,
            Some(why) => {
                say::line!("{channel} at MTU {mtu} is left out: {why}");
                report.note(format!("`{channel}` at MTU {mtu} was left out: {why}."));
                false
            }
        });
        for round in 0..args.rounds {
            for &test in &tests {
                for turn in 0..channels.len() {
                    let channel = channels[(turn + round) % channels.len()];
                    let result = bench
                        .run(channel, mtu, test, args.seconds)
                        .with_context(|| format!("{test} over {channel}"));
                    match result {
                        Ok(value) => {
                            let unit = test.unit();
                            say::line!(
                                "round {round}: mtu {mtu}: {test} {channel}: {value} {unit}"
                            );
                            report.add(mtu, test, channel, round, value);
                        }
                        Err(error) => {
                            say::line!("round {round}: mtu {mtu}: {error:#}");
                            report.note(format!("Round {round}, MTU {mtu}: {error:#}."));
                        }
                    }
                }
            }
        }
    }
    if args.links > 0 {
        say::line!("link set-up...");
        report.setup(&setup::measure(args.links, bench.runtime_dir())?);
    }
    if args.idle > 0 {
        say::line!("idle chain...");
        report.idle(&idle::measure(args.idle, &bench)?);
    }
    let text = report.render();
    if let Some(out) = &args.out {
        std::fs::write(out, &text).with_context(|| format!("{}", out.display()))?;
    }
    print!("{text}");
    Ok(())
}

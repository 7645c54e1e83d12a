//! `channel-report`: pipes, sockets and the ring between two processes, side by
//! side, as a markdown table and two plots.

use anyhow::Result;
use clap::Parser;
use stdpkt_benches::{channels, harness, report};

fn main() -> Result<()> {
    harness::worker::hook(&channels::all());
    let words: Vec<String> = std::env::args().skip(1).collect();
    let command = format!(
        "cargo run --release -p stdpkt-benches --bin channel-report -- {}",
        words.join(" ")
    );
    let args = report::Args::parse();
    report::run(channels::all(), &args, "Frames between two processes", command.trim_end())
}

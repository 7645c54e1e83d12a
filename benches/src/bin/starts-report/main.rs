//! `starts-report`: how long functions take to start and to end, one chain at a
//! time beside what does a part of the same, and many at once.

mod lines;
mod many;

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;
use stdpkt_benches::{machine, programs};

/// Measures starts and ends and writes markdown tables.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Args {
    /// Times that every line is run
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Functions at once; an even number, none if 0
    #[arg(long, default_value_t = 1000)]
    functions: usize,
    /// How long they are watched while nothing happens, in seconds
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// Where the tables go, besides standard output
    #[arg(long)]
    out: Option<PathBuf>,
    /// Part of this program that runs in a process of its own
    #[arg(long, hide = true)]
    part: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.part.as_deref() {
        None => measure(&args),
        Some("last-words") => lines::last_words(),
        Some(other) => bail!("no such part: {other}"),
    }
}

fn measure(args: &Args) -> Result<()> {
    let program = programs::stdpkt()?;
    let mut text = String::new();
    let words: Vec<String> = std::env::args().skip(1).collect();
    writeln!(text, "# Starts and ends\n\nMachine: {}.\n", machine::line())?;
    writeln!(
        text,
        "Command: `cargo run --release -p stdpkt-benches --bin starts-report -- {}`. Load average \
         before: {}.",
        words.join(" "),
        machine::load()
    )?;
    lines::measure(&mut text, &program, args.rounds)?;
    if args.functions > 0 {
        many::measure(&mut text, &program, args.functions, args.idle)?;
    }
    writeln!(text, "\nLoad average after: {}.", machine::load())?;
    if let Some(out) = &args.out {
        std::fs::write(out, &text).with_context(|| out.display().to_string())?;
    }
    print!("{text}");
    Ok(())
}

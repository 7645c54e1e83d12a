//! `links-report`: many links between two processes at once, what they carry,
//! what they take, and what they cost while nothing happens.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stdpkt_benches::harness::frames::Sizes;
use stdpkt_benches::links::{Footprint, Links, Way, side};
use stdpkt_benches::machine;
use stdpkt_benches::spent::Spent;
use stdpkt_benches::stats::{Summary, short};

/// Measures many links at once and writes a markdown table.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Args {
    /// Times that every stream is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one stream in seconds
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Numbers of links over which frames stream
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 64])]
    links: Vec<usize>,
    /// Threads a process, each with its part of the links; no more than links
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Frame sizes in bytes, and `mixed`
    #[arg(long, value_delimiter = ',', default_values_t = [Sizes::All(1500), Sizes::All(65536)])]
    sizes: Vec<Sizes>,
    /// Bytes of ring each way
    #[arg(long, default_value_t = 256 << 10)]
    ring: usize,
    /// Links that do nothing
    #[arg(long, default_value_t = 1000)]
    idle_links: usize,
    /// How long they are watched, in seconds
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// Where the table goes, besides standard output
    #[arg(long)]
    out: Option<PathBuf>,
    /// One of the two processes
    #[arg(long, hide = true, num_args = 1..)]
    side: Vec<String>,
}

/// Descriptors of one link in one process are fewer, those of a pipe included.
const DESCRIPTORS: usize = 12;

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.side.is_empty() {
        return side::main(&args.side);
    }
    let most = args.links.iter().copied().max().unwrap_or(0).max(args.idle_links);
    allow_descriptors(most * DESCRIPTORS + 100)?;
    let program = std::env::current_exe()?;
    let mut text = String::new();
    head(&mut text, &args)?;
    streams(&mut text, &args, &program)?;
    if args.idle_links > 0 {
        idle(&mut text, &args, &program)?;
    }
    writeln!(text, "\nLoad average after: {}.", machine::load())?;
    if let Some(out) = &args.out {
        std::fs::write(out, &text).with_context(|| out.display().to_string())?;
    }
    print!("{text}");
    Ok(())
}

fn allow_descriptors(needed: usize) -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    match maximum {
        Some(maximum) if maximum < needed as u64 => {
            bail!("up to {needed} descriptors a process are needed, {maximum} allowed (ulimit -Hn)")
        }
        _ => Ok(()),
    }
}

fn head(out: &mut String, args: &Args) -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let command =
        format!("cargo run --release -p stdpkt-benches --bin links-report -- {}", words.join(" "));
    writeln!(out, "# Many links between two processes\n\nMachine: {}.\n", machine::line())?;
    writeln!(
        out,
        "Command: `{}`.\nEach link has a ring of {} KiB each way. In each process one event loop \
         a thread serves the links; with one thread a process the two are pinned apart, with \
         more they are not pinned. {} rounds of {} s, median (smallest..largest). Every frame \
         is checked: sequence on its link, length, a byte per cache line. Load average before: {}.",
        command.trim_end(),
        args.ring >> 10,
        args.rounds,
        args.seconds,
        machine::load()
    )?;
    Ok(())
}

type Row = (Sizes, usize, usize);

fn streams(out: &mut String, args: &Args, program: &Path) -> Result<()> {
    let mut gbits: BTreeMap<Row, Vec<f64>> = BTreeMap::new();
    for round in 0..args.rounds {
        for &sizes in &args.sizes {
            for &count in &args.links {
                for &threads in args.threads.iter().filter(|&&threads| threads <= count) {
                    say::line!("round {round}, {sizes}, {count} links, {threads} threads");
                    let mut links = Links::start(program, count, args.ring, sizes.longest())?;
                    let figure = stream_for(&mut links, sizes, threads, args.seconds)?;
                    gbits.entry((sizes, count, threads)).or_default().push(figure);
                }
            }
        }
    }
    writeln!(out, "\n## Streams over all links at once\n")?;
    writeln!(out, "| bytes in a frame | links | threads a process | Gbit/s | Gbit/s a link |")?;
    writeln!(out, "|--:|--:|--:|--:|--:|")?;
    for ((sizes, count, threads), figures) in gbits {
        let Some(all) = Summary::of(figures) else { continue };
        let each = short(all.median / count as f64);
        writeln!(out, "| {sizes} | {count} | {threads} | {all} | {each} |")?;
    }
    Ok(())
}

/// Gigabits a second over all links, in a stream of about this length.
fn stream_for(links: &mut Links, sizes: Sizes, threads: usize, seconds: f64) -> Result<f64> {
    let mut frames = 256;
    loop {
        let taken = links.stream(Way::There, sizes, frames, threads)?.as_secs_f64();
        let part = taken / seconds;
        if part > 0.5 {
            let bytes = sizes.total(frames) * links.count() as u64;
            return Ok(bytes as f64 * 8e-9 / taken);
        }
        frames = (frames as f64 * (1.0 / part).min(20.0)) as u64 + 1;
    }
}

fn idle(out: &mut String, args: &Args, program: &Path) -> Result<()> {
    let count = args.idle_links;
    say::line!("{count} links");
    let available = machine::available_memory();
    let mut links = Links::start(program, count, args.ring, MAX_FRAME)?;
    let pids = links.pids();
    let fresh = Footprint::of(&pids)?;
    let frame = Sizes::All(1 << 16);
    for way in [Way::There, Way::Back] {
        links.stream(way, frame, args.ring as u64 / frame.longest() as u64 + 1, 1)?;
    }
    let filled = Footprint::of(&pids)?;
    let taken = available.saturating_sub(machine::available_memory());
    say::line!("{count} idle links");
    let mut spent = Spent::default();
    let watch = || {
        std::thread::sleep(Duration::from_secs(1)); // the receiver falls asleep
        spent = Spent::during(Duration::from_secs(args.idle), &pids);
    };
    links.after(watch, count / 2)?;

    writeln!(out, "\n## {count} links that do nothing\n")?;
    writeln!(
        out,
        "Rings of {} KiB each way, frames of up to {MAX_FRAME} bytes.\n",
        args.ring >> 10
    )?;
    writeln!(out, "| both processes together | links just made | every ring filled once |")?;
    writeln!(out, "|---|--:|--:|")?;
    let mib = |bytes: u64| short(bytes as f64 / f64::from(1 << 20));
    let kib = |bytes: u64| short(bytes as f64 / 1024.0 / count as f64);
    let (memory, rings) = ([fresh.memory, filled.memory], [fresh.rings, filled.rings]);
    writeln!(
        out,
        "| memory (PSS, rings included), MiB | {} | {} |",
        mib(memory[0]),
        mib(memory[1])
    )?;
    writeln!(out, "| of this the rings, MiB | {} | {} |", mib(rings[0]), mib(rings[1]))?;
    writeln!(out, "| memory a link, KiB | {} | {} |", kib(memory[0]), kib(memory[1]))?;
    writeln!(
        out,
        "\nWith what the kernel keeps for them, the machine had {} MiB less to give after all rings \
         were filled. Descriptors a link: {} in both processes together.",
        mib(taken),
        short(fresh.descriptors as f64 / count as f64)
    )?;
    writeln!(
        out,
        "\nOne process asleep over all links, the other with nothing to send, watched for {} s: {} \
         context switches, {} clock ticks of processor time. Then link {} carried a frame, checked.",
        args.idle,
        spent.switches,
        spent.ticks,
        count / 2
    )?;
    Ok(())
}

/// Whole TSO frames.
const MAX_FRAME: usize = 65_600;

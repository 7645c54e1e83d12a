//! Tables and plots of channels measured side by side.

mod figures;
pub mod svg;
pub mod table;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::channels::BASELINE;
use crate::harness::frames::{Checker, SIZES, Sizes, Source};
use crate::harness::{Kind, Pair, Pin};
use figures::{Figures, Latency};

/// Measures channels between two processes side by side.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub struct Args {
    /// Times that everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one stream in seconds
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Round trips in a row, both sides awake
    #[arg(long, default_value_t = 20_000)]
    pings: u64,
    /// Round trips with a pause of a millisecond before each, so that both sides sleep
    #[arg(long, default_value_t = 300)]
    sleepy_pings: u64,
    /// Channels by name, or the beginning of a name with a `*`
    #[arg(long, value_delimiter = ',')]
    channels: Vec<String>,
    /// Frame sizes in bytes, and `mixed`
    #[arg(long, value_delimiter = ',', default_values_t = SIZES)]
    sizes: Vec<Sizes>,
    /// Where the two processes run
    #[arg(long, value_enum, default_value = "apart")]
    pin: Pin,
    /// Bytes of ring each way
    #[arg(long, default_value_t = 1 << 20)]
    ring: usize,
    /// Directory for the table and the plots; the table also goes to standard output
    #[arg(long)]
    out: Option<PathBuf>,
    /// Name of the files in it
    #[arg(long, default_value = "channels")]
    name: String,
}

impl Args {
    fn wants(&self, kind: &Kind) -> bool {
        let fits = |wish: &String| match wish.strip_suffix('*') {
            Some(begin) => kind.name.starts_with(begin),
            None => kind.name == wish,
        };
        self.channels.is_empty() || kind.name == BASELINE || self.channels.iter().any(fits)
    }
}

/// One copy and one check in one thread: no channel is faster.
const CEILING: &str = "memcpy, one thread";

/// The whole command; `title` is the heading, `command` how it was called.
///
/// # Errors
/// Those of the channels and of writing files.
pub fn run(mut kinds: Vec<Kind>, args: &Args, title: &str, command: &str) -> Result<()> {
    kinds.retain(|kind| args.wants(kind));
    if kinds.is_empty() {
        bail!("no such channel");
    }
    let scratch = tempfile::Builder::new().prefix("bench").tempdir()?;
    let mut figures = Figures::new(args, &kinds);
    for round in 0..args.rounds {
        for &sizes in &args.sizes {
            figures.add_ceiling(sizes, ceiling(sizes, Duration::from_secs_f64(args.seconds))?);
            for turn in 0..kinds.len() {
                let kind = &kinds[(turn + round) % kinds.len()];
                if sizes.longest() > kind.max_frame {
                    continue;
                }
                say::line!("round {round}, {sizes}, {}", kind.name);
                if let Err(error) = measure(kind, sizes, args, scratch.path(), round, &mut figures)
                {
                    say::line!("{error:#}");
                    figures.note(format!("{error:#}"));
                }
            }
        }
    }
    let text = figures.markdown(title, command, args.out.is_some().then_some(&*args.name));
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out)?;
        let write = |suffix: &str, text: &str| {
            let path = out.join(format!("{}{suffix}", args.name));
            std::fs::write(&path, text).with_context(|| path.display().to_string())
        };
        write(".md", &text)?;
        write("-goodput.svg", &figures.goodput_plot())?;
        write("-round-trip.svg", &figures.round_trip_plot())?;
    }
    print!("{text}");
    Ok(())
}

fn measure(
    kind: &Kind,
    sizes: Sizes,
    args: &Args,
    dir: &Path,
    round: usize,
    figures: &mut Figures,
) -> Result<()> {
    let mut pair = Pair::new(kind, sizes, args.ring, dir, args.pin)?;
    let run = pair.stream_for(Duration::from_secs_f64(args.seconds))?;
    figures.add_run(kind.name, sizes, round, run);
    if args.pings > 0 {
        let _warm_up = pair.round_trips(args.pings / 10 + 1, Duration::ZERO, false)?;
        let times = pair.round_trips(args.pings, Duration::ZERO, false)?;
        figures.add_times(kind.name, sizes, Latency::Awake, &times);
    }
    if args.sleepy_pings > 0 && sizes == Sizes::All(64) {
        let times = pair.round_trips(args.sleepy_pings, Duration::from_millis(1), false)?;
        figures.add_times(kind.name, sizes, Latency::Asleep, &times);
    }
    Ok(())
}

/// Gigabits a second of one thread that copies each frame and checks the copy.
fn ceiling(sizes: Sizes, time: Duration) -> Result<f64> {
    let mut source = Source::new(sizes, false);
    let mut checker = Checker::new(sizes, false);
    let mut copy = vec![0; sizes.longest()];
    let began = Instant::now();
    while began.elapsed() < time {
        for _ in 0..1000 {
            let frame = source.next();
            let copy = &mut copy[..frame.len()];
            copy.copy_from_slice(frame);
            checker.check(&std::hint::black_box(&*copy))?;
        }
    }
    Ok(source.bytes() as f64 * 8e-9 / began.elapsed().as_secs_f64())
}

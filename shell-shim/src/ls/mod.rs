//! `stdpkt ls`: live links, their functions and counters.

mod chains;
pub(crate) mod function;
pub(crate) mod links;
mod pattern;
mod rates;
pub(crate) mod report;
mod table;
mod watch;

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::name::there_are;
use pattern::Pattern;
use rates::Rates;
use report::Report;

/// From one look to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// `stdpkt ls`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt ls
  stdpkt ls 'web*'
  stdpkt ls --chains
  stdpkt ls --watch
  stdpkt ls --dot | dot -Tsvg >chains.svg
  stdpkt ls --json | jq '.links[].from.name'")]
pub struct LsArgs {
    /// Only links of functions with this name, or a part of it, with names that match a
    /// pattern as of a shell ('web*'), or with this process id
    #[arg(value_name = "PATTERN")]
    pub pattern: Option<String>,

    /// One JSON object: version, functions and links, an element for each direction. Its
    /// schema is ls.schema.json in the documents
    #[arg(long)]
    pub json: bool,

    /// Who is whose neighbour, a line for each chain
    #[arg(long, conflicts_with = "json")]
    pub chains: bool,

    /// The chains as a graph, for `dot -Tsvg`
    #[arg(long, conflicts_with_all = ["json", "chains"])]
    pub dot: bool,

    /// Again every second, with rates; on a terminal until q, elsewhere until interrupted
    #[arg(long)]
    pub watch: bool,
}

/// Lists links once, or until interrupted.
///
/// # Errors
/// Those of reading `/proc` and of writing, and a pattern that means nobody.
pub fn run(args: &LsArgs) -> Result<()> {
    let pattern = args.pattern.as_deref().map(Pattern::new);
    let look = || {
        let mut report = Report::new().context("/proc")?;
        if let Some(pattern) = &pattern {
            report.retain(pattern);
        }
        Ok(report)
    };
    let is_plain = args.json || args.chains || args.dot;
    if args.watch && !is_plain && std::io::stdout().is_terminal() {
        return watch::run(look);
    }
    let mut rates = Rates::default();
    loop {
        let mut report: Report = look()?;
        rates.look(&report.links, Instant::now());
        if report.missing > 0 {
            say::note!("{} further links found no room to be shown", report.missing);
        }
        let nobody = report.functions.is_empty() && report.links.is_empty();
        if let (true, false, Some(text)) = (nobody, args.watch || args.json, &args.pattern) {
            let all = shmring::observe::look().context("/proc")?.processes;
            bail!("no function is called {text}: {}", there_are(&all));
        }
        if args.watch {
            for link in &mut report.links {
                let rate = rates.of(link);
                link.frames_per_second = rate.map(|rate| rate.packets);
                link.bits_per_second = rate.map(|rate| rate.bits);
            }
        }
        match print(args, &report, args.watch.then_some(&rates)) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.context("standard output")?,
        }
        if !args.watch {
            return Ok(());
        }
        std::thread::sleep(PERIOD);
    }
}

fn print(args: &LsArgs, report: &Report, rates: Option<&Rates>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else if args.chains {
        write!(out, "{}", chains::text(report))?;
    } else if args.dot {
        write!(out, "{}", chains::dot(report))?;
    } else {
        writeln!(out, "{}", table::table(&report.links, rates))?;
    }
    out.flush()
}

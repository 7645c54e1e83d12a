//! `stdpkt balance`: spreads the flows of the left link over several FIFOs.

mod change;
mod check;
mod director;
mod fifo;
mod flows;
mod fragments;
pub(crate) mod spawn;
mod spawned;
mod spread;
mod target;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use shmring::Role;

use super::left;
use crate::name::NameArg;
use crate::run::plan::open;
use crate::run::signals::Signals;
use crate::run::values::idle;
use check::Checks;
use director::{Director, WEIGHTS};
use fifo::{Fifo, plan};
use spawn::{Spawn, Terms};
use spread::Spread;

/// `stdpkt balance`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt run --right 10.0.0.1/24 -- ping 10.0.0.9 | stdpkt balance /tmp/web1 /tmp/web2
  stdpkt balance --weight /tmp/web1=3 /tmp/web1 /tmp/web2
  stdpkt balance --spawn 'stdpkt run --left 10.0.0.2/24 -- ./server' --by source --idle 30s
  stdpkt balance --check 'curl -sf http://health/' /tmp/web1 /tmp/web2")]
pub struct BalanceArgs {
    /// FIFOs, one for each target, both ways over each. Targets share an IP
    /// address; which one gets a flow depends on its addresses and ports
    #[arg(value_name = "PATH", required_unless_present_any = ["set", "spawn", "add", "undrain"])]
    pub paths: Vec<PathBuf>,

    /// Change the balancer that runs and has this name or process id, by --add, --weight,
    /// --drain and --undrain, instead of being one
    #[arg(long, value_name = "NAME", conflicts_with_all = ["paths", "by", "check", "name"])]
    pub set: Option<String>,

    /// One more target (repeatable)
    #[arg(long, value_name = "PATH")]
    pub add: Vec<PathBuf>,

    /// What stays together
    #[arg(long, value_enum, default_value = "flow")]
    pub by: By,

    /// Share of the new flows that this target gets, compared with the others, which have
    /// 1 each (repeatable)
    #[arg(long, value_name = "PATH=N", value_parser = weight)]
    pub weight: Vec<(PathBuf, u32)>,

    /// No new flows for this target; it keeps those that it has (repeatable)
    #[arg(long, value_name = "PATH")]
    pub drain: Vec<PathBuf>,

    /// New flows again for a target that was drained (repeatable)
    #[arg(long, value_name = "PATH")]
    pub undrain: Vec<PathBuf>,

    /// Instead of targets: run CMD in a shell, with a link on its standard input, for each new flow
    /// or user (--by), and close that link when no frame has passed for the time of --idle
    #[arg(long, value_name = "CMD", conflicts_with_all = ["paths", "set", "check", "weight", "drain"])]
    pub spawn: Option<String>,

    /// Of --spawn: seconds without a frame after which a function ends [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = idle)]
    pub idle: Option<Duration>,

    /// Of --spawn: so many functions at once; frames of others are dropped and counted
    /// [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub most: Option<u16>,

    /// Run CMD in a shell every second for each target, with its PATH in STDPKT_TARGET.
    /// While CMD fails, or takes more than 5 s, that target gets no new flows
    #[arg(long, value_name = "CMD")]
    pub check: Option<String>,

    /// What it is called.
    #[command(flatten)]
    pub name: NameArg,
}

/// What goes to one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// What has the same addresses and ports, as a connection has
    Flow,
    /// All between two addresses: for FTP, netperf and others that take several
    /// connections for one thing
    Addresses,
    /// All that one address sends, and what is sent back: for --spawn
    Source,
}

fn weight(text: &str) -> Result<(PathBuf, u32), String> {
    let parts = text.rsplit_once('=').filter(|(path, _)| !path.is_empty());
    let weight = parts.and_then(|(path, weight)| Some((path.into(), weight.parse().ok()?)));
    weight.filter(|(_, weight)| WEIGHTS.contains(weight)).ok_or_else(|| {
        "not a target and a weight of 1 to 1000, write it like f1=3 (no new flows at all: --drain)"
            .to_owned()
    })
}

/// Spreads flows until the left neighbour ends.
///
/// # Errors
/// One line that names the FIFO or link.
pub fn run(args: &BalanceArgs) -> Result<u8> {
    if let Some(name) = &args.set {
        return change::request(name, args);
    }
    if !args.add.is_empty() || !args.undrain.is_empty() {
        bail!("--add and --undrain: give --set NAME as well, the balancer that runs");
    }
    args.name.introduce(&[], "balance");
    if let Some(command) = &args.spawn {
        return spawn(args, command);
    }
    if args.by == By::Source {
        bail!("--by source: is for --spawn: take --by addresses");
    }
    if args.idle.is_some() || args.most.is_some() {
        bail!("--idle and --most: are for --spawn");
    }
    let mut director = Director::new(args.by);
    for path in &args.paths {
        director.add(path.clone(), args.check.is_some())?;
    }
    args.weight.iter().try_for_each(|(path, weight)| director.set_weight(path, *weight))?;
    args.drain.iter().try_for_each(|path| director.drain(path))?;
    let (mut plans, mut fifos) = (vec![left()?], Vec::new());
    for path in &args.paths {
        let end = open(path, Role::Either)?;
        fifos.push(Fifo::new(&end)?);
        plans.push(plan(end));
    }
    let checks = |command: &String| Checks::new(command.clone(), args.paths.len(), Instant::now());
    let checks = args.check.as_ref().map(checks).transpose()?;
    let mut spread = Spread::new(director, checks, fifos);
    let status = super::run(plans, Some(Signals::new()?), &mut spread);
    if spread.lost > 0 {
        say::note!("{} frames found no target that takes them", spread.lost);
    }
    status
}

/// Starts functions until the left neighbour ends.
fn spawn(args: &BalanceArgs, command: &str) -> Result<u8> {
    const IDLE: Duration = Duration::from_secs(60);
    const MOST: u16 = 100;
    let (command, most) = (command.to_owned(), args.most.unwrap_or(MOST).into());
    let idle = args.idle.unwrap_or(IDLE);
    let mut spawn = Spawn::new(Terms { command, by: args.by, idle, most })?;
    let status = super::run(vec![left()?], Some(Signals::new()?), &mut spawn);
    if spawn.lost > 0 {
        say::note!("{} frames found no function that takes them", spawn.lost);
    }
    status
}

//! `stdpkt remove`: a function out of its chain, while frames flow.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use shmring::observe::Process;

use super::link::identity;
use crate::door;
use crate::door::messages::Request;
use crate::ls::report::Report;
use crate::name;
use crate::run::values::seconds;

/// `stdpkt remove`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt remove trace
  stdpkt remove --timeout 30 slow")]
pub struct RemoveArgs {
    /// Give up when what is inside has not left after so long; nothing has changed then
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,

    /// The function: its name or process id
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// More than the function needs besides the timeout.
const ANSWER: Duration = Duration::from_secs(15);

/// Removes, and returns when it is done.
///
/// # Errors
/// One line: why nothing has changed.
pub fn run(args: &RemoveArgs) -> Result<u8> {
    let function = name::find(&args.name)?;
    let links = Report::new()?.links;
    // Those that send to it; the left one is asked first.
    let mut neighbours: Vec<_> = links
        .iter()
        .filter(|link| link.to.as_ref().is_some_and(|to| to.pid == Some(function.pid)))
        .filter(|link| link.form == "ring")
        .filter_map(|link| Some((link.from.as_ref()?, link.to.as_ref()?, link.inode)))
        .collect();
    neighbours.sort_by_key(|(_, to, _)| to.interface.as_deref() != Some("left"));
    let mut refusal = None;
    for (from, _, ring) in neighbours {
        let Some(pid) = from.pid.filter(|pid| *pid != function.pid) else { continue };
        let neighbour = Process { pid, identity: identity(from) };
        match through(&function, &neighbour, ring, args.timeout) {
            Ok(()) => return Ok(0),
            Err(why) => drop(refusal.get_or_insert(why)),
        }
    }
    match refusal {
        Some(why) => Err(why),
        None => bail!("{}: it has no neighbours that could be joined without it", args.name),
    }
}

/// Has the function give its other link to this neighbour.
fn through(function: &Process, neighbour: &Process, ring: u64, timeout: Duration) -> Result<()> {
    let doors = [door::connect(neighbour)?, door::connect(neighbour)?];
    let leave = Request::Leave { ring, milliseconds: timeout.as_millis() as u64 };
    door::ask(function, &leave, &doors.each_ref().map(AsFd::as_fd), timeout + ANSWER)?;
    Ok(())
}

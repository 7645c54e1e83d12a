//! `stdpkt swap`: another function in the place of a running one.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::newcomer::Start;
use super::state::State;
use crate::door;
use crate::door::messages::{Reply, Request};
use crate::name;
use crate::run::values::seconds;

/// `stdpkt swap`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt swap trace -- stdpkt tee new.pcap
  stdpkt swap --state iptables-save --state conntrack nat -- stdpkt run --file nat.toml
  stdpkt swap --timeout 30 router -- stdpkt run --name router --left 10.0.0.1/24 --right 10.0.1.1/24 --forward")]
pub struct SwapArgs {
    /// Give up when CMD is not set up after so long; nothing has changed then
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,

    /// What a command prints inside the old function, another one reads inside the new one
    /// before that takes over: 'SAVE => LOAD', or just iptables-save or 'nft list ruleset',
    /// whose counterparts are known, or conntrack: all that is known of connections (repeatable)
    #[arg(long, value_name = "SAVE => LOAD", value_parser = State::parse)]
    pub state: Vec<State>,

    /// The function whose place CMD takes: its name or process id
    #[arg(value_name = "NAME")]
    pub name: String,

    /// What takes its place: stdpkt run, tee, filter, wire, balance, dump or feed, with what
    /// they take there
    #[arg(value_name = "CMD", required = true, last = true)]
    pub command: Vec<String>,
}

/// How long the old function has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Swaps, and returns when it is done.
///
/// # Errors
/// One line: why nothing has changed.
pub fn run(args: &SwapArgs) -> Result<u8> {
    let SwapArgs { timeout, state, name, command } = args;
    let old = name::find(name)?;
    let place = door::ask(&old, &Request::Place, &[], PATIENCE)?;
    let (Reply::Place { links }, Ok(stdio)) = (place.reply, place.fds.try_into()) else {
        bail!("{name}: no place came")
    };
    Start { name, command, timeout: *timeout, from: (old.pid, None), stdio, links }
        .run(|new| state.iter().try_for_each(|state| state.carry(old.pid, new, *timeout)))?;
    Ok(0)
}

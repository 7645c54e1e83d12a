//! The command line.

pub mod mistake;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use crate::check::CheckArgs;
use crate::check::probe::ProbeArgs;
use crate::demo::DemoArgs;
use crate::demo::veth::VethArgs;
use crate::each::EachArgs;
use crate::exec::ExecArgs;
use crate::filters::balance::BalanceArgs;
use crate::filters::dump::DumpArgs;
use crate::filters::feed::FeedArgs;
use crate::filters::filter::FilterArgs;
use crate::filters::tee::TeeArgs;
use crate::filters::wire::WireArgs;
use crate::interfaces::{self, LinkArgs, UnlinkArgs};
use crate::join::JoinArgs;
use crate::ls::LsArgs;
use crate::metrics::MetricsArgs;
use crate::pages::{CompletionsArgs, ManArgs};
use crate::perf::PerfCommand;
use crate::run::args::RunArgs;
use crate::stack::conntrack::{self, ConntrackArgs};
use crate::succession::insert::{self, InsertArgs};
use crate::succession::remove::{self, RemoveArgs};
use crate::succession::swap::{self, SwapArgs};
use crate::uplink::UplinkArgs;
use crate::{check, demo, each, exec, filters, host, join, ls, metrics, pages, perf, run, uplink};

/// Chain network functions with `|`, over shared memory.
///
/// Exit status: that of CMD; 125 when stdpkt itself failed and said so, 126 when
/// CMD could not be executed, 127 when it was not found, 128+N after signal N.
#[derive(Debug, Parser)]
#[command(name = "stdpkt", bin_name = "stdpkt", version = env!("STDPKT_VERSION"), max_term_width = 100, arg_required_else_help = true, after_help = "\
Examples:
  stdpkt run --right 10.0.0.1/24 -- ping -c3 10.0.0.2 | stdpkt run --left 10.0.0.2/24
  stdpkt demo
  stdpkt ls --chains

Manual: stdpkt man | man -l -; what a link is: stdpkt man links | man -l -")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a network function: a private network stack, joined to its
    /// neighbours by standard input and output
    Run(RunArgs),
    /// Measure goodput and round trips between functions
    Perf {
        /// Server or client.
        #[command(subcommand)]
        command: PerfCommand,
    },
    /// Write the left link as a capture, or as text
    Dump(DumpArgs),
    /// Send a capture, or text, into the right link
    Feed(FeedArgs),
    /// Pass frames on and copy each to files
    Tee(TeeArgs),
    /// Pass frames that match a filter expression
    Filter(FilterArgs),
    /// Spread flows over several FIFOs
    Balance(BalanceArgs),
    /// Be an imperfect cable: delay, loss, a rate, and so on
    Wire(WireArgs),
    /// Filter a link by a program, once for each direction
    Each(EachArgs),
    /// Join a link to something that is no function: a program, a socket
    Join(JoinArgs),
    /// Join the left link to whatever the host can reach, without root
    Uplink(UplinkArgs),
    /// Put another function in the place of a running one, while frames flow
    Swap(SwapArgs),
    /// Put a function into a link, while frames flow
    Insert(InsertArgs),
    /// Take a function out of its chain, while frames flow
    Remove(RemoveArgs),
    /// Give a running function one more interface, on a FIFO
    Link(LinkArgs),
    /// Take an interface on a FIFO away from a running function
    Unlink(UnlinkArgs),
    /// Run a shell or a command inside a running function
    Exec(ExecArgs),
    /// List live links, their functions and counters
    Ls(LsArgs),
    /// Serve the counters of all links to Prometheus
    Metrics(MetricsArgs),
    /// Tell what this host can do, what is missing, and the way out
    Check(CheckArgs),
    /// Print or install manual pages
    Man(ManArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Ping through a NAT, then measure shm, fifo and veth side by side
    Demo(DemoArgs),
    /// Save or load what a function knows of connections: a part of swap
    #[command(hide = true)]
    Conntrack(ConntrackArgs),
    /// Try the steps of a function's start: a part of check
    #[command(hide = true)]
    CheckProbe(ProbeArgs),
    /// Measure over a veth pair: a part of demo
    #[command(hide = true)]
    DemoVeth(VethArgs),
}

impl Command {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// One line for the user.
    pub fn run(self) -> Result<u8> {
        use Command::{Completions, Man, Perf};
        if !matches!(self, Perf { .. } | Man(_) | Completions(_)) {
            host::check()?;
        }
        match self {
            Command::Run(args) => run::run(args),
            Command::Perf { command } => perf::run(command).map(|()| 0),
            Command::Dump(args) => filters::dump::run(&args),
            Command::Feed(args) => filters::feed::run(&args),
            Command::Tee(args) => filters::tee::run(&args),
            Command::Filter(args) => filters::filter::run(&args),
            Command::Balance(args) => filters::balance::run(&args),
            Command::Wire(args) => filters::wire::run(&args),
            Command::Each(args) => each::run(&args),
            Command::Join(args) => join::run(&args),
            Command::Uplink(args) => uplink::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Conntrack(args) => conntrack::run(&args),
            Command::CheckProbe(args) => check::probe::run(&args),
            Command::Man(args) => pages::man(&args, Cli::command()).map(|()| 0),
            Command::Completions(args) => pages::completions(&args, &Cli::command()).map(|()| 0),
            Command::Swap(args) => swap::run(&args),
            Command::Insert(args) => insert::run(&args),
            Command::Remove(args) => remove::run(&args),
            Command::Link(args) => interfaces::link(&args),
            Command::Unlink(args) => interfaces::unlink(&args),
            Command::Exec(args) => exec::run(&args),
            Command::Ls(args) => ls::run(&args).map(|()| 0),
            Command::Metrics(args) => metrics::run(&args).map(|()| 0),
            Command::Demo(args) => demo::run(&args),
            Command::DemoVeth(args) => demo::veth::run(args),
        }
    }
}

/// Whether a command line, the program's name first, is one.
///
/// # Errors
/// What the user would see.
pub fn parse(words: Vec<String>) -> std::result::Result<(), String> {
    let parsed = Cli::try_parse_from(&words);
    let told = |error| mistake::one_line(&error, words.iter().map(Into::into));
    parsed.map(drop).or_else(|error| match error.use_stderr() {
        true => Err(told(error)),
        false => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

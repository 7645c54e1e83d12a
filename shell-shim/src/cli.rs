//! The command line.

use clap::{Parser, Subcommand};

use crate::demo::DemoArgs;
use crate::demo::veth::VethArgs;
use crate::filters::balance::BalanceArgs;
use crate::filters::dump::DumpArgs;
use crate::filters::feed::FeedArgs;
use crate::filters::filter::FilterArgs;
use crate::filters::tee::TeeArgs;
use crate::join::JoinArgs;
use crate::ls::LsArgs;
use crate::perf::PerfCommand;
use crate::run::args::RunArgs;

/// Chain network functions with `|`, over shared memory.
///
/// Exit status: that of CMD; 125 when stdpkt itself failed and said so, 126 when
/// CMD could not be executed, 127 when it was not found, 128+N after signal N.
#[derive(Debug, Parser)]
#[command(name = "stdpkt", version, max_term_width = 100, arg_required_else_help = true)]
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
    /// Join a link to something that is no function: a program, a socket
    Join(JoinArgs),
    /// List live links, their functions and counters
    Ls(LsArgs),
    /// Ping through a NAT, then measure shm, fifo and veth side by side
    Demo(DemoArgs),
    /// Measure over a veth pair: a part of demo
    #[command(hide = true)]
    DemoVeth(VethArgs),
}

/// clap's report in one line: what is wrong and where to read on.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage"));
    let first = lines.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    // What is missing, allowed or suggested stands on the lines below.
    let rest: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    let rest = if rest.is_empty() { String::new() } else { format!(" {}", rest.join(" ")) };
    format!("{first}{rest} (see stdpkt --help)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        let words = line.split_whitespace();
        Cli::try_parse_from(words).map_err(|error| one_line(&error))
    }

    fn error(line: &str) -> String {
        let error = parse(line).expect_err(line);
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn errors_are_one_line_and_name_the_option() {
        assert_eq!(
            error("stdpkt run --left 192.168.0.300/24"),
            "invalid value '192.168.0.300/24' for '--left <CIDR[,at=EDGE]>': not an address with prefix \
             length, write it like 192.168.0.1/24 (see stdpkt --help)"
        );
        assert!(error("stdpkt run --right fe80::1").contains("2001:db8::1/64"));
        assert!(error("stdpkt run --gateway x").contains("'--gateway <IP>'"));
        assert!(
            error("stdpkt run --route 10.0.0.1/8=1.2.3.4").contains("did you mean 10.0.0.0/8?")
        );
        assert!(error("stdpkt run --channel tcp").contains("possible values: shm, fifo"));
        assert!(error("stdpkt run --mtu many").contains("--mtu"));
        assert!(error("stdpkt run --ring 1").contains("64k"));
        assert!(error("stdpkt walk").contains("walk"));
        assert!(error("stdpkt run --link x").contains("--link"));
    }
}

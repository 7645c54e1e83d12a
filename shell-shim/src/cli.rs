//! The command line.

pub mod mistake;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::demo::DemoArgs;
use crate::demo::veth::VethArgs;
use crate::each::EachArgs;
use crate::filters::balance::BalanceArgs;
use crate::filters::dump::DumpArgs;
use crate::filters::feed::FeedArgs;
use crate::filters::filter::FilterArgs;
use crate::filters::tee::TeeArgs;
use crate::join::JoinArgs;
use crate::ls::LsArgs;
use crate::perf::PerfCommand;
use crate::run::link_spec::{EndSpec, LinkSpec};
use crate::stack::network::Route;

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
    /// Filter a link by a program, once for each direction
    Each(EachArgs),
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

/// Largest IP packet of an interface unless `--mtu` says otherwise, in bytes.
pub const MTU: u32 = 1500;

/// `--linger` unless it is given, in seconds: enough for four retransmissions in
/// a row that are lost too, of which Linux sends the first after 0.2 s and each
/// further one after twice as long.
const LINGER: &str = "5";

/// How frames cross the links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChannelArg {
    /// A ring in shared memory each way
    Shm,
    /// The pipe itself, a 4-byte length before each frame
    Fifo,
}

/// Whose network stack the function has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StackArg {
    /// The host kernel's, in a private network namespace
    Netns,
    /// LKL, a kernel in CMD's own process; its interfaces are eth0, eth1, ...
    Lkl,
}

/// `stdpkt run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Address of the interface `left`, joined to standard input (repeatable), or
    /// with `,at=EDGE` to what `stdpkt join` joins, as in 10.0.0.2/24,at=frames:stdio
    #[arg(long, value_name = "CIDR[,at=EDGE]", value_parser = EndSpec::parse)]
    pub left: Vec<EndSpec>,

    /// Address of the interface `right`, joined to standard output, likewise
    #[arg(long, value_name = "CIDR[,at=EDGE]", value_parser = EndSpec::parse)]
    pub right: Vec<EndSpec>,

    /// A further interface on a FIFO: NAME,at=PATH (both ways over one FIFO) or
    /// NAME,at=RX:TX (one FIFO each way), then ip=CIDR (repeatable); at=EDGE as above
    #[arg(long, value_name = "SPEC", value_parser = LinkSpec::parse)]
    pub link: Vec<LinkSpec>,

    /// Default gateway, one for IPv4 and one for IPv6
    #[arg(long, value_name = "IP", value_parser = ip)]
    pub gateway: Vec<IpAddr>,

    /// A route: NET=VIA, e.g. 10.0.0.0/8=192.168.0.254 (repeatable)
    #[arg(long, value_name = "NET=VIA", value_parser = route)]
    pub route: Vec<Route>,

    /// Forward packets between the interfaces, IPv4 and IPv6
    #[arg(long)]
    pub forward: bool,

    /// A sysctl inside the function, e.g. net.ipv4.tcp_congestion_control=reno (repeatable)
    #[arg(long, value_name = "K=V")]
    pub sysctl: Vec<String>,

    /// A shell command to run inside the function before the links are up (repeatable)
    #[arg(long, value_name = "CMD")]
    pub setup: Vec<String>,

    /// Largest IP packet of each interface, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MTU)]
    pub mtu: u32,

    /// How frames cross the links; a link is a fifo if either end says so
    #[arg(long, value_enum, default_value = "shm")]
    pub channel: ChannelArg,

    /// Whose network stack the function has
    #[arg(long, value_enum, default_value = "netns")]
    pub stack: StackArg,

    /// Where LKL is: the tools/lkl of a built LKL tree [default: LKL_DIR]
    #[arg(long, value_name = "DIR")]
    pub lkl: Option<PathBuf>,

    /// Bytes of ring each way, rounded up to a power of two (suffixes k and m)
    #[arg(long, value_name = "BYTES", default_value = "1m", value_parser = size)]
    pub ring: usize,

    /// After CMD has ended, seconds without an acknowledgement until what its
    /// sockets still hold is given up
    #[arg(long, value_name = "SECONDS", default_value = LINGER, value_parser = seconds)]
    pub linger: Duration,

    /// Say also what the function goes without here
    #[arg(short, long)]
    pub verbose: bool,

    /// The program to run inside the function; without one, the function lives
    /// until its links end
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// An address with the length of its network's prefix.
pub(crate) fn cidr(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| {
        let example = if text.contains(':') { "2001:db8::1/64" } else { "192.168.0.1/24" };
        format!("not an address with prefix length, write it like {example}")
    })
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "not an IP address, write it like 192.168.0.254".to_owned())
}

fn route(text: &str) -> Result<Route, String> {
    let (dest, via) = text
        .split_once('=')
        .ok_or("no `=`, write a route as NET=VIA, like 10.0.0.0/8=192.168.0.254")?;
    let dest = cidr(dest)?;
    if dest.trunc() != dest {
        return Err(format!("{dest} has bits beyond its prefix, did you mean {}?", dest.trunc()));
    }
    Ok(Route { dest, via: ip(via)? })
}

fn size(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.to_ascii_lowercase().chars().last() {
        Some('k') => (&text[..text.len() - 1], 1 << 10),
        Some('m') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let limits = 64 << 10..=1 << 30;
    digits
        .parse::<usize>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|n| limits.contains(n))
        .ok_or_else(|| "a ring has 64k to 1024m bytes, write it like 1m".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number <= 86400.0);
    number
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| "0 to 86400 seconds are possible, write them like 5 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds(LINGER), Ok(Duration::from_secs(5)));
        for bad in ["", "-1", "nan", "inf", "1e9", "5s"] {
            assert!(seconds(bad).unwrap_err().contains("0.5"), "{bad}");
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(size("64k"), Ok(64 << 10));
        assert_eq!(size("2M"), Ok(2 << 20));
        assert_eq!(size("65536"), Ok(65536));
        assert!(size("").is_err() && size("m").is_err() && size("99999999999999999999m").is_err());
    }
}

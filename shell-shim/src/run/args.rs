//! The command line of `stdpkt run`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use shmring::Offer;

use super::after::RestartArg;
use super::link_spec::{EndSpec, LinkSpec};
use super::values::{idle, ip, route, seconds, size};
use crate::name::NameArg;
use crate::stack::network::{DEFAULT_MTU, Route};
use crate::stack::whose::Whose;

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
    /// A veth pair, where both ends of a | say so; a ring elsewhere
    Veth,
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
#[command(after_help = r"Examples:
  stdpkt run --right 10.0.0.1/24 -- ping -c3 10.0.0.2 | stdpkt run --left 10.0.0.2/24
  stdpkt run --left 10.0.0.2/24 --right 10.0.1.1/24 --forward
  stdpkt run --link dmz,at=/tmp/fifo,ip=10.0.2.1/24 -- python3 -m http.server
  stdpkt run --left 10.0.0.2/24 --right none --bridge
  stdpkt run --left 10.0.0.2/24 --forward --print-file >router
  stdpkt run --file router --mtu 9000
  stdpkt run --on-demand --idle 30s --left 10.0.0.2/24 -- python3 -m http.server
  stdpkt run --restart=on-failure --left 10.0.0.2/24 -- ./server
  stdpkt run --lkl-config env -- ping 8.8.8.8")]
pub struct RunArgs {
    /// Address of the interface `left`, joined to standard input (repeatable), or none;
    /// with `,at=EDGE` to what `stdpkt join` joins, as in 10.0.0.2/24,at=frames:stdio. With
    /// `,dev=NAME` before that the interface has that name: with --netns, a TAP that
    /// exists there
    #[arg(long, value_name = "CIDR[,dev=NAME][,at=EDGE]", value_parser = EndSpec::parse)]
    pub left: Vec<EndSpec>,

    /// Address of the interface `right`, joined to standard output, likewise
    #[arg(long, value_name = "CIDR[,dev=NAME][,at=EDGE]", value_parser = EndSpec::parse)]
    pub right: Vec<EndSpec>,

    /// A further interface on a FIFO: NAME,at=PATH (both ways over one FIFO) or
    /// NAME,at=RX:TX (one FIFO each way), then ip=CIDR (repeatable); at=EDGE as above
    #[arg(long, alias = "links", value_name = "SPEC", value_parser = LinkSpec::parse)]
    pub link: Vec<LinkSpec>,

    /// Default gateway, one for IPv4 and one for IPv6
    #[arg(long, value_name = "IP", value_parser = ip)]
    pub gateway: Vec<IpAddr>,

    /// A route: NET=VIA, e.g. 10.0.0.0/8=192.168.0.254 (repeatable)
    #[arg(long, alias = "routes", value_name = "NET=VIA", value_parser = route)]
    pub route: Vec<Route>,

    /// A name server for the function's programs, in a resolv.conf of their own
    /// (up to 3)
    #[arg(long, value_name = "IP", value_parser = ip)]
    pub dns: Vec<IpAddr>,

    /// Forward packets between the interfaces, IPv4 and IPv6
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true, hide_default_value = true, action = clap::ArgAction::Set)]
    pub forward: bool,

    /// A sysctl inside the function, e.g. net.ipv4.tcp_congestion_control=reno (repeatable)
    #[arg(long, value_name = "K=V")]
    pub sysctl: Vec<String>,

    /// A shell command to run inside the function before the links are up (repeatable)
    #[arg(long, value_name = "CMD")]
    pub setup: Vec<String>,

    /// Largest IP packet of each interface, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MTU)]
    pub mtu: u32,

    /// How frames cross the links; a link is a fifo if either end says so, a veth pair if
    /// both do
    #[arg(long, value_enum, default_value = "shm")]
    pub channel: ChannelArg,

    /// Whose network stack the function has
    #[arg(long, value_enum, default_value = "netns")]
    pub stack: StackArg,

    /// Where LKL is: the tools/lkl of a built LKL tree [default: LKL_DIR]
    #[arg(long, value_name = "DIR")]
    pub lkl: Option<PathBuf>,

    /// Bytes of ring each way, rounded up to a power of two (suffixes k and m) [default: a
    /// quarter of the second-level cache, 512k to 1m]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub ring: Option<usize>,

    /// Whose network namespace the interfaces are in, instead of a new one: host, a
    /// name of ip netns, a path, or the id of a process
    #[arg(long, value_name = "WHOSE", value_parser = Whose::parse)]
    pub netns: Option<Whose>,

    /// Make the interfaces ports of a switch, br0, which has their addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true, hide_default_value = true, action = clap::ArgAction::Set)]
    pub bridge: bool,

    /// Stay as without CMD when CMD has ended; the status is still CMD's
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true, hide_default_value = true, action = clap::ArgAction::Set)]
    pub keep: bool,

    /// Start CMD again when it has ended, in the same function, the links of which stay:
    /// always (also without a value) or on-failure; and the function when it was killed,
    /// with the links that it had. After 0.1 s, then twice as long each time
    /// up to 10 s; not after status 125, nor once the function got a signal, nor after ten
    /// ends in a row within 10 s each
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "always", value_name = "WHEN", hide_possible_values = true, conflicts_with = "keep")]
    pub restart: Option<RestartArg>,

    /// Hold the links and nothing else until the first frame comes, and only then set the
    /// function up
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true, hide_default_value = true, action = clap::ArgAction::Set)]
    pub on_demand: bool,

    /// After so many seconds without a frame let a function on demand sleep again: CMD and
    /// the network end, the links stay
    #[arg(long, value_name = "SECONDS", value_parser = idle)]
    pub idle: Option<Duration>,

    /// After CMD has ended, seconds without an acknowledgement until what its
    /// sockets still hold is given up
    #[arg(long, value_name = "SECONDS", default_value = LINGER, value_parser = seconds)]
    pub linger: Duration,

    /// What it is called.
    #[command(flatten)]
    pub name: NameArg,

    /// Take from a function file what the command line does not say: TOML, the keys of
    /// which are these flags, and command for CMD
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Take it from an LKL configuration: a file (JSON, or lines NAME=value), or env, the
    /// variables LKL_HIJACK_* and the file that LKL_CONFIG names
    #[arg(long, value_name = "FILE|env", value_parser = NonEmptyStringValueParser::new())]
    pub lkl_config: Option<String>,

    /// Write the function file of this command line to standard output, and run nothing
    #[arg(long)]
    pub print_file: bool,

    /// The program to run inside the function; without one, the function lives
    /// until the `|` on its sides end; on a FIFO it waits for the next neighbour
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

impl RunArgs {
    /// Bytes of ring each way.
    pub fn ring(&self) -> usize {
        self.ring.unwrap_or_else(|| Offer::default().capacity)
    }
}

//! `stdpkt filter`: frames that match an expression of tcpdump's language pass.

mod libpcap;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::{Part, Work, left, right};
use crate::name::NameArg;
use crate::run::signals::Signals;
use cable::Cable;
use cable::lane::Lane;
use frames::VNET_LEN;
use libpcap::Program;

/// `stdpkt filter`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt run --right 10.0.0.1/24 -- ping 10.0.0.2 |
    stdpkt filter icmp or arp |
    stdpkt run --left 10.0.0.2/24
  stdpkt filter --only left-to-right 'not tcp port 22'")]
pub struct FilterArgs {
    /// Filter one direction only; all passes in the other
    #[arg(long, value_enum, value_name = "DIRECTION")]
    pub only: Option<Direction>,

    /// What it is called.
    #[command(flatten)]
    pub name: NameArg,

    /// What passes, as in pcap-filter(7); remember arp, without which IPv4 does
    /// not get far
    #[arg(value_name = "EXPR", required = true, trailing_var_arg = true)]
    pub expression: Vec<String>,
}

/// One way through a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// From standard input to standard output
    LeftToRight,
    /// Against the direction of the pipe
    RightToLeft,
}

/// Passes frames on until a neighbour ends.
///
/// # Errors
/// One line: the expression does not compile, libpcap is missing, or a link failed.
pub fn run(args: &FilterArgs) -> Result<u8> {
    args.name.introduce(&[], "filter");
    if let Some(option) = args.expression.iter().find(|word| word.starts_with("--")) {
        bail!("{}: options come before the expression", option.escape_debug());
    }
    let program = Program::compile(&args.expression.join(" "))?;
    let plans = vec![left()?, right()?];
    let mut filter =
        Filter { program, only: args.only, forward: Lane::default(), back: Lane::default() };
    super::run(plans, Some(Signals::new()?), &mut filter)
}

/// Whether there is the library that compiles expressions.
///
/// # Errors
/// One line with the way out.
pub fn compiles() -> Result<()> {
    Program::compile("ip").map(drop)
}

struct Filter {
    program: Program,
    only: Option<Direction>,
    forward: Lane,
    back: Lane,
}

impl Work for Filter {
    fn part(&self) -> Part {
        Part::Through
    }

    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool> {
        let [left, right] = cables else { return Ok(false) };
        let (program, only) = (&self.program, self.only);
        let passes = |direction, room: &mut shmring::BytesMut<'_>| {
            // Looked at where it was copied to: the sender cannot change it any more.
            only.is_some_and(|only| only != direction) || program.matches(room, VNET_LEN)
        };
        let there = self.forward.turn(left, right, |_, room| passes(Direction::LeftToRight, room));
        let back = self.back.turn(right, left, |_, room| passes(Direction::RightToLeft, room));
        Ok(there || back)
    }

    fn arm(&mut self, cables: &mut [Cable]) -> bool {
        let [left, right] = cables else { return true };
        self.forward.arm(left, right) & self.back.arm(right, left)
    }
}

//! `stdpkt each`: a program as a filter of a link, once for each direction.

mod unbuffered;

use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyhow::{Context, Result};
use cable::{Cable, Edge, Jack, Switch};
use clap::{Args, ValueEnum};
use edges::codec::Coding;
use edges::flow::Flow;
use edges::program::Started;
use edges::stream::{StreamEdge, Ways};
use frames::Framing;
use rustix::pipe::{PipeFlags, pipe_with};
use shmring::RuntimeDir;

use crate::filters::dump::FormatArg;
use crate::filters::{left, offer, right};
use crate::join::descendants::Descendants;
use crate::join::driver::{Course, Joint};
use crate::join::start;
use crate::name::NameArg;
use crate::run::signals::Signals;
use unbuffered::unbuffered;

/// `stdpkt each`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt run --right 10.0.0.1/24 -- ping 10.0.0.2 |
    stdpkt each -- grep -v 0806 |
    stdpkt run --left 10.0.0.2/24
  stdpkt each --only left-to-right -- sed 's/8100 00 01 //'
  stdpkt each --format pcap -- ./rewrite.py")]
pub struct EachArgs {
    /// Filter one direction, and let the other pass
    #[arg(long, value_enum, value_name = "DIRECTION")]
    pub only: Option<Only>,

    /// How CMD gets the packets and returns them
    #[arg(long, value_enum, default_value = "hex")]
    pub format: FormatArg,

    /// What it is called.
    #[command(flatten)]
    pub name: NameArg,

    /// The program, started once for each direction: packets come on its standard
    /// input, and what it writes to its standard output goes on
    #[arg(last = true, value_name = "CMD", required = true)]
    pub command: Vec<String>,
}

/// A direction of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// From standard input to standard output
    LeftToRight,
    /// The way back
    RightToLeft,
}

/// How frames go where no program is between.
const PASSED: Coding = Coding::Framed(Framing::Frames);

/// Filters until a link or CMD ends; returns the exit status.
///
/// # Errors
/// One line that names the link or program.
pub fn run(args: &EachArgs) -> Result<u8> {
    args.name.introduce(&args.command, "each");
    let (left, right) = (left()?, right()?);
    let dir = RuntimeDir::for_user()?;
    let command = unbuffered(&args.command);
    let command = (args.command[0].as_str(), &command[..]);
    let coding = Coding::Capture(args.format.format());
    let mut programs = Vec::new();
    let descendants = Descendants::adopt()?;
    let there = way(args.only != Some(Only::RightToLeft), command, coding, 1, &mut programs)?;
    let back = way(args.only != Some(Only::LeftToRight), command, coding, 0, &mut programs)?;
    // Each link's edge is what goes into one way and what comes out of the other.
    let mut jacks = Vec::new();
    for (plan, into, out_of, name) in
        [(left, there.into, back.out_of, "left"), (right, back.into, there.out_of, "right")]
    {
        let ways = Ways { input: out_of.2, output: into.2 };
        let [from, to] = [out_of, into].map(|(fd, flow, _)| (fd, flow));
        let edge = StreamEdge::of_programs(&args.command[0], ways, from, to)?;
        let cable = Cable::new(cable::CablePlan { offer: offer(name), ..plan }, &dir)?;
        jacks.push(Jack::new(name.to_owned(), Box::new(edge) as Box<dyn Edge>, vec![cable]));
    }
    // Only now: CMD inherits no blocked signals.
    let signals = Signals::new()?;
    let flows: Vec<_> = programs.iter().filter_map(|it| Some((it.out, it.flow.clone()?))).collect();
    let status = Joint::new(jacks, signals, programs, descendants).run(Switch::new(dir)?)?;
    for (out, flow) in flows {
        tell(&args.command[0], if out == 1 { Only::LeftToRight } else { Only::RightToLeft }, &flow);
    }
    Ok(status)
}

/// Says what did not come through as it was, if anything did not.
fn tell(what: &str, direction: Only, flow: &Flow) {
    let (given, returned, unchanged) = (flow.given(), flow.returned(), flow.unchanged());
    let way = match direction {
        Only::LeftToRight => "left to right",
        Only::RightToLeft => "right to left",
    };
    match (given - unchanged, returned - unchanged) {
        (0, 0) => {}
        (dropped, 0) => say::note!("{what} dropped {dropped} of {given} frames from {way}"),
        (0, added) => say::note!("{what} added {added} frames to {given} from {way}"),
        (missing, others) => say::note!(
            "{what} dropped or changed {missing} of {given} frames from {way}, and wrote {others} others"
        ),
    }
}

/// One direction: where frames go in and come out, and how they are written there.
struct Way {
    into: (OwnedFd, Rc<Flow>, Coding),
    out_of: (OwnedFd, Rc<Flow>, Coding),
}

/// `out`: which of the jacks it leads to.
fn way(
    filtered: bool,
    (what, command): (&str, &[String]),
    coding: Coding,
    out: usize,
    programs: &mut Vec<Course>,
) -> Result<Way> {
    let flow = Rc::new(if filtered { Flow::of_filter() } else { Flow::default() });
    let way = |(into, out_of): (OwnedFd, OwnedFd), coding| Way {
        into: (into, flow.clone(), coding),
        out_of: (out_of, flow.clone(), coding),
    };
    if filtered {
        let Started { program, input, output, .. } = start(command)?;
        programs.push(Course {
            program,
            ended: false,
            what: what.to_owned(),
            flow: Some(flow.clone()),
            out,
        });
        return Ok(way((output, input), coding));
    }
    let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
    let (out_of, into) = pipe_with(flags).context("pipe")?;
    let _ = shmring::enlarge(&into); // a smaller one is slower, and does as well
    Ok(way((into, out_of), PASSED))
}

//! `stdpkt join`: something that is no function at the end of a link.

pub mod descendants;
pub mod driver;
mod place;
mod vm;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::process::Command;
use std::rc::Rc;

use anyhow::{Result, anyhow, bail};
use cable::{Cable, CablePlan, Edge, Jack, Switch};
use clap::Args;
use edges::flow::Flow;
use edges::program::{Program, Started};
use edges::spec::{EdgeSpec, Format, Place};
use edges::stream::StreamEdge;
use frames::MAX_FRAME;
use shmring::{Offer, PipeEnd, RuntimeDir};

use crate::door::messages::Request;
use crate::filters::{left, offer, right};
use crate::name::NameArg;
use crate::run::signals::Signals;
use crate::stack::keeper::not_started;
use crate::succession::heir;
use crate::voice;
use descendants::Descendants;
use driver::{Course, Joint};
use place::Side;
use vm::Machine;

/// `stdpkt join`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt run --right 10.0.0.1/24 -- ping 10.0.0.2 |
    stdpkt join frames -- ssh host stdpkt run --left 10.0.0.2/24,at=frames:stdio
  stdpkt join qemu:unix:/tmp/vm
  stdpkt join vde -- vde_plug vde:///run/switch
  stdpkt join tap:tap0
  stdpkt join --right vhost-user -- qemu-system-x86_64 -m 1G disk.img |
    stdpkt join --left vhost-user -- qemu-system-x86_64 -m 1G other.img
  stdpkt join vhost-user:unix:/tmp/one vhost-user:unix:/tmp/two")]
pub struct JoinArgs {
    /// What is joined to the link: FORMAT, of CMD's standard input and output, or
    /// FORMAT:PLACE. FORMAT is frames, qemu, vde, packet, pcap, pcapng, hex or vhost-user,
    /// PLACE unix:PATH, dgram:RX:TX, fd:N, fd:NAME or stdio. Two make a cable between them
    #[arg(value_name = "EDGE", value_parser = EdgeSpec::parse, num_args = 0..=2)]
    pub edges: Vec<EdgeSpec>,

    /// What is joined to the left link, standard input
    #[arg(long, value_name = "EDGE", value_parser = EdgeSpec::parse, conflicts_with = "edges")]
    pub left: Option<EdgeSpec>,

    /// What is joined to the right link, standard output
    #[arg(long, value_name = "EDGE", value_parser = EdgeSpec::parse, conflicts_with = "edges")]
    pub right: Option<EdgeSpec>,

    /// What it is called.
    #[command(flatten)]
    pub name: NameArg,

    /// A program that reads frames from its standard input and writes others to its
    /// standard output; with vhost-user, QEMU, which gets a network card for each edge
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// Where the cables of the edges go.
#[derive(Debug)]
enum Plan {
    /// From one edge to the other.
    Between(EdgeSpec, EdgeSpec),
    /// To standard input, standard output, or both.
    Links { left: Option<EdgeSpec>, right: Option<EdgeSpec> },
}

impl Plan {
    /// On which sides a machine has a card.
    fn cards(&self) -> Vec<&'static str> {
        let (left, right) = match self {
            Plan::Between(one, other) => (Some(one), Some(other)),
            Plan::Links { left, right } => (left.as_ref(), right.as_ref()),
        };
        let of_machine = |spec: Option<&EdgeSpec>| spec.is_some_and(is_card);
        let sides = [(left, "left"), (right, "right")];
        sides.into_iter().filter(|(spec, _)| of_machine(*spec)).map(|(_, side)| side).collect()
    }
}

/// Whether an edge is a card of a machine that is to be started.
fn is_card(spec: &EdgeSpec) -> bool {
    spec.format == Format::VhostUser && spec.place == Place::Command
}

/// Joins until a link, an edge or CMD ends; returns the exit status.
///
/// # Errors
/// One line that names the edge or link and the way out.
pub fn run(args: &JoinArgs) -> Result<u8> {
    args.name.introduce(&args.command, "join");
    let pipe = |fd: &dyn AsFd, number| {
        let fd = fd.as_fd().try_clone_to_owned().ok().filter(|_| heir::may_be_link(number))?;
        PipeEnd::new(fd, "").ok()
    };
    let (stdin, stdout) = (pipe(&std::io::stdin(), 0), pipe(&std::io::stdout(), 1));
    let only_link = || place::only_link(stdin.as_ref()?, stdout.as_ref()?);
    let plan = plan(args, stdin.is_some(), stdout.is_some(), only_link)?;
    drop((stdin, stdout));
    if let Plan::Links { right: Some(_), .. } = plan {
        voice::leave_link();
    }
    let machine = if plan.cards().is_empty() { None } else { Some(Machine::new(&args.command)?) };
    let dir = RuntimeDir::for_user()?;
    let descendants = Descendants::adopt()?;
    // What can be refused is refused before CMD starts.
    let mut programs = Vec::new();
    let mut cards = VecDeque::new();
    if let Some(machine) = machine {
        let vm::Started { program, what, cards: started } =
            machine.start(args.name.name.as_deref(), &plan.cards())?;
        cards.extend(started);
        programs.push(Course { program, ended: false, what, flow: None, out: 0 });
    }
    let mut open = |spec: &EdgeSpec, out| match spec {
        EdgeSpec { format: Format::Stream(coding), place: Place::Command } => {
            let Started { program, what, input, output } = start(&args.command)?;
            let flow = Rc::new(Flow::default());
            let [from, to] = [(input, flow.clone()), (output, flow.clone())];
            let edge = StreamEdge::of_programs(&what, *coding, from, to)?;
            programs.push(Course { program, ended: false, what, flow: Some(flow), out });
            Ok::<Box<dyn Edge>, anyhow::Error>(Box::new(edge))
        }
        EdgeSpec { format: Format::VhostUser, place: Place::Command } => {
            Ok(cards.pop_front().expect("one for each such edge"))
        }
        spec => spec.open(),
    };
    let mut jacks = Vec::new();
    let is_pair = matches!(plan, Plan::Between(..));
    match plan {
        Plan::Between(one, other) => {
            heir::refuse()?;
            let names = [one.to_string(), other.to_string()];
            let (one, other) = (open(&one, 0)?, open(&other, 1)?);
            // What one of the two takes: the other joins for it.
            let features = one.features() | other.features();
            let labels = [names[0].as_str(), names[1].as_str()];
            let ring = Offer::default().capacity;
            let (here, there) = shmring::pair(ring, MAX_FRAME, features, labels)?;
            for ((edge, link), name) in [(one, here), (other, there)].into_iter().zip(&names) {
                jacks.push(Jack::new(name.clone(), edge, vec![Cable::local(link, name)?]));
            }
        }
        Plan::Links { left: on_left, right: on_right } => {
            let plans = [(on_left, left as fn() -> Result<CablePlan>), (on_right, right)];
            let mut ends = Vec::new();
            for (spec, plan) in plans.into_iter().filter_map(|(spec, plan)| Some((spec?, plan))) {
                let plan = plan()?;
                let (name, edge) = (spec.to_string(), open(&spec, ends.len())?);
                let offer = offer(&name);
                ends.push((name, edge, CablePlan { offer, ..plan }));
            }
            let inside = || Err(Request::Inside.not_here());
            heir::take_over(ends.iter().map(|(_, _, plan)| plan), None, inside)?;
            for (name, edge, plan) in ends {
                jacks.push(Jack::new(name, edge, vec![heir::cable(plan, &dir)?]));
            }
            heir::arrived();
        }
    }
    // Only now: CMD inherits no blocked signals.
    let signals = Signals::new()?;
    let joint = Joint::new(jacks, signals, programs, descendants);
    let joint = if is_pair { joint.of_pair() } else { joint };
    joint.run(Switch::new(dir)?)
}

/// Starts a program for its standard input and output.
///
/// # Errors
/// [`NotStarted`](crate::stack::keeper::NotStarted), or that there is none.
pub fn start(words: &[String]) -> Result<Started> {
    let (name, rest) = words.split_first().ok_or_else(|| anyhow!("CMD is missing"))?;
    let mut command = Command::new(name);
    // It is not the one that takes over.
    command.args(rest).env_remove(heir::VARIABLE);
    let started = Program::start(command)?;
    started.map_err(|error| not_started(name.as_ref(), error.raw_os_error().unwrap_or(0)).into())
}

/// `only_link`: which of standard input and output is one, where both are pipes.
fn plan(
    args: &JoinArgs,
    stdin_is_link: bool,
    stdout_is_link: bool,
    only_link: impl FnOnce() -> Option<Side>,
) -> Result<Plan> {
    let specs = || args.edges.iter().chain(&args.left).chain(&args.right);
    let of_command = specs().filter(|spec| spec.place == Place::Command).count();
    let cards = specs().filter(|spec| is_card(spec)).count();
    match (of_command, args.command.first()) {
        (_, None) if cards > 0 => bail!(
            "CMD is missing: stdpkt join vhost-user -- qemu-system-x86_64 ..., or name the socket of a machine that runs beside, vhost-user:unix:PATH"
        ),
        // One machine with two cards.
        (2, Some(_)) if cards == 2 => {}
        (0, Some(_)) => bail!(
            "CMD carries no frames: give an edge without a place, as in stdpkt join frames -- CMD"
        ),
        (0, None) | (1, Some(_)) => {}
        (_, None) => bail!(
            "CMD is missing: stdpkt join frames -- CMD, or give the edge a place, as in frames:unix:PATH"
        ),
        (_, Some(_)) => {
            bail!("both edges are CMD's: give one of them a place, as in frames:unix:PATH")
        }
    }
    let on_stdio = specs().any(|spec| spec.place == Place::Stdio);
    let (stdin_is_link, stdout_is_link) = (stdin_is_link && !on_stdio, stdout_is_link && !on_stdio);
    match (&args.edges[..], &args.left, &args.right) {
        ([one, other], _, _) => Ok(Plan::Between(one.clone(), other.clone())),
        ([only], _, _) => {
            let side = match (stdin_is_link, stdout_is_link) {
                (true, false) => Side::Left,
                (false, true) => Side::Right,
                (true, true) => only_link().ok_or_else(|| anyhow!(
                    "{only} could be joined to standard input or to standard output: say --left {only} or --right {only}"
                ))?,
                (false, false) if on_stdio => bail!(
                    "{only} takes standard input and output: name a second edge that it is joined to"
                ),
                (false, false) => bail!(
                    "neither standard input nor standard output is a link: put `|` and a function before or behind this, or name a second edge"
                ),
            };
            let here = |which| (side == which).then(|| only.clone());
            Ok(Plan::Links { left: here(Side::Left), right: here(Side::Right) })
        }
        ([], Some(left), Some(right)) if !(stdin_is_link && stdout_is_link) => {
            Ok(Plan::Between(left.clone(), right.clone()))
        }
        ([], None, None) => bail!("name what is to be joined, as in stdpkt join frames -- CMD"),
        (_, left, right) => Ok(Plan::Links { left: left.clone(), right: right.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: JoinArgs,
    }

    fn planned(line: &str, stdin: bool, stdout: bool) -> Result<Plan> {
        let words = ["join"].into_iter().chain(line.split_whitespace());
        plan(&Line::try_parse_from(words)?.args, stdin, stdout, || None)
    }

    #[test]
    fn the_place_in_the_chain_says_which_link() {
        let links = |line, stdin, stdout| match planned(line, stdin, stdout).unwrap() {
            Plan::Links { left, right } => (left.is_some(), right.is_some()),
            Plan::Between(..) => panic!("{line}"),
        };
        assert_eq!(links("qemu:unix:s", true, false), (true, false));
        assert_eq!(links("qemu:unix:s", false, true), (false, true));
        assert_eq!(links("--right frames -- cat", true, true), (false, true));
        assert_eq!(links("--left qemu:unix:a --right qemu:unix:b", true, true), (true, true));
        for line in ["frames:stdio qemu:unix:s", "--left qemu:unix:a --right qemu:unix:b"] {
            assert!(matches!(planned(line, false, true).unwrap(), Plan::Between(..)), "{line}");
        }
    }

    #[test]
    fn each_mistake_names_the_way_out() {
        for (line, stdin, stdout, part) in [
            ("", true, true, "name what is to be joined"),
            ("frames", true, false, "CMD is missing"),
            ("qemu:unix:s -- cat", true, false, "CMD carries no frames"),
            ("frames vde -- cat", false, false, "both edges are CMD's"),
            ("qemu:unix:s", true, true, "--left qemu:unix:s"),
            ("qemu:unix:s", false, false, "put `|`"),
            ("frames:stdio", true, true, "second edge"),
            ("vhost-user", true, false, "qemu-system-x86_64 ..."),
            ("--left vhost-user --right frames -- kvm", true, true, "both edges are CMD's"),
        ] {
            let error = planned(line, stdin, stdout).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}

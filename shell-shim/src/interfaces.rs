//! `stdpkt link` and `stdpkt unlink`: interfaces that a running function gets and loses.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use shmring::observe::{self, Sight};
use shmring::{LinkError, PipeEnd, Role};

use crate::door::ask;
use crate::door::messages::Request;
use crate::name::find;
use crate::run::link_spec::{At, LinkSpec};
use crate::run::plan::open_for;

/// Making an interface takes no longer, unless the function is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// `stdpkt link`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt link router dmz,at=/tmp/fifo,ip=10.0.2.1/24
  stdpkt link switch port3,at=rx:tx")]
pub struct LinkArgs {
    /// The function: its name or process id
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The interface, as --link of stdpkt run has it: IF,at=PATH (both ways over one FIFO) or
    /// IF,at=RX:TX (one FIFO each way), then ip=CIDR (repeatable)
    #[arg(value_name = "IF,at=FIFO[,ip=CIDR]", value_parser = LinkSpec::parse)]
    pub link: LinkSpec,
}

/// `stdpkt unlink`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt unlink router dmz")]
pub struct UnlinkArgs {
    /// The function: its name or process id
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The interface: one on a FIFO
    #[arg(value_name = "IF")]
    pub interface: String,
}

/// Gives a function one more interface, and returns when it has it.
///
/// # Errors
/// One line: why nothing has changed.
pub fn link(args: &LinkArgs) -> Result<u8> {
    let LinkSpec { name, at, ip } = &args.link;
    let fifos: Vec<(&PathBuf, Role)> = match at {
        At::Both(path) => vec![(path, Role::Either)],
        At::Each { rx, tx } if rx != tx => vec![(rx, Role::Reader), (tx, Role::Writer)],
        At::Each { rx, .. } => bail!("at={0}:{0} is one FIFO: write at={0}", rx.display()),
        At::Edge(spec) => bail!(
            "{spec}: a running function gets interfaces on FIFOs: name one here, and put `stdpkt \
             join {spec}` at its other end"
        ),
    };
    let function = find(&args.name)?;
    // From within the function no neighbour that is not in its network would be found.
    let open = |&(path, role): &(&PathBuf, Role)| open_for(function.pid, path, role);
    let ends = fifos.iter().map(open).collect::<Result<Vec<_>>>()?;
    ends.iter().try_for_each(check_room)?;
    let gates = ends.iter().map(|end| end.gate().context("it is no FIFO"));
    let gates = gates.collect::<Result<Vec<_>>>()?;
    let fds: Vec<_> = ends.iter().zip(gates).flat_map(|(end, gate)| [end.as_fd(), gate]).collect();
    let request = Request::Link {
        name: name.clone(),
        ip: ip.iter().map(ToString::to_string).collect(),
        fifos: ends.iter().map(|end| end.what().to_owned()).collect(),
    };
    ask(&function, &request, &fds, PATIENCE)?;
    Ok(0)
}

/// Whether a FIFO has an end left: the function would find out only when it has the interface.
fn check_room(end: &PipeEnd) -> Result<()> {
    let Sight { rings, processes, .. } = observe::look()?;
    let role = end.role();
    let Some(ring) = rings.iter().find(|ring| {
        let both = ring.producer.pid != 0 && ring.consumer.pid != 0;
        // One that reads may have many that write.
        ring.pipe == end.id() && both && role != Role::Writer
    }) else {
        return Ok(());
    };
    let called = |pid| {
        let its = processes.iter().find(|process| process.pid == pid);
        its.map_or(format!("{pid}"), |it| format!("{} ({pid})", it.identity.name))
    };
    let by = match role {
        Role::Either => {
            format!("{} and {}", called(ring.producer.pid), called(ring.consumer.pid))
        }
        _ => called(ring.consumer.pid),
    };
    Err(LinkError::Taken { what: end.what().to_owned(), role, by }.into())
}

/// Takes an interface of a function away, and returns when it is gone.
///
/// # Errors
/// One line: why nothing has changed.
pub fn unlink(args: &UnlinkArgs) -> Result<u8> {
    let request = Request::Unlink { name: args.interface.clone() };
    ask(&find(&args.name)?, &request, &[], PATIENCE)?;
    Ok(0)
}

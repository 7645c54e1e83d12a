//! `stdpkt insert`: a function into a link, while frames flow.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::link::{self, Side};
use super::newcomer::Start;
use crate::door;
use crate::door::messages::{End, Reply, Request};
use crate::run::values::seconds;

/// `stdpkt insert`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt insert nat:right -- stdpkt tee trace.pcap
  stdpkt insert client server -- stdpkt wire --delay 20ms
  stdpkt insert fw:left -- stdpkt run --name guard --bridge --left none --right none --setup ./rules.sh")]
pub struct InsertArgs {
    /// Give up when CMD is not set up after so long; nothing has changed then
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,

    /// The link: a function and its interface, as fw:right, or two functions between which
    /// there is one
    #[arg(value_name = "LINK", required = true, num_args = 1..=2)]
    pub link: Vec<String>,

    /// What goes between: stdpkt tee, filter or wire, or stdpkt run with --left and --right
    #[arg(value_name = "CMD", required = true, last = true)]
    pub command: Vec<String>,
}

/// How long a function has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Inserts, and returns when it is done.
///
/// # Errors
/// One line: why nothing has changed.
pub fn run(args: &InsertArgs) -> Result<u8> {
    let sides = match &args.link[..] {
        [one, other] => link::between(one, other)?,
        words => link::at(&words[0])?,
    };
    let (owner, end, pipe) = owner(sides)?;
    let (read, write) = std::io::pipe().context("pipe")?;
    // Between the two the newcomer has the same direction as they have.
    let stdio = match end {
        End::Reading => [pipe, write.into()],
        End::Writing | End::Both => [read.into(), pipe],
    };
    Start {
        name: &args.link.join(" "),
        command: &args.command,
        timeout: args.timeout,
        from: (owner.process.pid, Some(&owner.label)),
        stdio,
        links: [true; 2],
    }
    .run(|_| Ok(()))?;
    Ok(0)
}

/// The first that gives its links away, and its end of the pipe.
fn owner(sides: Vec<Side>) -> Result<(Side, End, OwnedFd)> {
    let mut refusal = anyhow!("there is nobody");
    for (at, side) in sides.into_iter().enumerate() {
        let request = Request::Interface { label: side.label.clone() };
        match door::ask(&side.process, &request, &[], PATIENCE) {
            Ok(answer) => {
                let pipe = answer.fds.into_iter().next();
                let (Reply::Interface { end, .. }, Some(pipe)) = (answer.reply, pipe) else {
                    bail!("{}: no pipe came", side.label)
                };
                return Ok((side, end, pipe));
            }
            Err(error) if at == 0 => refusal = error,
            Err(_) => {} // whoever was named is who is spoken of
        }
    }
    Err(refusal)
}

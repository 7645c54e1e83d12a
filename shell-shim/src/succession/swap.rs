//! `stdpkt swap`: another function in the place of a running one.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::heir::VARIABLE;
use crate::door::messages::{Reply, Request};
use crate::door::{self, Door, socket};
use crate::name;
use crate::run::values::seconds;

/// `stdpkt swap`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt swap trace -- stdpkt tee new.pcap
  stdpkt swap --timeout 30 router -- stdpkt run --name router --left 10.0.0.1/24 --right 10.0.1.1/24 --forward")]
pub struct SwapArgs {
    /// Give up when CMD is not set up after so long; nothing has changed then
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,

    /// The function whose place CMD takes: its name or process id
    #[arg(value_name = "NAME")]
    pub name: String,

    /// What takes its place: stdpkt run, tee or filter with what they take there
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
    let old = name::find(&args.name)?;
    let place = door::ask(&old, &Request::Place, &[], PATIENCE)?;
    let [stdin, stdout]: [OwnedFd; 2] =
        place.fds.try_into().map_err(|_| anyhow::anyhow!("{}: no place came", args.name))?;
    let Some(door) = Door::open() else {
        bail!(
            "stdpkt swap has no door by which CMD could say that it is ready: see `-v` of stdpkt run"
        )
    };
    let (program, rest) = args.command.split_first().context("CMD: none given")?;
    let child = Command::new(program)
        .args(rest)
        .env(VARIABLE, format!("{} {}", old.pid, std::process::id()))
        .stdin(stdin)
        .stdout(stdout)
        // A Ctrl-C for this command is none for a function that has taken over.
        .process_group(0)
        .spawn()
        .with_context(|| program.clone())?;
    let mut newcomer = Newcomer { child, is_over: false };
    wait(args, door, &mut newcomer)?;
    newcomer.is_over = true;
    Ok(0)
}

/// CMD, which dies if it does not take over.
struct Newcomer {
    child: Child,
    is_over: bool,
}

impl Newcomer {
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // It is not waited for yet, so the group is still its own.
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn wait(args: &SwapArgs, mut door: Door, newcomer: &mut Newcomer) -> Result<()> {
    let until = Instant::now() + args.timeout;
    let end = newcomer.pid().map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let end = end.transpose().context("pidfd_open")?.context("CMD: no process")?;
    // The connection to CMD, once it has said that it is ready.
    let mut ready: Option<OwnedFd> = None;
    loop {
        let timeout = match ready {
            // From here on it is between CMD and the old function, who have timeouts.
            Some(_) => PollTimeout::NONE,
            None => {
                let left = until.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let heard = ready.as_ref().map_or(door.as_fd(), AsFd::as_fd);
        let mut fds =
            [PollFd::new(heard, PollFlags::POLLIN), PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, timeout);
        let (said, ended) = (fds[0].any().unwrap_or(false), fds[1].any().unwrap_or(false));
        match &ready {
            Some(socket) if said => {
                let mut bytes = [0; 256];
                if socket::receive(socket, &mut bytes).is_ok_and(|(len, _)| len > 0) {
                    return Ok(());
                }
                newcomer.is_over = true;
                return Err(failed(args, newcomer.child.wait().context("wait")?));
            }
            None if said => {
                for call in door.calls() {
                    if call.request == Request::Ready {
                        call.caller.tell(&Reply::Done, &[]);
                        ready = Some(call.caller.into_socket());
                    }
                }
            }
            _ => {}
        }
        if ended && !said {
            newcomer.is_over = true;
            return Err(failed(args, newcomer.child.wait().context("wait")?));
        }
        if ready.is_none() && Instant::now() >= until {
            bail!(
                "{}: CMD was not set up in {} seconds, and nothing has changed: give it longer (--timeout), \
                 or see what it waits for",
                args.name,
                args.timeout.as_secs_f64()
            );
        }
    }
}

fn failed(args: &SwapArgs, status: ExitStatus) -> anyhow::Error {
    match status.code() {
        // It has said why.
        Some(code) if code == i32::from(crate::FAILED) => say::Said.into(),
        _ => anyhow::anyhow!(
            "{}: CMD ended ({status}) without taking over, and nothing has changed: it must be a \
             stdpkt run, tee or filter",
            args.name
        ),
    }
}

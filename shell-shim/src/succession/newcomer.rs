//! The process that is to take over, as those see it who start it: it sets itself up, says
//! that it is ready, and takes over when it is told to. Before that it can be given up.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::heir::{Errand, VARIABLE};
use crate::door::messages::{Reply, Request};
use crate::door::{Door, socket};

/// What is to be started, and for whom.
pub struct Start<'a> {
    /// What it is about, for people.
    pub name: &'a str,
    /// Program and arguments.
    pub command: &'a [String],
    /// So long it may take to set itself up.
    pub timeout: Duration,
    /// From whom it takes over: process id, and the interface if it is one.
    pub from: (u32, Option<&'a str>),
    /// Its standard input and output.
    pub stdio: [OwnedFd; 2],
    /// Which of the two are links.
    pub links: [bool; 2],
}

impl Start<'_> {
    /// Starts it, waits until it is set up, does `then`, which gets the process id of whoever
    /// says so, and lets that take over.
    ///
    /// # Errors
    /// One line: why nothing has changed.
    pub fn run(self, then: impl FnOnce(u32) -> Result<()>) -> Result<()> {
        let Start { name, command, timeout, from: (old, interface), stdio, links } = self;
        let Some(door) = Door::open() else {
            bail!(
                "there is no door by which CMD could say that it is ready: see `-v` of stdpkt run"
            )
        };
        let (program, rest) = command.split_first().context("CMD: none given")?;
        let (starter, interface) = (std::process::id(), interface.map(str::to_owned));
        let errand = Errand { old, starter, links, interface };
        let [stdin, stdout] = stdio;
        let child = Command::new(program)
            .args(rest)
            .env(VARIABLE, errand.to_string())
            .stdin(stdin)
            .stdout(stdout)
            // A Ctrl-C for this command is none for a function that has taken over.
            .process_group(0)
            .spawn()
            .with_context(|| program.clone())?;
        let mut newcomer = Newcomer { name, child, is_over: false };
        let ready = newcomer.wait_until_ready(door, timeout)?;
        let pid = socket::credentials(&ready).map_or(0, |it| it.pid()).cast_unsigned();
        if let Err(error) = then(pid) {
            drop(newcomer); // before its socket, whose end it would tell of
            return Err(error);
        }
        newcomer.let_take_over(ready)
    }
}

/// CMD, which dies if it does not take over.
struct Newcomer<'a> {
    name: &'a str,
    child: Child,
    is_over: bool,
}

impl Newcomer<'_> {
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Readable when it has ended.
    fn end(&self) -> Result<OwnedFd> {
        let end = self.pid().map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        end.transpose().context("pidfd_open")?.context("CMD: no process")
    }

    /// The connection by which it says that it is ready.
    fn wait_until_ready(&mut self, mut door: Door, timeout: Duration) -> Result<OwnedFd> {
        let until = Instant::now() + timeout;
        let end = self.end()?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left + Duration::from_millis(1));
            let mut fds = [door.as_fd(), end.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let _ = poll(&mut fds, left.unwrap_or(PollTimeout::MAX));
            let ended = fds[1].any().unwrap_or(false);
            for call in door.calls() {
                if call.request == Request::Ready {
                    return Ok(call.caller.into_socket());
                }
            }
            if ended {
                return Err(self.ended());
            }
            if Instant::now() >= until {
                bail!(
                    "{}: CMD was not set up in {} seconds, and nothing has changed: give it longer \
                     (--timeout), or see what it waits for",
                    self.name,
                    timeout.as_secs_f64()
                );
            }
        }
    }

    /// From here on it is between CMD and the old function, who have timeouts.
    fn let_take_over(&mut self, ready: OwnedFd) -> Result<()> {
        let _ = socket::send(&ready, &crate::door::messages::encode(&Reply::Done), &[]);
        // Nonblocking, as the door's sockets are.
        let _ = poll(&mut [PollFd::new(ready.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
        if socket::receive(&ready, &mut [0; 256]).is_ok_and(|(len, _)| len > 0) {
            self.is_over = true;
            return Ok(());
        }
        Err(self.ended())
    }

    fn ended(&mut self) -> anyhow::Error {
        match self.child.wait() {
            Ok(status) => {
                self.is_over = true;
                self.failed(status)
            }
            Err(error) => anyhow::Error::from(error).context("wait"),
        }
    }

    fn failed(&self, status: ExitStatus) -> anyhow::Error {
        match status.code() {
            // It has said why.
            Some(code) if (crate::FAILED..=crate::NOT_FOUND).contains(&(code as u8)) => {
                say::Said.into()
            }
            _ => anyhow::anyhow!(
                "{}: CMD ended ({status}) without taking over, and nothing has changed: it must be \
                 a stdpkt run, join, tee, filter, wire, balance, dump or feed",
                self.name
            ),
        }
    }
}

impl Drop for Newcomer<'_> {
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

//! A function that a balancer has started.

use std::collections::VecDeque;
use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cable::lane::Lane;
use cable::{Cable, CablePlan, Fallback};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use shmring::{Bytes, PipeEnd, Role, RuntimeDir};

use super::fifo::Fifo;
use crate::filters::offer;
use crate::run::function::audience;
use crate::succession::heir;

/// Frames that wait until a function is there, at most.
const WAITING: usize = 256;
/// From the end of its link to that of its processes.
const GRACE: Duration = Duration::from_secs(2);

/// A function, and the cable to it, which is at the same place in a list of cables.
pub struct Spawned {
    /// Which one.
    pub serial: u64,
    /// It belongs to nobody yet.
    pub is_free: bool,
    /// What comes back from it.
    pub lane: Lane,
    /// When it last sent or got a frame.
    pub moved: Instant,
    /// Since when it takes nothing.
    pub full_since: Option<Instant>,
    /// Until it is there.
    waiting: VecDeque<Vec<u8>>,
    child: Child,
    /// Watched for its end.
    _pidfd: OwnedFd,
    /// What `stdpkt ls` shows.
    _shown: Fifo,
    /// So that the pipe does not end before the process is heard of.
    _other_end: PipeReader,
}

impl Spawned {
    /// Starts `command` in a shell, with a link on its standard input.
    ///
    /// # Errors
    /// One line: no process, no descriptors.
    pub fn start(
        command: &str,
        serial: u64,
        is_free: bool,
        news: &Epoll,
        dir: &RuntimeDir,
    ) -> Result<(Spawned, Cable)> {
        let (theirs, ours) = std::io::pipe().context("pipe")?;
        let other_end = theirs.try_clone().context("dup")?;
        let end = PipeEnd::new(OwnedFd::from(ours), &format!("function {serial}"))?;
        let mut shown = Fifo::new(&end)?;
        shown.tally.show([1, 1, 0, 1, 0]);
        let end = end.with_role(Role::Writer);
        let (offer, fallback) = (offer("balance"), Fallback::Never);
        let plan =
            CablePlan { end: end.into(), offer, vital: true, expects_both_ways: true, fallback };
        let cable = Cable::new(plan, dir)?;
        let child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .env_remove(heir::VARIABLE)
            .env(audience::VARIABLE, "1")
            .stdin(theirs)
            .stdout(std::io::stderr()) // standard output may be a link
            .process_group(0)
            .spawn()
            .context("--spawn: sh")?;
        let pidfd =
            pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).context("pidfd_open")?;
        news.add(&pidfd, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, serial))
            .context("epoll_ctl")?;
        let spawned = Spawned {
            serial,
            is_free,
            lane: Lane::default(),
            moved: Instant::now(),
            full_since: None,
            waiting: VecDeque::new(),
            child,
            _pidfd: pidfd,
            _shown: shown,
            _other_end: other_end,
        };
        Ok((spawned, cable))
    }

    /// Sends a frame, or keeps it until the function is there; `false` without room.
    pub fn send_or_keep(&mut self, cable: &mut Cable, frame: Bytes<'_>) -> bool {
        let room = self.waiting.len() < WAITING;
        match cable.sender() {
            Some(tx) if self.waiting.is_empty() => {
                let sent = tx.put(frame.len(), |to| {
                    to.copy_from_bytes(0, frame);
                    Ok::<_, ()>(frame.len())
                });
                matches!(sent, Ok(Ok(())))
            }
            _ if room => {
                self.waiting.push_back(frame.to_vec());
                true
            }
            _ => false,
        }
    }

    /// Sends what has waited; whether there was something.
    pub fn flush(&mut self, cable: &mut Cable) -> bool {
        let mut busy = false;
        let Some(tx) = cable.sender() else { return false };
        while let Some(frame) = self.waiting.front() {
            let sent = tx.put(frame.len(), |to| {
                to.copy_from(0, frame);
                Ok::<_, ()>(frame.len())
            });
            if sent.is_err() {
                break;
            }
            self.waiting.pop_front();
            busy = true;
        }
        tx.publish();
        busy
    }

    /// Whether it has ended, or has had nothing to do for so long.
    pub fn is_over(&mut self, now: Instant, idle: Duration) -> bool {
        now.saturating_duration_since(self.moved) >= idle || self.has_ended()
    }

    /// Whether its shell has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Frames that nobody gets if it ends now.
    pub fn unsent(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Its link was closed at `moved`, and it ends by that; one that does not is killed, at last.
    /// Whether it is gone.
    pub fn leaves(&mut self, now: Instant) -> bool {
        if !self.has_ended() && now >= self.moved + GRACE {
            // It is not waited for yet, so that its number is its own.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
        self.has_ended()
    }

    /// When [`Spawned::leaves`] kills it.
    pub fn killed_at(&self) -> Instant {
        self.moved + GRACE
    }
}

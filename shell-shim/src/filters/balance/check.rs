//! `--check CMD`: a command for each target, whose exit status takes it out or in.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::target::{Target, Verdict};
use crate::succession::heir;

/// From the end of a check to the next of the same target.
const INTERVAL: Duration = Duration::from_secs(1);
/// A check that takes longer is ended, and has failed.
const LIMIT: Duration = Duration::from_secs(5);
/// The variable with the name of the target's FIFO.
const VARIABLE: &str = "STDPKT_TARGET";

/// The checks of all targets.
pub struct Checks {
    command: String,
    /// Ready when a check has ended.
    ended: Epoll,
    jobs: Vec<Job>,
}

enum Job {
    /// The next begins then; at once where there is no verdict.
    Rests {
        until: Instant,
    },
    Runs {
        run: Run,
        until: Instant,
    },
}

/// A check under way, in a process group of its own.
struct Run {
    child: Child,
    /// Watched for its end.
    _pidfd: OwnedFd,
}

impl Checks {
    /// Runs `command` in a shell for each of so many targets.
    ///
    /// # Errors
    /// Those of epoll_create1(2).
    pub fn new(command: String, targets: usize, now: Instant) -> Result<Checks> {
        let ended = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        let jobs = (0..targets).map(|_| Job::Rests { until: now }).collect();
        Ok(Checks { command, ended, jobs })
    }

    /// One more target, which is checked at once.
    pub fn add_target(&mut self, now: Instant) {
        self.jobs.push(Job::Rests { until: now });
    }

    /// When [`Checks::on_time`] has to be called at the latest; `targets` are what is checked.
    pub fn deadline(&self, targets: &[Target]) -> Option<Instant> {
        let each = self.jobs.iter().zip(targets).filter(|(_, target)| target.up);
        each.map(|(job, _)| match job {
            Job::Rests { until } | Job::Runs { until, .. } => *until,
        })
        .min()
    }

    /// Takes note of the checks that have ended, and begins those that are due.
    pub fn on_time(&mut self, targets: &mut [Target], now: Instant) {
        let Checks { command, ended, jobs } = self;
        for (job, target) in jobs.iter_mut().zip(targets) {
            let failure = match job {
                // Nobody to be checked: whoever comes next is checked at once.
                _ if !target.up => {
                    *job = Job::Rests { until: now };
                    continue;
                }
                Job::Rests { until } if now < *until => continue,
                Job::Rests { .. } => match Run::start(command, &target.path, ended) {
                    Ok(run) => {
                        *job = Job::Runs { run, until: now + LIMIT };
                        continue;
                    }
                    Err(error) => Some(format!("{error:#}")),
                },
                Job::Runs { run, until } => match run.child.try_wait() {
                    Ok(None) if now < *until => continue,
                    Ok(None) => Some(format!("took longer than {} s", LIMIT.as_secs())),
                    Ok(Some(status)) => failure(status),
                    Err(error) => Some(error.to_string()),
                },
            };
            *job = Job::Rests { until: now + INTERVAL };
            judge(target, failure);
        }
    }
}

impl AsFd for Checks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.0.as_fd()
    }
}

/// Says so when a target goes out, or comes back.
fn judge(target: &mut Target, failure: Option<String>) {
    let before = target.verdict;
    target.verdict = if failure.is_some() { Verdict::Out } else { Verdict::In };
    let path = target.path.display();
    match failure {
        Some(failure) if before != Verdict::Out => {
            say::note!("{path}: --check {failure}: no new flows until it succeeds");
        }
        None if before == Verdict::Out => {
            say::note!("{path}: --check succeeded: new flows again");
        }
        _ => {}
    }
}

fn failure(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("ended with status {code}")),
        (None, signal) => Some(format!("was ended by signal {}", signal.unwrap_or_default())),
    }
}

impl Run {
    fn start(command: &str, path: &Path, ended: &Epoll) -> Result<Run> {
        let child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .env(VARIABLE, path)
            .env_remove(heir::VARIABLE)
            .stdin(Stdio::null())
            .stdout(std::io::stderr()) // standard output may be a link
            .process_group(0)
            .spawn()
            .context("sh")?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
        let run = Run { child, _pidfd: pidfd };
        ended.add(&run._pidfd, EpollEvent::new(EpollFlags::EPOLLIN, 0)).context("epoll_ctl")?;
        Ok(run)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Until it is waited for, its number is its own.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

//! The holder of a function: a small process that has its links, whether it runs or not.
//!
//! With `--restart` it starts the function again when that was killed, and with `--idle` when a frame
//! comes after it went to sleep. It is the process that the shell has started; the function is its child,
//! the same program with the same command line, and says what it does over a socket, a message each:
//!
//! | from | message | |
//! |---|---|---|
//! | holder | a link | at the start: one that the function goes on with ([`Kept`]) |
//! | holder | `go` | these were all |
//! | holder | `signal N` | came to the holder, and not from the terminal, which has sent it to both |
//! | function | a link | has come up |
//! | function | `restarts N STATUS` | of CMD, for `stdpkt ls` |
//! | function | `sleep` | it does not use the links any more, and ends |
//! | function | `end STATUS` | it ends for good |
//! | another | `pid N` | it has taken the function's place (`stdpkt swap`): from then on the holder keeps that ([`place`]) |
//!
//! What has a link's descriptors open besides the function is the holder alone, so that
//! the neighbour hears of the end of both, and not of one. The rings are used by one of the two at a time: the
//! function until it is dead.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cable::{Cable, Switch};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use shmring::handover::{Kept, socket_pair};
use shmring::{RuntimeDir, board};

use super::after::{After, Verdict};
use super::args::RunArgs;
use super::demand::Until;
use super::held::{LONGEST, VARIABLE};
use super::plan::{Plan, plan};
use super::signals::Signals;
use super::{Awake, demand};
use crate::door::socket;
use crate::succession::{heir, place};

/// Status of a function that was killed by SIGKILL.
const KILLED: u8 = 128 + libc::SIGKILL as u8;

/// What came of a function that is held.
pub enum Outcome {
    /// It has ended.
    Over(u8),
    /// It has links that cannot change hands, and goes on in this process.
    Here(Box<Plan>, Awake),
}

/// What came of one life of it.
enum Life {
    Over(u8),
    Asleep,
    /// It was killed; as a shell says it.
    Died(u8),
}

struct Holder<'a> {
    args: &'a RunArgs,
    dir: RuntimeDir,
    /// The links.
    kept: Vec<Kept>,
    after: After,
}

/// Holds the function of `args`, to its end.
///
/// # Errors
/// One line.
pub fn run(args: &RunArgs) -> Result<Outcome> {
    let dir = RuntimeDir::for_user()?;
    let mut holder = Holder { args, dir, kept: Vec::new(), after: After::of_holder(args.restart) };
    let mut asleep = args.on_demand;
    loop {
        if asleep && let Some(outcome) = holder.sleep()? {
            return Ok(outcome);
        }
        match holder.live()? {
            Life::Over(status) => return Ok(Outcome::Over(status)),
            Life::Asleep => asleep = true,
            Life::Died(status) => {
                asleep = false;
                if let Some(status) = holder.rests(status)? {
                    return Ok(Outcome::Over(status));
                }
            }
        }
    }
}

impl Holder<'_> {
    /// Waits for a frame.
    fn sleep(&mut self) -> Result<Option<Outcome>> {
        let mut plan = plan(self.args)?;
        let mut switch = Switch::new(self.dir.clone())?;
        let kept = std::mem::take(&mut self.kept);
        kept.into_iter().for_each(|link| match link.adopt() {
            Ok(link) => heir::is_given(link),
            Err(why) => say::detail!("a link could not be taken back: {why}"),
        });
        let mut cables = demand::cables(&mut plan.plugs, &self.dir)?;
        board::resume();
        if let Some(status) = demand::sleep(&mut cables, &mut switch, Until::Frame)? {
            return Ok(Some(Outcome::Over(status)));
        }
        let is_held = self.args.idle.is_some() || self.args.restart.is_some();
        let can_be = cables.iter_mut().flatten().try_for_each(Cable::can_lend);
        if let (true, Err(why)) = (is_held, &can_be) {
            say::detail!("it wakes for good: {why}");
        }
        if !is_held || can_be.is_err() {
            return Ok(Some(Outcome::Here(Box::new(plan), Awake { cables, switch })));
        }
        for cable in cables.iter_mut().flatten() {
            self.kept.extend(cable.newly_kept()?);
            cable.let_go();
        }
        board::retire();
        Ok(None)
    }

    /// Starts the function, and waits until it has ended, or sleeps.
    fn live(&mut self) -> Result<Life> {
        let (ours, mut child) = self.start()?;
        // Not before: what it runs is not to inherit that they are blocked.
        let signals = Signals::new()?;
        self.after.lives(Instant::now());
        // Once it has said that, or somebody wants it to end.
        let (mut end, mut sleeps) = (None, false);
        // The last signal, and whether the function has ended without having heard of it.
        let (mut signalled, mut unheard) = (None, false);
        loop {
            let kept = self.kept.iter().map(|link| PollFd::new(link.as_fd(), PollFlags::empty()));
            let own = [ours.as_fd(), signals.as_fd()];
            let own = own.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let mut fds: Vec<_> = own.into_iter().chain(kept).collect();
            let _ = poll(&mut fds, PollTimeout::NONE);
            let over = fds[2..].iter().any(|fd| fd.any().unwrap_or(false));
            drop(fds);
            if over {
                self.kept.retain(|link| !link.is_over());
            }
            while let Some(signal) = signals.next()? {
                self.after.cancel();
                signalled = Some(128 + signal.number as u8);
                if !signal.from_terminal {
                    let word = format!("signal {}", signal.number);
                    unheard |= socket::send(&ours, word.as_bytes(), &[]).is_err();
                }
            }
            let mut bytes = [0; LONGEST];
            let (len, fds) = match socket::receive(&ours, &mut bytes) {
                Ok((0, _)) => {
                    let status = child.wait().context("wait")?;
                    signals.release()?;
                    // One that fell asleep just then, and would sleep on.
                    if let Some(status) = signalled.filter(|_| sleeps && unheard) {
                        return Ok(Life::Over(status));
                    }
                    return Ok(self.verdict(end, sleeps, status));
                }
                Ok(said) => said,
                // What it has said before that is still to be read.
                Err(Errno::CONNRESET) => {
                    unheard = true;
                    continue;
                }
                Err(_) => continue,
            };
            if let Ok(link) = Kept::receive(&bytes[..len], fds) {
                self.kept.push(link);
                continue;
            }
            let said = std::str::from_utf8(&bytes[..len]).unwrap_or_default();
            match said.split(' ').collect::<Vec<_>>()[..] {
                ["sleep"] => sleeps = true,
                ["end", status] => end = status.parse().ok(),
                ["restarts", count, status] => {
                    let numbers = [count, status].map(|word| word.parse().unwrap_or_default());
                    self.after.set_restarts(numbers);
                }
                ["pid", pid] => {
                    let process = place::process(pid);
                    self.kept.clear();
                    child.wait().context("wait")?;
                    return place::keep_for(&ours, process).map(Life::Over);
                }
                _ => {}
            }
        }
    }

    fn start(&self) -> Result<(OwnedFd, Child)> {
        let (ours, theirs) = socket_pair()?;
        // Both sides of it are of this program: what is refused is refused for want of memory.
        for link in &self.kept {
            socket::send(&ours, &link.message(), &link.fds()).context("sendmsg")?;
        }
        socket::send(&ours, b"go", &[]).context("sendmsg")?;
        fcntl_setfd(&theirs, FdFlags::empty()).context("fcntl")?;
        rustix::io::ioctl_fionbio(&ours, true).context("ioctl")?;
        let [count, status] = self.after.restarts();
        let mut words = std::env::args_os();
        let name = words.next().unwrap_or_else(|| "stdpkt".into());
        // What it was replaced by on the disk is another program.
        let exe = std::env::current_exe().ok().filter(|exe| exe.exists());
        let child = Command::new(exe.unwrap_or_else(|| "/proc/self/exe".into()))
            .arg0(name)
            .args(words)
            .env(VARIABLE, format!("{} {count} {status}", std::os::fd::AsRawFd::as_raw_fd(&theirs)))
            .spawn()
            .context("the function does not start")?;
        Ok((ours, child))
    }

    fn verdict(&self, end: Option<u8>, sleeps: bool, status: ExitStatus) -> Life {
        match (end, status.code()) {
            _ if sleeps => Life::Asleep,
            (Some(status), _) => Life::Over(status),
            (None, Some(code)) => Life::Over(code as u8),
            (None, None) => Life::Died(status.signal().map_or(KILLED, |signal| 128 + signal as u8)),
        }
    }

    /// Waits for its next life; what it ends with if there is none.
    fn rests(&mut self, status: u8) -> Result<Option<u8>> {
        let signal = status - 128;
        let wait = match self.after.died(status, Instant::now()) {
            Verdict::Again(wait) => wait,
            Verdict::GiveUp(times) => {
                say::error!(
                    "the function was killed {times} times in a row, at last by signal {signal}: it is not started again"
                );
                return Ok(Some(status));
            }
            Verdict::End => return Ok(Some(status)),
        };
        say::note!("the function was killed by signal {signal}: again in {} s", wait.as_secs_f64());
        let signals = Signals::new()?;
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                signals.release()?;
                return Ok(None);
            }
            let left = PollTimeout::try_from(left + Duration::from_millis(1));
            let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, left.unwrap_or(PollTimeout::MAX));
            if let Some(signal) = signals.next()? {
                return Ok(Some(128 + signal.number as u8));
            }
        }
    }
}

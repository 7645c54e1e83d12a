//! Commands that work on links themselves, without a network stack: `dump`,
//! `feed`, `tee`, `filter`, `balance`. One thread, one epoll instance, no timers while links are up.

pub mod balance;
pub mod dump;
pub mod feed;
pub mod filter;
pub mod mirror;
pub mod tee;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use shmring::{Channel, Offer, PipeEnd, Role, RuntimeDir, Spin};

use crate::run::plan::{duplicate, with_way_out};
use crate::run::signals::Signals;
use cable::{Cable, CablePlan, Fallback, Half, Sender, Turn};
use frames::{FEATURES, MAX_FRAME};

/// Turns over the frames between two looks at signals and neighbours.
const TURNS: u32 = 32;

/// What a command does with the frames of its cables.
pub trait Work {
    /// Moves some frames.
    ///
    /// # Errors
    /// One line for the user; it is the end.
    fn turn(&mut self, cables: &mut [Cable]) -> Result<Turn>;

    /// Before a sleep: asks to be woken. `false` when there is something to do.
    fn arm(&mut self, cables: &mut [Cable]) -> bool;

    /// A further descriptor to wait for.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// It became readable.
    fn ready(&mut self) {}

    /// When the next turn has to be at the latest.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether there is nothing left to do.
    fn is_over(&self, cables: &[Cable]) -> bool {
        cables.iter().any(|cable| cable.is_vital() && cable.was_up && !cable.is_up())
    }
}

const SIGNALS: u64 = 0;
const WORK: u64 = 1;
const RENDEZVOUS: u64 = 2;
const TX: u64 = 3;
const RX: u64 = 4;

fn token(kind: u64, cable: usize, serial: u32) -> u64 {
    kind << 56 | (cable as u64) << 32 | u64::from(serial)
}

/// Cables and what is done with them.
pub struct Patch {
    cables: Vec<Cable>,
    epoll: Epoll,
    /// None where a signal may simply end the process.
    signals: Option<Signals>,
    dir: RuntimeDir,
    serial: u32,
}

impl Patch {
    /// Starts to look for neighbours.
    ///
    /// # Errors
    /// One line that names the pipe.
    pub fn new(plans: Vec<CablePlan>, signals: Option<Signals>) -> Result<Patch> {
        Patch::within(RuntimeDir::for_user()?, plans, signals)
    }

    /// As [`Patch::new`], meeting neighbours in `dir`.
    ///
    /// # Errors
    /// One line that names the pipe.
    pub fn within(
        dir: RuntimeDir,
        plans: Vec<CablePlan>,
        signals: Option<Signals>,
    ) -> Result<Patch> {
        let cables: Result<Vec<_>> = plans.into_iter().map(|plan| Cable::new(plan, &dir)).collect();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        if let Some(signals) = &signals {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, token(SIGNALS, 0, 0));
            epoll.add(signals, event).context("epoll_ctl")?;
        }
        let mut patch = Patch { cables: cables?, epoll, signals, dir, serial: 0 };
        (0..patch.cables.len()).try_for_each(|cable| patch.watch_rendezvous(cable))?;
        Ok(patch)
    }

    fn watch_rendezvous(&mut self, cable: usize) -> Result<()> {
        let Some(rendezvous) = self.cables[cable].rendezvous() else { return Ok(()) };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token(RENDEZVOUS, cable, 0));
        self.epoll.add(rendezvous, event).context("epoll_ctl")
    }

    /// Lives until the work is done, the links end, or a signal arrives; returns
    /// the exit status.
    ///
    /// # Errors
    /// One line for the user.
    pub fn run(&mut self, work: &mut dyn Work) -> Result<u8> {
        if let Some(fd) = work.descriptor() {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            match self.epoll.add(fd, EpollEvent::new(flags, token(WORK, 0, 0))) {
                Ok(()) | Err(Errno::EPERM) => {} // a file is always ready
                Err(errno) => return Err(errno).context("epoll_ctl"),
            }
        }
        let mut spin = Spin::new();
        let mut turns = 0u32;
        loop {
            let mut events = [EpollEvent::empty(); 32];
            turns = turns.wrapping_add(1);
            let turn = work.turn(&mut self.cables)?;
            self.sweep()?;
            if work.is_over(&self.cables) {
                self.cables.iter_mut().for_each(Cable::finish);
                return Ok(0);
            }
            let count = if turn.busy {
                spin.found();
                if !turns.is_multiple_of(TURNS) {
                    continue;
                }
                self.epoll.wait(&mut events, EpollTimeout::ZERO)
            } else if spin.again() {
                std::thread::yield_now(); // whoever we wait for may need this core
                self.epoll.wait(&mut events, EpollTimeout::ZERO)
            } else {
                let sleep = work.arm(&mut self.cables);
                self.cables.iter_mut().for_each(Cable::arm);
                let timeout = if sleep { self.timeout(work) } else { EpollTimeout::ZERO };
                let count = spin.sleep(|| self.epoll.wait(&mut events, timeout));
                self.cables.iter_mut().for_each(Cable::disarm);
                count
            };
            let count = match count {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno).context("epoll_wait"),
            };
            for event in &events[..count] {
                if let Some(status) = self.on_event(event.data(), work)? {
                    return Ok(status);
                }
            }
            self.on_time()?;
        }
    }

    /// Takes out what is dead and looks for others where others may come.
    fn sweep(&mut self) -> Result<()> {
        for at in 0..self.cables.len() {
            let cable = &mut self.cables[at];
            cable.retain(|joined| {
                if joined.tx.as_ref().is_some_and(Sender::is_closed) {
                    joined.tx = None;
                }
                joined.tx.is_some() || joined.rx.is_some()
            });
            if cable.renew(&self.dir)? {
                self.watch_rendezvous(at)?;
            }
        }
        Ok(())
    }

    fn on_event(&mut self, data: u64, work: &mut dyn Work) -> Result<Option<u8>> {
        let (at, serial) = ((data >> 32) as usize & 0xff_ffff, data as u32);
        match data >> 56 {
            SIGNALS => {
                if let Some(signals) = &self.signals
                    && let Some(signal) = signals.next()?
                {
                    return Ok(Some(128 + signal.number as u8));
                }
            }
            WORK => work.ready(),
            RENDEZVOUS => {
                let epoll = &self.epoll;
                self.cables[at]
                    .on_rendezvous(&mut self.serial, &mut |serial, half, fd, flags| {
                        watch(epoll, at, serial, half, fd, flags)
                    })?;
            }
            kind => {
                let half = if kind == TX { Half::Tx } else { Half::Rx };
                self.cables[at].woken(serial, half).context("epoll_wait")?;
            }
        }
        Ok(None)
    }

    fn on_time(&mut self) -> Result<()> {
        let epoll = &self.epoll;
        for (at, cable) in self.cables.iter_mut().enumerate() {
            cable.on_time(&mut self.serial, &mut |serial, half, fd, flags| {
                watch(epoll, at, serial, half, fd, flags)
            })?;
        }
        Ok(())
    }

    fn timeout(&self, work: &dyn Work) -> EpollTimeout {
        let cables = self.cables.iter().filter_map(Cable::deadline);
        let Some(next) = cables.chain(work.deadline()).min() else { return EpollTimeout::NONE };
        let left = next.saturating_duration_since(Instant::now());
        // Rounded up, so as not to wake a moment too early.
        EpollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX)
    }
}

fn watch(
    epoll: &Epoll,
    cable: usize,
    serial: u32,
    half: Half,
    fd: BorrowedFd<'_>,
    flags: EpollFlags,
) -> Result<()> {
    let kind = if half == Half::Tx { TX } else { RX };
    epoll.add(fd, EpollEvent::new(flags, token(kind, cable, serial))).context("epoll_ctl")
}

/// What a command offers its neighbours.
pub fn offer(label: &str) -> Offer {
    Offer {
        label: label.to_owned(),
        duplex: true,
        channel: Channel::Shm,
        max_frame: MAX_FRAME,
        features: FEATURES,
        ..Offer::default()
    }
}

/// The cable on standard input.
///
/// # Errors
/// One line that says what standard input is instead.
pub fn left() -> Result<CablePlan> {
    standard(std::io::stdin().as_fd(), "standard input", Role::Reader, "left")
}

/// The cable on standard output.
///
/// # Errors
/// One line that says what standard output is instead.
pub fn right() -> Result<CablePlan> {
    standard(std::io::stdout().as_fd(), "standard output", Role::Writer, "right")
}

fn standard(fd: BorrowedFd<'_>, what: &str, role: Role, label: &str) -> Result<CablePlan> {
    let fd = duplicate(fd).with_context(|| format!("{what} is closed"))?;
    let end = PipeEnd::new(fd, what).map_err(with_way_out)?;
    if end.role() != role && end.role() != Role::Either {
        anyhow::bail!("{what} is the wrong end of a pipe");
    }
    Ok(CablePlan {
        end: end.with_role(role),
        offer: offer(label),
        vital: true,
        both_ways: true,
        fallback: Fallback::IfUnaware,
    })
}

//! The life of a function: join the neighbours, run CMD, move frames, end.
//!
//! One thread, one epoll instance. Nothing is polled and there are no timers
//! while links are up: an idle function does not run at all.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use shmring::{RuntimeDir, Spin};

use super::interface::Interface;
use super::signals::Signals;
use crate::stack::keeper::{Keeper, NotStarted};
use cable::Half;

/// A capture is played so long after CMD was started, which wants to see all of it.
const HEAD_START: Duration = Duration::from_millis(500);
/// What is still in the TAPs when a function ends has this long to leave.
const DRAIN: Duration = Duration::from_millis(100);
/// A CMD whose link has ended has this long to notice by itself...
pub(super) const GRACE: Duration = Duration::from_millis(200);
/// ...and then this long after SIGTERM, before it is killed.
pub(super) const TERM: Duration = Duration::from_millis(300);
/// Turns over the frames between two looks at signals and neighbours.
const TURNS: u32 = 32;

/// A function whose interfaces are set up.
pub struct Function {
    interfaces: Vec<Interface>,
    epoll: Epoll,
    signals: Signals,
    keeper: Option<Keeper>,
    /// Empty once started.
    command: Vec<String>,
    dir: RuntimeDir,
    serial: u32,
    running: bool,
    /// When captures are to be played.
    play_at: Option<Instant>,
    /// Why the function is ending, once it is.
    ending: Option<Ending>,
}

/// The end of a function has begun.
struct Ending {
    /// Exit status, unless CMD has one.
    status: u8,
    /// What to do to a CMD that is still running, and when.
    next: (Instant, Blow),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Blow {
    Terminate,
    Kill,
}

/// What an epoll event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Command,
    Tap { interface: usize },
    Rendezvous { interface: usize, cable: usize },
    Link { interface: usize, half: Half, serial: u32 },
}

impl Source {
    fn token(self) -> u64 {
        let (kind, interface, low) = match self {
            Source::Signals => (0, 0, 0),
            Source::Command => (1, 0, 0),
            Source::Tap { interface } => (2, interface, 0),
            Source::Rendezvous { interface, cable } => (3, interface, cable as u32),
            Source::Link { interface, half: Half::Tx, serial } => (4, interface, serial),
            Source::Link { interface, half: Half::Rx, serial } => (5, interface, serial),
        };
        kind << 56 | (interface as u64) << 32 | u64::from(low)
    }

    fn of(token: u64) -> Source {
        let interface = (token >> 32) as usize & 0xff_ffff;
        let low = token as u32;
        match token >> 56 {
            0 => Source::Signals,
            1 => Source::Command,
            2 => Source::Tap { interface },
            3 => Source::Rendezvous { interface, cable: low as usize },
            4 => Source::Link { interface, half: Half::Tx, serial: low },
            _ => Source::Link { interface, half: Half::Rx, serial: low },
        }
    }
}

fn watch(epoll: &Epoll, fd: BorrowedFd<'_>, source: Source, flags: EpollFlags) -> Result<()> {
    epoll.add(fd, EpollEvent::new(flags, source.token())).context("epoll_ctl")
}

impl Function {
    /// Watches all there is to watch.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn new(
        interfaces: Vec<Interface>,
        signals: Signals,
        keeper: Option<Keeper>,
        command: Vec<String>,
        dir: RuntimeDir,
    ) -> Result<Function> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        watch(&epoll, signals.as_fd(), Source::Signals, EpollFlags::EPOLLIN)?;
        if let Some(keeper) = &keeper {
            watch(&epoll, keeper.as_fd(), Source::Command, EpollFlags::EPOLLIN)?;
        }
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        for (interface, it) in interfaces.iter().enumerate() {
            watch(&epoll, it.tap().as_fd(), Source::Tap { interface }, edge)?;
            for (cable, it) in it.cables.iter().enumerate() {
                if let Some(rendezvous) = it.rendezvous() {
                    let source = Source::Rendezvous { interface, cable };
                    watch(&epoll, rendezvous.as_fd(), source, EpollFlags::EPOLLIN)?;
                }
            }
        }
        let running = false;
        let ending = None;
        Ok(Function {
            interfaces,
            epoll,
            signals,
            keeper,
            command,
            dir,
            serial: 0,
            running,
            play_at: None,
            ending,
        })
    }

    /// Lives until CMD or the links end; returns the exit status.
    ///
    /// # Errors
    /// One line that names the link or program.
    pub fn run(mut self) -> Result<u8> {
        let mut spin = Spin::new();
        let mut turns = 0;
        loop {
            let mut events = [EpollEvent::empty(); 32];
            turns += 1;
            let count = if self.turn()? {
                spin.found();
                if turns % TURNS != 0 {
                    continue;
                }
                self.epoll.wait(&mut events, EpollTimeout::ZERO)
            } else if spin.again() {
                // Whoever we wait for may need this core.
                std::thread::yield_now();
                self.epoll.wait(&mut events, EpollTimeout::ZERO)
            } else {
                let sleep = self.interfaces.iter_mut().all(Interface::arm);
                let timeout = if sleep { self.timeout() } else { EpollTimeout::ZERO };
                let count = spin.sleep(|| self.epoll.wait(&mut events, timeout));
                self.interfaces.iter_mut().for_each(Interface::disarm);
                count
            };
            let count = match count {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(errno) => return Err(errno).context("epoll_wait"),
            };
            for event in &events[..count] {
                if let Some(status) = self.on_event(Source::of(event.data()))? {
                    return Ok(self.finish(status));
                }
            }
            if let Some(ending) = &self.ending
                && !self.running
            {
                let status = ending.status;
                return Ok(self.finish(status));
            }
            self.strike()?;
            self.on_time()?;
            if self.play_at.is_some_and(|at| Instant::now() >= at) {
                self.play_at = None;
                self.interfaces.iter_mut().for_each(|interface| interface.hold_captures = false);
            }
        }
    }

    /// Moves frames; `true` when there were any. Notes links that ended.
    fn turn(&mut self) -> Result<bool> {
        let mut busy = false;
        let mut ended = false;
        for interface in &mut self.interfaces {
            let turn = interface.turn();
            busy |= turn.busy;
            ended |= turn.ended;
        }
        if ended {
            self.after_links_ended()?;
        }
        Ok(busy)
    }

    fn after_links_ended(&mut self) -> Result<()> {
        for (interface, it) in self.interfaces.iter_mut().enumerate() {
            it.unplugged()?;
            for (cable, it) in it.cables.iter_mut().enumerate() {
                if it.renew(&self.dir)?
                    && let Some(rendezvous) = it.rendezvous()
                {
                    let source = Source::Rendezvous { interface, cable };
                    watch(&self.epoll, rendezvous.as_fd(), source, EpollFlags::EPOLLIN)?;
                }
            }
        }
        let cables = || self.interfaces.iter().flat_map(|interface| &interface.cables);
        let cut = cables().any(|c| c.is_vital() && c.was_up && !c.is_up());
        let idle = !self.running
            && self.command.is_empty()
            && !cables().any(|c| c.is_vital())
            && !cables().any(|c| c.is_up());
        if cut || idle {
            // What ended the neighbour may have been sent to us as well.
            self.on_event(Source::Signals)?;
        }
        if cut && !self.running && !self.command.is_empty() {
            say::error!("the neighbour ended before {} could start", self.command[0]);
            self.end(crate::FAILED);
        } else if cut || idle {
            self.end(0);
        }
        Ok(())
    }

    fn on_event(&mut self, source: Source) -> Result<Option<u8>> {
        match source {
            Source::Signals => {
                while let Some(signal) = self.signals.next()? {
                    self.on_signal(signal)?;
                }
            }
            Source::Command => {
                if let Some(keeper) = &mut self.keeper {
                    return Ok(Some(keeper.status()?));
                }
            }
            Source::Tap { interface } => self.interfaces[interface].tap_ready(),
            Source::Rendezvous { interface, cable } => self.on_rendezvous(interface, cable)?,
            Source::Link { interface, half, serial } => {
                self.interfaces[interface].woken(serial, half).context("epoll_wait")?;
            }
        }
        Ok(None)
    }

    fn on_rendezvous(&mut self, interface: usize, cable: usize) -> Result<()> {
        // Closed when the function began to end.
        let Some(it) = self.interfaces[interface].cables.get_mut(cable) else { return Ok(()) };
        let result = it.on_rendezvous(&mut self.serial, &mut |serial, half, fd, flags| {
            watch(&self.epoll, fd, Source::Link { interface, half, serial }, flags)
        });
        if let Err(error) = result {
            // What ended the neighbour may have been sent to us as well.
            self.on_event(Source::Signals)?;
            let gone =
                matches!(error.downcast_ref(), Some(shmring::LinkError::NeighbourGone { .. }));
            let name = self.interfaces[interface].name.clone();
            if gone && self.command.is_empty() && self.ending.is_none() {
                // Perhaps a chain that lived too short to be linked. As in
                // `false | cat`, a failure is in the status of who failed.
                say::error!("{name}: {error:#}");
                self.end(0);
            }
            return if self.ending.is_some() { Ok(()) } else { Err(error.context(name)) };
        }
        self.after_links_came(interface)
    }

    fn after_links_came(&mut self, interface: usize) -> Result<()> {
        let it = &mut self.interfaces[interface];
        if let Some(features) = it.cables.iter_mut().filter_map(|cable| cable.plugged()).last() {
            it.plugged(features)?;
        }
        self.start_command()
    }

    /// Sees about neighbours that have not turned up.
    fn on_time(&mut self) -> Result<()> {
        let mut cables = self.interfaces.iter().flat_map(|i| &i.cables);
        if cables.all(|cable| cable.deadline().is_none_or(|at| Instant::now() < at)) {
            return Ok(());
        }
        for (interface, it) in self.interfaces.iter_mut().enumerate() {
            for cable in &mut it.cables {
                cable.on_time(&mut self.serial, &mut |serial, half, fd, flags| {
                    watch(&self.epoll, fd, Source::Link { interface, half, serial }, flags)
                })?;
            }
        }
        (0..self.interfaces.len()).try_for_each(|interface| self.after_links_came(interface))
    }

    /// Starts CMD once every link is up: it finds a network that works.
    fn start_command(&mut self) -> Result<()> {
        let all_up = self.interfaces.iter().flat_map(|i| &i.cables).all(|c| c.was_up);
        if !all_up || self.command.is_empty() {
            return Ok(());
        }
        let argv: Vec<_> = std::mem::take(&mut self.command).into_iter().map(Into::into).collect();
        if let Some(keeper) = &mut self.keeper {
            keeper.spawn(&argv)?;
            self.running = true;
        }
        for interface in &mut self.interfaces {
            if interface.plays_capture() {
                interface.hold_captures = true;
                self.play_at = Some(Instant::now() + HEAD_START);
            }
        }
        Ok(())
    }

    fn on_signal(&mut self, signal: super::signals::Arrived) -> Result<()> {
        let status = 128 + signal.number as u8;
        if !self.running {
            self.end(status);
            return Ok(());
        }
        // CMD decides what a signal means. From the terminal it has it already.
        if let (false, Some(keeper), Ok(number)) =
            (signal.from_terminal, &mut self.keeper, Signal::try_from(signal.number))
        {
            keeper.terminate(number)?;
        }
        if signal.number != Signal::SIGINT as i32 {
            self.end(status);
        }
        Ok(())
    }

    /// Begins to end. All links are closed at once, so that a long chain
    /// unwinds everywhere at the same time.
    fn end(&mut self, status: u8) {
        if self.ending.is_some() {
            return;
        }
        self.drain();
        self.interfaces.iter_mut().for_each(Interface::close);
        self.ending = Some(Ending { status, next: (Instant::now() + GRACE, Blow::Terminate) });
    }

    /// Deals with a CMD that outlives its links.
    fn strike(&mut self) -> Result<()> {
        let Some(ending) = &mut self.ending else { return Ok(()) };
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        let now = Instant::now();
        if now < ending.next.0 {
            return Ok(());
        }
        match ending.next.1 {
            Blow::Terminate => keeper.terminate(Signal::SIGTERM)?,
            Blow::Kill => keeper.terminate(Signal::SIGKILL)?,
        }
        ending.next = (now + TERM, Blow::Kill);
        Ok(())
    }

    /// Sends what the function's network stack still has to say.
    fn drain(&mut self) {
        let until = Instant::now() + DRAIN;
        while Instant::now() < until {
            let mut busy = false;
            for interface in &mut self.interfaces {
                interface.tap_ready();
                busy |= interface.turn().busy;
            }
            if !busy {
                break;
            }
        }
    }

    fn finish(mut self, status: u8) -> u8 {
        if self.ending.is_none() {
            self.end(status);
        }
        status
    }

    fn timeout(&self) -> EpollTimeout {
        let strike = self.ending.as_ref().map(|ending| ending.next.0);
        let cables = self.interfaces.iter().flat_map(|i| &i.cables).filter_map(|c| c.deadline());
        let own = [strike, self.play_at].into_iter().flatten();
        let Some(next) = own.chain(cables).min() else {
            return EpollTimeout::NONE;
        };
        let left = next.saturating_duration_since(Instant::now());
        // Rounded up, so as not to wake a moment too early.
        EpollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX)
    }
}

/// The exit status of an error: what a shell would say of a program that did
/// not start, else [`crate::FAILED`].
pub fn status_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<NotStarted>().map_or(crate::FAILED, |error| error.exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for source in [
            Source::Signals,
            Source::Command,
            Source::Tap { interface: 7 },
            Source::Rendezvous { interface: 3, cable: 1 },
            Source::Link { interface: 2, half: Half::Tx, serial: u32::MAX },
            Source::Link { interface: 2, half: Half::Rx, serial: 0 },
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}

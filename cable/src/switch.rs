//! The one event loop: one thread, one epoll instance, no timers while links are
//! up. An idle function does not run at all.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use shmring::{RuntimeDir, Spin};

use crate::row::Row;
use crate::seat::Seat;
use crate::{Cable, Half};

/// Turns over the frames between two looks at descriptors, while there are frames, and at
/// deadlines, while nobody sleeps.
const TURNS: u32 = 32;

/// Has cables, and moves the frames between them or between them and something else.
pub trait Driver {
    /// The cables.
    fn cables(&mut self) -> impl Iterator<Item = &mut Cable>;

    /// Moves some frames; `true` when there were any.
    ///
    /// # Errors
    /// One line for the user; it is the end.
    fn turn(&mut self) -> Result<bool>;

    /// Before a sleep: asks to be woken. `false` when there is something to do.
    fn arm(&mut self) -> bool;

    /// Shows `watch` descriptors of its own, each with a number of its choice.
    ///
    /// # Errors
    /// Those of `watch`.
    fn watch(&self, watch: &mut WatchNumbered<'_>) -> Result<()> {
        let _ = watch;
        Ok(())
    }

    /// The same for those that it has got since, which it is asked for after each
    /// [`Driver::ready`].
    ///
    /// # Errors
    /// Those of `watch`.
    fn watch_new(&mut self, watch: &mut WatchNumbered<'_>) -> Result<()> {
        let _ = watch;
        Ok(())
    }

    /// The descriptor with this number became ready. `Some` is the end: the exit status.
    /// New cables, if there are any afterwards, are watched from then on.
    ///
    /// # Errors
    /// One line for the user; it is the end.
    fn ready(&mut self, number: u32) -> Result<Option<u8>> {
        let _ = number;
        Ok(None)
    }

    /// Something happened to the search for a neighbour on the cable with this id:
    /// links may have come, or it failed.
    ///
    /// # Errors
    /// That failure, if it is the end.
    fn met(&mut self, cable: u32, met: Result<()>) -> Result<()> {
        let _ = cable;
        met
    }

    /// Links ended.
    ///
    /// # Errors
    /// One line for the user; it is the end.
    fn parted(&mut self) -> Result<()> {
        Ok(())
    }

    /// When [`Driver::on_time`] wants to be called.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due, if anything is.
    ///
    /// # Errors
    /// One line for the user; it is the end.
    fn on_time(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether its thread may stay on one processor: it starts no program, which would
    /// stay there, too.
    fn may_sit(&self) -> bool {
        false
    }

    /// The exit status, once there is nothing left to do.
    fn over(&mut self) -> Option<u8>;
}

/// Waits for a descriptor; [`Driver::ready`] gets the number.
pub type WatchNumbered<'a> = dyn FnMut(u32, BorrowedFd<'_>, EpollFlags) -> Result<()> + 'a;

/// What an epoll event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Driver { number: u32 },
    Rendezvous { cable: u32 },
    Link { cable: u32, half: Half, serial: u32 },
}

/// Ids of cables that an event has room for.
const IDS: u32 = 1 << 24;

impl Source {
    fn token(self) -> u64 {
        let (kind, cable, low) = match self {
            Source::Driver { number } => (0, 0, number),
            Source::Rendezvous { cable } => (1, cable, 0),
            Source::Link { cable, half: Half::Tx, serial } => (2, cable, serial),
            Source::Link { cable, half: Half::Rx, serial } => (3, cable, serial),
        };
        kind << 56 | u64::from(cable % IDS) << 32 | u64::from(low)
    }

    fn of(token: u64) -> Source {
        let cable = (token >> 32) as u32 % IDS;
        let low = token as u32;
        match token >> 56 {
            0 => Source::Driver { number: low },
            1 => Source::Rendezvous { cable },
            2 => Source::Link { cable, half: Half::Tx, serial: low },
            _ => Source::Link { cable, half: Half::Rx, serial: low },
        }
    }
}

/// What became of a [`Switch::step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There may be more to do.
    Busy,
    /// There is nothing to do, but for what is due then.
    Idle(Option<Instant>),
    /// The driver is done: its exit status.
    Over(u8),
}

/// Waits for all that a driver has to see to.
pub struct Switch {
    epoll: Epoll,
    /// Where neighbours are met.
    dir: RuntimeDir,
    /// The newest cable's.
    id: u32,
}

impl Switch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// Those of epoll_create1(2).
    pub fn new(dir: RuntimeDir) -> Result<Switch> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        Ok(Switch { epoll, dir, id: 0 })
    }

    /// Drives until the driver is done; returns its exit status.
    ///
    /// # Errors
    /// One line for the user.
    pub fn run(&mut self, driver: &mut impl Driver) -> Result<u8> {
        self.begin(driver)?;
        let mut spin = Spin::new();
        let mut seat = if driver.may_sit() { Seat::new() } else { None };
        let mut turns = 0u32;
        let mut events = [EpollEvent::empty(); 32];
        loop {
            turns = turns.wrapping_add(1);
            let is_look = turns.is_multiple_of(TURNS);
            let moved = driver.turn()?;
            let busy = self.sweep(driver)? || moved;
            if let Some(status) = driver.over() {
                return Ok(status);
            }
            let count = if busy {
                spin.found();
                if !is_look {
                    continue;
                }
                self.epoll.wait(&mut events, EpollTimeout::ZERO)
            } else if spin.again() {
                std::thread::yield_now(); // whoever we wait for may need this core
                match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                    Ok(0) if !is_look => continue,
                    count => count,
                }
            } else {
                let row = Row::seen(driver.cables());
                row.tell(driver.cables());
                if let Some(other) = seat.as_mut().and_then(|seat| seat.take(row)) {
                    spin = other;
                }
                let sleep = driver.arm();
                driver.cables().for_each(Cable::arm);
                let timeout = if sleep { timeout(driver) } else { EpollTimeout::ZERO };
                let count = spin.sleep(|| self.epoll.wait(&mut events, timeout));
                driver.cables().for_each(Cable::disarm);
                count
            };
            let count = match count {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno).context("epoll_wait"),
            };
            for event in &events[..count] {
                if let Some(status) = self.on_event(Source::of(event.data()), driver)? {
                    return Ok(status);
                }
            }
            self.on_time(driver)?;
        }
    }

    /// Does what there is to do and does not wait, for those who have an event loop of
    /// their own, after [`Switch::begin`]. It waits for the switch's descriptor, and
    /// until a deadline.
    ///
    /// # Errors
    /// One line for the user.
    pub fn step(&mut self, driver: &mut impl Driver) -> Result<Step> {
        driver.cables().for_each(Cable::disarm);
        let mut events = [EpollEvent::empty(); 32];
        let count = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno).context("epoll_wait"),
        };
        for event in &events[..count] {
            if let Some(status) = self.on_event(Source::of(event.data()), driver)? {
                return Ok(Step::Over(status));
            }
        }
        self.on_time(driver)?;
        let moved = driver.turn()?;
        let busy = self.sweep(driver)? || moved;
        if let Some(status) = driver.over() {
            return Ok(Step::Over(status));
        }
        if busy {
            return Ok(Step::Busy);
        }
        let sleep = driver.arm();
        driver.cables().for_each(Cable::arm);
        Ok(if sleep { Step::Idle(deadline(driver)) } else { Step::Busy })
    }

    /// Watches what a driver has from the start; [`Switch::run`] does it by itself.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn begin(&mut self, driver: &mut impl Driver) -> Result<()> {
        driver.watch(&mut |number, fd, flags| {
            watch(&self.epoll, fd, Source::Driver { number }, flags)
        })?;
        self.meet(driver)
    }

    /// Watches the cables that it does not know yet.
    fn meet(&mut self, driver: &mut impl Driver) -> Result<()> {
        for cable in driver.cables().filter(|cable| cable.id == 0) {
            // Never 0, which is nobody's.
            self.id = self.id % (IDS - 1) + 1;
            cable.id = self.id;
            watch_rendezvous(&self.epoll, cable)?;
        }
        Ok(())
    }

    /// Takes out what is dead and looks for others where others may come. Whether there was
    /// any: the driver, which hears of it, gets another turn before it sleeps.
    fn sweep(&mut self, driver: &mut impl Driver) -> Result<bool> {
        let mut ended = false;
        for cable in driver.cables() {
            if cable.sweep() {
                ended = true;
                if cable.renew(&self.dir)? {
                    watch_rendezvous(&self.epoll, cable)?;
                }
            }
        }
        if ended {
            driver.parted()?;
        }
        Ok(ended)
    }

    fn on_event(&mut self, source: Source, driver: &mut impl Driver) -> Result<Option<u8>> {
        match source {
            Source::Driver { number } => {
                let status = driver.ready(number)?;
                // It may have new cables now, and new edges.
                driver.watch_new(&mut |number, fd, flags| {
                    watch(&self.epoll, fd, Source::Driver { number }, flags)
                })?;
                self.meet(driver)?;
                return Ok(status);
            }
            Source::Rendezvous { cable: id } => {
                // None: closed since.
                let Some(cable) = driver.cables().find(|cable| cable.id() == id) else {
                    return Ok(None);
                };
                let met = cable.on_rendezvous(&mut |serial, half, fd, flags| {
                    watch(&self.epoll, fd, Source::Link { cable: id, half, serial }, flags)
                });
                driver.met(id, met)?;
            }
            Source::Link { cable: id, half, serial } => {
                if let Some(cable) = driver.cables().find(|cable| cable.id() == id) {
                    cable.woken(serial, half).context("epoll_wait")?;
                }
            }
        }
        Ok(None)
    }

    fn on_time(&mut self, driver: &mut impl Driver) -> Result<()> {
        let is_due = |cable: &&mut Cable| cable.deadline().is_some_and(|at| Instant::now() >= at);
        loop {
            let Some(cable) = driver.cables().find(is_due) else { break };
            let id = cable.id();
            let met = cable.on_time(&mut |serial, half, fd, flags| {
                watch(&self.epoll, fd, Source::Link { cable: id, half, serial }, flags)
            });
            driver.met(id, met)?;
        }
        driver.on_time()
    }
}

impl AsFd for Switch {
    /// Readable when [`Switch::step`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn deadline(driver: &mut impl Driver) -> Option<Instant> {
    let own = driver.deadline();
    driver.cables().filter_map(|cable| cable.deadline()).chain(own).min()
}

fn timeout(driver: &mut impl Driver) -> EpollTimeout {
    let Some(next) = deadline(driver) else { return EpollTimeout::NONE };
    let left = next.saturating_duration_since(Instant::now());
    // Rounded up, so as not to wake a moment too early.
    EpollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX)
}

fn watch_rendezvous(epoll: &Epoll, cable: &Cable) -> Result<()> {
    let Some(rendezvous) = cable.rendezvous() else { return Ok(()) };
    let source = Source::Rendezvous { cable: cable.id() };
    watch(epoll, rendezvous.as_fd(), source, EpollFlags::EPOLLIN)
}

fn watch(epoll: &Epoll, fd: BorrowedFd<'_>, source: Source, flags: EpollFlags) -> Result<()> {
    match epoll.add(fd, EpollEvent::new(flags, source.token())) {
        Ok(()) | Err(Errno::EPERM) => Ok(()), // a plain file is always ready
        Err(errno) => Err(errno).context("epoll_ctl"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for source in [
            Source::Driver { number: u32::MAX },
            Source::Rendezvous { cable: 3 },
            Source::Link { cable: IDS - 1, half: Half::Tx, serial: u32::MAX },
            Source::Link { cable: 2, half: Half::Rx, serial: 0 },
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}

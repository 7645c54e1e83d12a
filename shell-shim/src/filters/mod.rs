//! Commands that work on links themselves, without a network stack: `dump`,
//! `feed`, `tee`, `filter`, `balance`, `wire`.

pub mod balance;
pub mod dump;
pub mod feed;
pub mod filter;
pub mod mirror;
pub mod tee;
pub mod wire;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::Signal;
use shmring::{Channel, Offer, RuntimeDir};

use crate::door::messages::{Reply, Request};
use crate::door::{Call, Door};
use crate::run::plan::{standard_input, standard_output};
use crate::run::signals::Signals;
use crate::succession::answer;
use crate::succession::heir;
use crate::succession::member::{Answered, Member};
use cable::{Cable, CablePlan, Driver, Fallback, Outlet, Switch, WatchNumbered};
use frames::{FEATURES, MAX_FRAME};

/// After a signal, the rest of a packet has so long to get into a pipe: a capture
/// ends with a whole one.
const LAST: Duration = Duration::from_secs(1);

/// What a command does with the frames of its cables.
pub trait Work {
    /// Moves some frames; `true` when there were any.
    ///
    /// # Errors
    /// One line for the user; it is the end.
    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool>;

    /// Before a sleep: asks to be woken. `false` when there is something to do.
    fn arm(&mut self, cables: &mut [Cable]) -> bool;

    /// A further descriptor to wait for.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// It became readable. Cables may be added, and taken out.
    ///
    /// # Errors
    /// One line for the user; it is the end.
    fn ready(&mut self, cables: &mut Vec<Cable>, dir: &RuntimeDir) -> Result<()> {
        let _ = (cables, dir);
        Ok(())
    }

    /// The time of [`Work::deadline`] may have come. Cables may be taken out.
    ///
    /// # Errors
    /// One line for the user; it is the end.
    fn on_time(&mut self, cables: &mut Vec<Cable>, dir: &RuntimeDir) -> Result<()> {
        let _ = (cables, dir);
        Ok(())
    }

    /// Somebody asks for something by the door. Cables that are added are watched from
    /// then on; neighbours are met in `dir`.
    ///
    /// # Errors
    /// Why not: a line for whoever asks. Nothing has changed then.
    fn asked(&mut self, call: &Call, cables: &mut Vec<Cable>, dir: &RuntimeDir) -> Result<Reply> {
        let _ = (cables, dir);
        Err(call.request.not_here())
    }

    /// What kind of a part of a chain it is, for those who change the chain.
    fn part(&self) -> Part {
        Part::End
    }

    /// Whether another process can do this work in its place.
    ///
    /// # Errors
    /// A line for the user: why not.
    fn can_hand_over(&self) -> Result<()> {
        Ok(())
    }

    /// Sends what is inside, as far as it is due and there is room, and takes nothing in;
    /// whether nothing is left.
    fn flush(&mut self, cables: &mut [Cable]) -> bool {
        let _ = cables;
        true
    }

    /// When the next turn has to be at the latest.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether there is nothing left to do.
    fn is_over(&self, cables: &[Cable]) -> bool {
        cables.iter().any(Cable::is_gone)
    }
}

/// A part of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Frames pass: it can be taken out.
    Through,
    /// Frames begin or end there.
    End,
    /// The chain has several branches from there on, of which none can wait for another.
    Fork,
}

/// Joins the cables and works on them until the work is done, the links end, or a
/// signal arrives; returns the exit status. Without `signals`, one may simply end the
/// process.
///
/// # Errors
/// One line for the user.
pub fn run(plans: Vec<CablePlan>, signals: Option<Signals>, work: &mut impl Work) -> Result<u8> {
    run_within(RuntimeDir::for_user()?, plans, signals, work)
}

/// As [`run`], meeting neighbours in `dir`.
///
/// # Errors
/// One line for the user.
pub fn run_within(
    dir: RuntimeDir,
    plans: Vec<CablePlan>,
    signals: Option<Signals>,
    work: &mut impl Work,
) -> Result<u8> {
    check_distinct(&plans)?;
    // Before its name is shown.
    let mut door = Door::open();
    heir::take_over(plans.iter(), door.as_mut(), || Err(Request::Inside.not_here()))?;
    let cables: Result<Vec<_>> = plans.into_iter().map(|plan| heir::cable(plan, &dir)).collect();
    let cables = cables?;
    heir::arrived();
    let mut worker = Worker { cables, signals, door, dir: dir.clone(), work, ending: None };
    Switch::new(dir)?.run(&mut worker)
}

/// A command that is joined to itself would send its own frames round and round.
fn check_distinct(plans: &[CablePlan]) -> Result<()> {
    let mut seen = HashMap::new();
    // A socket may well be both standard input and output.
    for end in plans.iter().filter_map(|plan| plan.end.pipe()).filter(|end| !end.is_socket()) {
        if let Some(other) = seen.insert(end.id(), end.what()) {
            bail!("{other} and {} are one: give each link a FIFO of its own", end.what());
        }
    }
    Ok(())
}

/// Drives a [`Switch`].
struct Worker<'a, W> {
    cables: Vec<Cable>,
    signals: Option<Signals>,
    door: Option<Door>,
    dir: RuntimeDir,
    work: &'a mut W,
    ending: Option<Ending>,
}

/// No more frames are taken; what was sent gets on its way.
struct Ending {
    status: u8,
    /// Until then; without it as long as it takes a reader.
    until: Option<Instant>,
}

const SIGNALS: u32 = 0;
const WORK: u32 = 1;
const DOOR: u32 = 2;
const PLACE: u32 = 3;

impl<W: Work> Driver for Worker<'_, W> {
    fn cables(&mut self) -> impl Iterator<Item = &mut Cable> {
        self.cables.iter_mut()
    }

    fn turn(&mut self) -> Result<bool> {
        if self.ending.is_some() { Ok(false) } else { self.work.turn(&mut self.cables) }
    }

    fn arm(&mut self) -> bool {
        self.ending.is_some() || self.work.arm(&mut self.cables)
    }

    fn watch(&self, watch: &mut WatchNumbered<'_>) -> Result<()> {
        if let Some(signals) = &self.signals {
            watch(SIGNALS, signals.as_fd(), EpollFlags::EPOLLIN)?;
        }
        if let Some(door) = &self.door {
            watch(DOOR, door.as_fd(), EpollFlags::EPOLLIN)?;
        }
        if let Some(place) = heir::place() {
            watch(PLACE, place, EpollFlags::EPOLLIN)?;
        }
        let Some(fd) = self.work.descriptor() else { return Ok(()) };
        watch(WORK, fd, EpollFlags::EPOLLIN | EpollFlags::EPOLLET)
    }

    fn ready(&mut self, number: u32) -> Result<Option<u8>> {
        match &self.signals {
            Some(signals) if number == SIGNALS => {
                let Some(signal) = signals.next()? else { return Ok(None) };
                self.end_by(signal.number);
            }
            _ if number == DOOR => {
                for call in self.door.as_mut().map(Door::calls).unwrap_or_default() {
                    if !answer::is_for_all(&call.request) {
                        let result = self.work.asked(&call, &mut self.cables, &self.dir);
                        call.answer(result);
                    } else if answer::answer(call, self) == Answered::Gone {
                        return Ok(Some(0));
                    }
                }
            }
            // Whoever kept our place for the shell was killed.
            _ if number == PLACE => self.end_by(Signal::SIGTERM as i32),
            _ => self.work.ready(&mut self.cables, &self.dir)?,
        }
        Ok(None)
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.ending {
            Some(ending) => ending.until,
            None => self.work.deadline(),
        }
    }

    fn on_time(&mut self) -> Result<()> {
        match self.ending {
            Some(_) => Ok(()),
            None => self.work.on_time(&mut self.cables, &self.dir),
        }
    }

    fn over(&mut self) -> Option<u8> {
        if self.ending.is_none() && self.work.is_over(&self.cables) {
            self.ending = Some(Ending { status: 0, until: None });
        }
        let Ending { status, until } = self.ending.as_ref()?;
        let late = until.is_some_and(|until| Instant::now() >= until);
        (late || self.cables.iter_mut().all(Cable::is_flushed)).then_some(*status)
    }
}

impl<W: Work> Member for Worker<'_, W> {
    fn flush(&mut self, until: Instant) -> bool {
        loop {
            if self.work.flush(&mut self.cables) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
            self.cables.iter_mut().for_each(Cable::refresh);
        }
    }

    fn can_hand_over(&self) -> Result<()> {
        self.work.can_hand_over()
    }

    fn can_hold(&self) -> Result<()> {
        match (&self.ending, self.work.part()) {
            (Some(_), _) => bail!("it is ending"),
            (_, Part::Fork) => bail!("it spreads frames, and does not hold one branch back"),
            (_, Part::Through | Part::End) => Ok(()),
        }
    }

    fn can_leave(&self) -> Result<()> {
        match (&self.ending, self.work.part()) {
            (Some(_), _) => bail!("it is ending"),
            (_, Part::Through) => Ok(()),
            (_, Part::End | Part::Fork) => bail!(
                "it is no part that frames only pass: those are stdpkt tee, filter, wire and run --bridge"
            ),
        }
    }
}

impl<W> Worker<'_, W> {
    fn end_by(&mut self, signal: i32) {
        // The second one is for those who do not want to wait.
        let waited = self.ending.as_ref().and_then(|ending| ending.until);
        let until = Some(waited.map_or_else(|| Instant::now() + LAST, |_| Instant::now()));
        self.ending = Some(Ending { status: 128 + signal as u8, until });
    }
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
    Ok(standard(standard_input()?, "left"))
}

/// The cable on standard output.
///
/// # Errors
/// One line that says what standard output is instead.
pub fn right() -> Result<CablePlan> {
    Ok(standard(standard_output()?, "right"))
}

fn standard(end: Outlet, label: &str) -> CablePlan {
    CablePlan {
        end,
        offer: offer(label),
        vital: true,
        expects_both_ways: true,
        fallback: Fallback::IfUnaware,
    }
}

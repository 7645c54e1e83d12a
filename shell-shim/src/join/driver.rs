//! The life of a joint: frames between edges and links, until one of them ends.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use cable::{Cable, Driver, Edge, Jack, Switch, WatchNumbered};
use edges::flow::Flow;
use edges::program::Program;
use nix::sys::epoll::EpollFlags;
use rustix::process::Signal;

use super::descendants::Descendants;
use crate::door::Door;
use crate::run::signals::{Arrived, Signals};
use crate::run::stop::Stop;
use crate::succession::heir;

/// What was written before an end has so long to be taken, from one frame to the next.
const LAST: Duration = Duration::from_secs(1);

/// A program between edges.
pub struct Course {
    /// The program.
    pub program: Program,
    /// It has ended.
    pub ended: bool,
    /// Its name.
    pub what: String,
    /// What goes through it, unless its frames go other ways.
    pub flow: Option<Rc<Flow>>,
    /// Which of the jacks has the edge that reads what it writes.
    pub out: usize,
}

/// Edges, their cables, and the programs of some of them.
pub struct Joint {
    jacks: Vec<Jack<Box<dyn Edge>>>,
    signals: Signals,
    door: Option<Door>,
    programs: Vec<Course>,
    descendants: Descendants,
    /// They are ours, not the user's: how they end when told to is nobody's business,
    /// and of themselves they end for a reason that this tells.
    why: Option<Box<dyn FnMut(u8) -> String>>,
    /// Of two edges that are joined to each other: who was left when that was last seen.
    left: Option<[bool; 2]>,
    status: u8,
    /// The program whose end is the end of all, and which the status is of.
    decided_by: Option<usize>,
    stage: Stage,
}

/// Where a joint is in its life.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Living,
    /// CMD has ended: what it wrote is delivered first. How much that is so far, and when
    /// it is given up unless there is more.
    Draining(u64, Instant),
    /// Edges get what came before, and then the end of their input; what comes later
    /// than this is not waited for.
    Closing(Instant),
    /// CMD is waited for, and told more and more clearly.
    Waiting(Stop),
    /// All have ended, and what they wrote last is delivered, as when draining.
    Leaving(u64, Instant),
}

/// Numbers of the descriptors to wait for; those of the edges follow.
const SIGNALS: u32 = 0;
const DOOR: u32 = 1;
const PLACE: u32 = 2;
const DESCENDANTS: u32 = 3;
const PROGRAMS: u32 = 4;
const EDGES: u32 = 1 << 8;

impl Joint {
    /// A signal: the status with which all is over at once, if it is the second one.
    fn end_by(&mut self, signal: Arrived) -> Option<u8> {
        // From the terminal they have it already.
        if let (false, Some(number)) = (signal.from_terminal, Signal::from_named_raw(signal.number))
        {
            self.programs.iter().for_each(|course| course.program.signal(number));
        }
        let status = 128 + signal.number as u8;
        // The second one is for those who do not want to wait.
        let Stage::Living = self.stage else { return Some(status) };
        self.end(status);
        None
    }

    /// A joint that nobody drives yet.
    pub fn new(
        jacks: Vec<Jack<Box<dyn Edge>>>,
        signals: Signals,
        programs: Vec<Course>,
        descendants: Descendants,
    ) -> Joint {
        let (why, status, decided_by) = (None, 0, None);
        let (door, stage, left) = (Door::open(), Stage::Living, None);
        Joint { jacks, signals, door, programs, descendants, why, left, status, decided_by, stage }
    }

    /// The two edges are joined to each other.
    pub fn of_pair(self) -> Joint {
        Joint { left: Some([false; 2]), ..self }
    }

    /// The programs are ours, not the user's. `why` they ended of themselves, with this status.
    pub fn of_servants(self, why: impl FnMut(u8) -> String + 'static) -> Joint {
        Joint { why: Some(Box::new(why)), ..self }
    }

    /// Lives until a link, an edge or CMD ends; returns the exit status.
    ///
    /// # Errors
    /// One line that names the edge or link.
    pub fn run(mut self, mut switch: Switch) -> Result<u8> {
        self.descendants.listen()?;
        let status = switch.run(&mut self)?;
        self.tell_of_idle();
        self.jacks.iter_mut().for_each(Jack::close);
        Ok(status)
    }

    /// Whether a machine that ended with that status was none yet for its neighbour.
    fn never_joined(&self, status: u8) -> bool {
        status == 1 && self.jacks.iter().all(|jack| jack.sent() == 0)
    }

    /// A program that ended well and did nothing is not what its user thinks it is.
    fn tell_of_idle(&self) {
        let by = self.decided_by.filter(|_| self.why.is_none());
        let Some(Course { what, flow, .. }) = by.map(|number| &self.programs[number]) else {
            return;
        };
        let Some(flow) = flow else {
            if self.never_joined(self.status) {
                say::note!(
                    "{what} ended before its card joined, see what it said above: it has to be QEMU 5.1 or later, \
                     with virtio-net (qemu-system-x86_64 -device help)"
                );
            }
            return;
        };
        match (self.status, flow.given(), flow.returned()) {
            // It was told what is wrong with what it wrote.
            _ if say::has_failed() => {}
            (0, 0, 0) => say::error!(
                "{what} ended before it got or wrote a frame: let it read frames from its standard input \
                 and write others to its standard output until the link ends"
            ),
            (0, given, 0) => {
                say::note!("{what} ended without having written a frame; it was given {given}");
            }
            _ => {}
        }
    }

    /// A program has ended.
    fn program_ended(&mut self, number: usize, status: u8) {
        if std::mem::replace(&mut self.programs[number].ended, true) {
            return; // a pidfd tells that it is reaped, too
        }
        if self.programs.iter().all(|it| it.ended) {
            self.descendants.end();
        }
        // It may have written something since the last look.
        self.jacks.iter_mut().for_each(Jack::woken);
        let Course { what, .. } = &self.programs[number];
        match self.stage {
            Stage::Living => {
                (self.status, self.decided_by) = (status, Some(number));
                let told_below = self.programs[number].flow.is_none() && self.never_joined(status);
                match (&mut self.why, status) {
                    (Some(why), status) => say::error!("{}", why(status)),
                    (None, 0) => {}
                    (None, _) if told_below => {}
                    (None, _) => say::note!("{what} ended{}, and the link with it", how(status)),
                }
                self.stage = Stage::Draining(0, Instant::now() + LAST);
            }
            _ if self.decided_by.is_some() || self.why.is_some() => {}
            _ => self.status = self.status.max(status),
        }
    }

    /// A link or an edge has ended, or a signal says so.
    fn end(&mut self, status: u8) {
        if let Stage::Living = self.stage {
            self.status = status;
            self.stage = Stage::Closing(Instant::now() + LAST);
        }
    }

    /// Tells each of two edges when whoever is behind the other leaves or comes back.
    fn look_at_pair(&mut self) -> Result<()> {
        let (Some(left), [one, other]) = (&mut self.left, &mut self.jacks[..]) else {
            return Ok(());
        };
        let now = [one.edge().is_left(), other.edge().is_left()];
        let before = std::mem::replace(left, now);
        for (jack, number) in [(other, 0), (one, 1)] {
            if now[number] != before[number] {
                jack.neighbour_left(now[number])?;
            }
        }
        Ok(())
    }

    /// Whether all is delivered that programs wrote before their end, or the rest given up.
    fn is_drained(&mut self) -> bool {
        let (Stage::Draining(before, until) | Stage::Leaving(before, until)) = self.stage else {
            return false;
        };
        let now = Instant::now();
        let mut outs = self.programs.iter().map(|program| program.out);
        let sent: u64 = outs.clone().map(|out| self.jacks[out].sent()).sum();
        // Who has not come yet is waited for; else it goes on, or is over.
        let waits = self.jacks.iter().flat_map(|jack| &jack.cables).any(|cable| !cable.was_up);
        if waits || sent > before {
            let progress = (sent.max(before), now + LAST);
            self.stage = match self.stage {
                Stage::Draining(..) => Stage::Draining(progress.0, progress.1),
                _ => Stage::Leaving(progress.0, progress.1),
            };
        }
        let jacks = &mut self.jacks;
        outs.all(|out| jacks[out].is_empty())
            && jacks.iter_mut().flat_map(|jack| &mut jack.cables).all(Cable::is_flushed)
            || now >= until && !waits
    }

    /// Goes on from one stage to the next.
    fn proceed(&mut self) {
        let now = Instant::now();
        let is_drained = self.is_drained();
        match self.stage {
            Stage::Draining(..) if is_drained => self.stage = Stage::Closing(now + LAST),
            Stage::Closing(until) => {
                let jacks = self.jacks.iter_mut();
                let closed = jacks.fold(true, |all, jack| {
                    all & ((now >= until || jack.is_delivered()) && jack.close_edge())
                });
                if closed {
                    // CMD sees the end of its input once it has read what came before.
                    self.stage = Stage::Waiting(Stop::begin());
                }
            }
            _ => {}
        }
        if matches!(self.stage, Stage::Waiting(..)) && self.programs.iter().all(|it| it.ended) {
            self.stage = Stage::Leaving(0, now + LAST);
        }
    }
}

/// How a program ended that did not end well, for people.
fn how(status: u8) -> String {
    match status {
        129..=192 => format!(" with status {status}, as after signal {}", status - 128),
        _ => format!(" with status {status}"),
    }
}

impl Driver for Joint {
    fn cables(&mut self) -> impl Iterator<Item = &mut Cable> {
        self.jacks.iter_mut().flat_map(|jack| &mut jack.cables)
    }

    fn turn(&mut self) -> Result<bool> {
        let mut busy = false;
        for jack in &mut self.jacks {
            busy |= jack.turn();
            // That of a servant is not over before it has ended, and why is told.
            if jack.edge().is_over() && self.why.is_none() {
                jack.close(); // which ends the cable to it
            }
        }
        self.look_at_pair()?;
        if self.jacks.iter().all(|jack| jack.cables.is_empty()) {
            self.end(0);
        }
        self.proceed();
        Ok(busy)
    }

    fn arm(&mut self) -> bool {
        self.jacks.iter_mut().all(Jack::arm)
    }

    fn watch(&self, watch: &mut WatchNumbered<'_>) -> Result<()> {
        watch(SIGNALS, self.signals.as_fd(), EpollFlags::EPOLLIN)?;
        if let Some(door) = &self.door {
            watch(DOOR, door.as_fd(), EpollFlags::EPOLLIN)?;
        }
        if let Some(place) = heir::place() {
            watch(PLACE, place, EpollFlags::EPOLLIN | EpollFlags::EPOLLET)?;
        }
        watch(DESCENDANTS, self.descendants.as_fd(), EpollFlags::EPOLLIN)?;
        for (number, course) in (PROGRAMS..).zip(&self.programs) {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            watch(number, course.program.as_fd(), flags)?;
        }
        (EDGES..)
            .zip(&self.jacks)
            .try_for_each(|(number, jack)| jack.watch(&mut |fd, flags| watch(number, fd, flags)))
    }

    fn ready(&mut self, number: u32) -> Result<Option<u8>> {
        match number {
            SIGNALS => {
                while let Some(signal) = self.signals.next()? {
                    if let Some(status) = self.end_by(signal) {
                        return Ok(Some(status));
                    }
                }
            }
            // Whoever kept our place for the shell was killed.
            PLACE => {
                return Ok(self.end_by(Arrived { number: libc::SIGTERM, from_terminal: false }));
            }
            DOOR => self.door.iter_mut().flat_map(Door::calls).for_each(|call| {
                let refusal = call.request.not_here();
                call.answer(Err(refusal));
            }),
            DESCENDANTS => {
                let programs: Vec<i32> = self.programs.iter().map(|it| it.program.id()).collect();
                self.descendants.bury(&programs);
            }
            number @ EDGES.. => self.jacks[(number - EDGES) as usize].woken(),
            number => {
                let number = (number - PROGRAMS) as usize;
                if let Some(status) = self.programs[number].program.status()? {
                    self.program_ended(number, status);
                }
            }
        }
        Ok(None)
    }

    fn met(&mut self, cable: u32, met: Result<()>) -> Result<()> {
        met?;
        let mut jacks = self.jacks.iter_mut();
        let jack = jacks.find(|jack| jack.cables.iter().any(|it| it.id() == cable));
        jack.map_or(Ok(()), |jack| jack.links_came().map(drop))
    }

    fn parted(&mut self) -> Result<()> {
        self.jacks.iter_mut().try_for_each(Jack::links_ended)?;
        let mut cables = self.jacks.iter().flat_map(|jack| &jack.cables);
        if cables.any(Cable::is_gone) {
            self.end(0);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Living => None,
            Stage::Draining(_, at) | Stage::Closing(at) | Stage::Leaving(_, at) => Some(at),
            Stage::Waiting(stop) => Some(stop.at()),
        };
        let living = matches!(self.stage, Stage::Living) && self.why.is_none();
        let flows =
            self.programs.iter().filter(|_| living).filter_map(|it| it.flow.as_ref()?.deadline());
        self.jacks.iter().filter_map(Jack::deadline).chain(stage).chain(flows).min()
    }

    fn on_time(&mut self) -> Result<()> {
        self.jacks.iter_mut().try_for_each(Jack::on_time)?;
        match &mut self.stage {
            Stage::Living if self.why.is_none() => {
                for Course { what, flow, .. } in &self.programs {
                    flow.iter().for_each(|flow| flow.tell(what));
                }
            }
            Stage::Waiting(stop) => {
                if let Some(signal) = stop.due().and_then(|it| Signal::from_named_raw(it as i32)) {
                    self.programs.iter().for_each(|course| course.program.signal(signal));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn over(&mut self) -> Option<u8> {
        (matches!(self.stage, Stage::Leaving(..)) && self.is_drained()).then_some(self.status)
    }
}

//! The life of a joint: frames between edges and links, until one of them ends.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use cable::{Cable, Driver, Edge, Jack, Switch, WatchNumbered};
use edges::program::Program;
use nix::sys::epoll::EpollFlags;
use rustix::process::Signal;

use crate::run::signals::Signals;
use crate::run::stop::Stop;

/// What CMD wrote before it ended has this long to be taken.
const LAST: Duration = Duration::from_secs(1);

/// Edges, their cables, and the programs of some of them.
pub struct Joint {
    jacks: Vec<Jack<Box<dyn Edge>>>,
    signals: Signals,
    programs: Vec<Program>,
    /// They are ours, not the user's: how they end when told to is nobody's business.
    servants: bool,
    /// How many of them have ended.
    ended: usize,
    ending: Option<Ending>,
}

/// The end has begun.
enum Ending {
    /// CMD has ended with this status: what it wrote is still delivered.
    Program { status: u8, until: Instant },
    /// The link has ended, and CMD is waited for, or a reader that has not taken all.
    Link { status: u8, stop: Stop },
}

/// Numbers of the descriptors to wait for; those of the edges follow.
const SIGNALS: u32 = 0;
const PROGRAMS: u32 = 1;
const EDGES: u32 = 1 << 8;

impl Joint {
    /// A joint that nobody drives yet.
    pub fn new(jacks: Vec<Jack<Box<dyn Edge>>>, signals: Signals, programs: Vec<Program>) -> Joint {
        Joint { jacks, signals, programs, servants: false, ended: 0, ending: None }
    }

    /// The programs are ours, not the user's.
    pub fn of_servants(mut self) -> Joint {
        self.servants = true;
        self
    }

    /// Lives until a link, an edge or CMD ends; returns the exit status.
    ///
    /// # Errors
    /// One line that names the edge or link.
    pub fn run(mut self, mut switch: Switch) -> Result<u8> {
        let status = switch.run(&mut self)?;
        self.jacks.iter_mut().for_each(Jack::close);
        Ok(status)
    }

    /// A program has ended. `Some` is the end of all: the exit status.
    fn program_ended(&mut self, status: u8) -> Option<u8> {
        self.ended += 1;
        match &mut self.ending {
            None => {
                let until = Instant::now() + LAST;
                self.ending = Some(Ending::Program { status, until });
                None
            }
            Some(Ending::Link { status: worst, .. }) => {
                if !self.servants {
                    *worst = (*worst).max(status);
                }
                (self.ended == self.programs.len()).then_some(*worst)
            }
            Some(Ending::Program { .. }) => None,
        }
    }

    /// The time of a CMD that still takes what came before the end has not begun.
    fn spare_readers(&mut self) {
        if let Some(Ending::Link { stop, .. }) = &mut self.ending
            && !self.jacks.iter_mut().all(Jack::is_edge_flushed)
        {
            *stop = Stop::begin();
        }
    }

    /// A link or an edge has ended, or a signal says so.
    fn end(&mut self, status: u8) {
        if self.ending.is_none() {
            // CMD sees the end of its input once it has read what came before.
            self.jacks.iter_mut().for_each(Jack::close_edge);
            self.ending = Some(Ending::Link { status, stop: Stop::begin() });
        }
    }
}

impl Driver for Joint {
    fn cables(&mut self) -> impl Iterator<Item = &mut Cable> {
        self.jacks.iter_mut().flat_map(|jack| &mut jack.cables)
    }

    fn turn(&mut self) -> Result<bool> {
        let busy = self.jacks.iter_mut().fold(false, |busy, jack| busy | jack.turn());
        if self.jacks.iter().any(|jack| jack.edge().is_over()) {
            self.end(0);
        }
        self.spare_readers();
        Ok(busy)
    }

    fn arm(&mut self) -> bool {
        self.jacks.iter_mut().all(Jack::arm)
    }

    fn watch(&self, watch: &mut WatchNumbered<'_>) -> Result<()> {
        watch(SIGNALS, self.signals.as_fd(), EpollFlags::EPOLLIN)?;
        for (number, program) in (PROGRAMS..).zip(&self.programs) {
            watch(number, program.as_fd(), EpollFlags::EPOLLIN | EpollFlags::EPOLLET)?;
        }
        (EDGES..)
            .zip(&self.jacks)
            .try_for_each(|(number, jack)| jack.watch(&mut |fd, flags| watch(number, fd, flags)))
    }

    fn ready(&mut self, number: u32) -> Result<Option<u8>> {
        match number {
            SIGNALS => {
                while let Some(signal) = self.signals.next()? {
                    // From the terminal they have it already.
                    if let (false, Some(number)) =
                        (signal.from_terminal, Signal::from_named_raw(signal.number))
                    {
                        self.programs.iter().for_each(|program| program.signal(number));
                    }
                    let status = 128 + signal.number as u8;
                    if self.programs.is_empty() {
                        return Ok(Some(status));
                    }
                    self.ending.get_or_insert(Ending::Link { status, stop: Stop::begin() });
                }
            }
            number @ EDGES.. => self.jacks[(number - EDGES) as usize].woken(),
            number => {
                if let Some(status) = self.programs[(number - PROGRAMS) as usize].status()? {
                    return Ok(self.program_ended(status));
                }
            }
        }
        Ok(None)
    }

    fn met(&mut self, cable: u32, met: Result<()>) -> Result<()> {
        met?;
        let mut jacks = self.jacks.iter_mut();
        let jack = jacks.find(|jack| jack.cables.iter().any(|it| it.id() == cable));
        jack.map_or(Ok(()), Jack::links_came)
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
        let ending = self.ending.as_ref().map(|ending| match ending {
            Ending::Program { until, .. } => *until,
            Ending::Link { stop, .. } => stop.at(),
        });
        self.jacks.iter().filter_map(Jack::deadline).chain(ending).min()
    }

    fn on_time(&mut self) -> Result<()> {
        self.spare_readers();
        if let Some(Ending::Link { stop, .. }) = &mut self.ending
            && let Some(signal) = stop.due().and_then(|it| Signal::from_named_raw(it as i32))
        {
            self.programs.iter().for_each(|program| program.signal(signal));
        }
        Ok(())
    }

    fn over(&mut self) -> Option<u8> {
        match &self.ending {
            Some(Ending::Program { status, until }) => {
                let waits = self.jacks.iter_mut().any(Jack::has_frames);
                (!waits || Instant::now() >= *until).then_some(*status)
            }
            Some(Ending::Link { status, .. }) if self.programs.is_empty() => {
                let flushed = self.jacks.iter_mut().all(Jack::is_edge_flushed);
                flushed.then_some(*status)
            }
            _ => None,
        }
    }
}

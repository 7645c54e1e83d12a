//! The life of a function: join the neighbours, run CMD, move frames, end.
//!
//! [`cable::Switch`] is the loop; this is what it drives.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::Signal;
use shmring::LinkError;

use super::signals::Signals;
use crate::stack::keeper::{Keeper, NotStarted};
use cable::{Cable, Driver, Edge, Jack, Switch, WatchNumbered};
use edges::tap::Tap;

/// A capture is played so long after CMD was started, which wants to see all of it.
const HEAD_START: Duration = Duration::from_millis(500);
/// What is still in the TAPs when a function ends has this long to leave.
const DRAIN: Duration = Duration::from_millis(100);
/// A CMD whose link has ended has this long to notice by itself...
pub(crate) const GRACE: Duration = Duration::from_millis(200);
/// ...and then this long after SIGTERM, before it is killed.
pub(crate) const TERM: Duration = Duration::from_millis(300);

/// A function whose interfaces are set up.
pub struct Function {
    jacks: Vec<Jack<Tap>>,
    /// Edges in the place of neighbours, at the other ends of cables in this process.
    far: Vec<Jack<Box<dyn Edge>>>,
    signals: Signals,
    keeper: Option<Keeper>,
    /// Empty once started.
    command: Vec<String>,
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

/// Numbers of the descriptors to wait for; those of the edges follow.
const SIGNALS: u32 = 0;
const COMMAND: u32 = 1;
const EDGES: u32 = 2;
/// Those of edges in the place of neighbours: more than interfaces that there can be.
const FAR: u32 = 1 << 16;

impl Driver for Function {
    fn cables(&mut self) -> impl Iterator<Item = &mut Cable> {
        let far = self.far.iter_mut().flat_map(|jack| &mut jack.cables);
        self.jacks.iter_mut().flat_map(|jack| &mut jack.cables).chain(far)
    }

    fn turn(&mut self) -> Result<bool> {
        Ok(self.move_frames())
    }

    fn arm(&mut self) -> bool {
        self.jacks.iter_mut().all(Jack::arm) & self.far.iter_mut().all(Jack::arm)
    }

    fn watch(&self, watch: &mut WatchNumbered<'_>) -> Result<()> {
        watch(SIGNALS, self.signals.as_fd(), EpollFlags::EPOLLIN)?;
        if let Some(keeper) = &self.keeper {
            watch(COMMAND, keeper.as_fd(), EpollFlags::EPOLLIN)?;
        }
        (EDGES..)
            .zip(&self.jacks)
            .try_for_each(|(number, jack)| jack.watch(&mut |fd, flags| watch(number, fd, flags)))?;
        (FAR..)
            .zip(&self.far)
            .try_for_each(|(number, jack)| jack.watch(&mut |fd, flags| watch(number, fd, flags)))
    }

    fn ready(&mut self, number: u32) -> Result<Option<u8>> {
        match (number, &mut self.keeper) {
            (SIGNALS, _) => self.take_signals()?,
            (COMMAND, Some(keeper)) => return Ok(Some(keeper.status()?)),
            (COMMAND, None) => {}
            (far @ FAR.., _) => self.far[(far - FAR) as usize].woken(),
            (edge, _) => self.jacks[(edge - EDGES) as usize].woken(),
        }
        Ok(None)
    }

    fn met(&mut self, cable: u32, met: Result<()>) -> Result<()> {
        let is_its = |cables: &[Cable]| cables.iter().any(|it| it.id() == cable);
        let Some(jack) = self.jacks.iter_mut().find(|jack| is_its(&jack.cables)) else {
            met?;
            let far = self.far.iter_mut().find(|jack| is_its(&jack.cables));
            return far.map_or(Ok(()), Jack::links_came);
        };
        let Err(error) = met else {
            jack.links_came()?;
            return self.start_command();
        };
        let name = jack.name.clone();
        // What ended the neighbour may have been sent to us as well.
        self.take_signals()?;
        let gone = matches!(error.downcast_ref(), Some(LinkError::NeighbourGone { .. }));
        if gone && self.command.is_empty() && self.ending.is_none() {
            // Perhaps a chain that lived too short to be linked. As in
            // `false | cat`, a failure is in the status of who failed.
            say::error!("{name}: {error:#}");
            self.end(0);
        }
        if self.ending.is_some() { Ok(()) } else { Err(error.context(name)) }
    }

    fn parted(&mut self) -> Result<()> {
        self.jacks.iter_mut().try_for_each(Jack::links_ended)?;
        self.far.iter_mut().try_for_each(Jack::links_ended)?;
        let cables = || self.jacks.iter().flat_map(|jack| &jack.cables);
        let cut = cables().any(|c| c.is_vital() && c.was_up && !c.is_up());
        if cut {
            // What ended the neighbour may have been sent to us as well.
            self.take_signals()?;
        }
        if cut && !self.running && !self.command.is_empty() {
            say::error!("the neighbour ended before {} could start", self.command[0]);
            self.end(crate::FAILED);
        } else if cut {
            self.end(0);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let strike = self.ending.as_ref().map(|ending| ending.next.0);
        let edges = self.jacks.iter().filter_map(Jack::deadline);
        let far = self.far.iter().filter_map(Jack::deadline);
        [strike, self.play_at].into_iter().flatten().chain(edges).chain(far).min()
    }

    fn on_time(&mut self) -> Result<()> {
        self.strike()?;
        if self.play_at.take_if(|at| Instant::now() >= *at).is_some() {
            self.jacks.iter_mut().for_each(|jack| jack.hold_captures = false);
        }
        Ok(())
    }

    fn over(&mut self) -> Option<u8> {
        self.ending.as_ref().filter(|_| !self.running).map(|ending| ending.status)
    }
}

impl Function {
    /// A function that nobody drives yet.
    pub fn new(
        jacks: Vec<Jack<Tap>>,
        far: Vec<Jack<Box<dyn Edge>>>,
        signals: Signals,
        keeper: Option<Keeper>,
        command: Vec<String>,
    ) -> Function {
        let (running, play_at, ending) = (false, None, None);
        Function { jacks, far, signals, keeper, command, running, play_at, ending }
    }

    /// Lives until CMD or the links end; returns the exit status.
    ///
    /// # Errors
    /// One line that names the link or program.
    pub fn run(mut self, mut switch: Switch) -> Result<u8> {
        let status = switch.run(&mut self)?;
        self.end(status);
        Ok(status)
    }

    fn move_frames(&mut self) -> bool {
        let mut busy = self.jacks.iter_mut().fold(false, |busy, jack| busy | jack.turn());
        for jack in &mut self.far {
            busy |= jack.turn();
            if jack.edge().is_over() {
                jack.close(); // which ends the cable to it
            }
        }
        busy
    }

    fn take_signals(&mut self) -> Result<()> {
        while let Some(signal) = self.signals.next()? {
            self.on_signal(signal)?;
        }
        Ok(())
    }

    /// Starts CMD once every link is up: it finds a network that works.
    fn start_command(&mut self) -> Result<()> {
        let all_up = self.jacks.iter().flat_map(|jack| &jack.cables).all(|c| c.was_up);
        if !all_up || self.command.is_empty() {
            return Ok(());
        }
        let argv: Vec<_> = std::mem::take(&mut self.command).into_iter().map(Into::into).collect();
        if let Some(keeper) = &mut self.keeper {
            keeper.spawn(&argv)?;
            self.running = true;
        }
        for jack in &mut self.jacks {
            if jack.plays_capture() {
                jack.hold_captures = true;
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
        self.jacks.iter_mut().for_each(Jack::close);
        for jack in &mut self.far {
            while jack.turn() {}
            jack.close_edge();
            jack.close();
        }
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
            for jack in &mut self.jacks {
                jack.woken();
                busy |= jack.turn();
            }
            busy |= self.far.iter_mut().fold(false, |busy, jack| busy | jack.turn());
            if !busy {
                break;
            }
        }
    }
}

/// The exit status of an error: what a shell would say of a program that did
/// not start, else [`crate::FAILED`].
pub fn status_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<NotStarted>().map_or(crate::FAILED, |error| error.exit_code)
}

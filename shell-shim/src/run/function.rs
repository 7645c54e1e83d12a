//! The life of a function: join the neighbours, run CMD, move frames, end.
//!
//! [`cable::Switch`] is the loop; this is what it drives.

pub mod audience;
mod further;
mod interfaces;
mod part;
mod veths;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::time::Instant;

use anyhow::Result;
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::Signal;
use shmring::LinkError;

use super::after::After;
use super::held::Tie;
use super::linger::{Far, Linger};
use super::settling::Settling;
use super::signals::{Arrived, Signals};
use super::stage::{Stage, Why};
use super::stop::Stop;
use crate::door::messages::Request;
use crate::door::{Call, Door};
use crate::stack::device::Device;
use crate::stack::keeper::{Keeper, NotStarted, inside_of_this_process};
use crate::stack::next_hops;
use crate::succession::answer;
use crate::succession::heir;
use crate::succession::member::{Answered, FLUSH, Member};
use crate::told;
use cable::{Audience, Cable, Driver, Edge, Jack, Switch, WatchNumbered, siblings};
pub use further::Further;
use further::{number_of, watch_edge};

/// A function whose interfaces are set up.
pub struct Function {
    jacks: Vec<Jack<Device>>,
    /// Edges in the place of neighbours, at the other ends of cables in this process.
    far: Vec<Far>,
    signals: Signals,
    door: Option<Door>,
    keeper: Option<Keeper>,
    /// Empty once started.
    command: Vec<String>,
    after: After,
    /// That of a CMD which has ended before the function does.
    status: u8,
    running: bool,
    /// Of a CMD that was started.
    settling: Option<Settling>,
    stage: Stage,
    linger: Linger,
    /// Whether it is a switch, which its neighbours can do without.
    bridges: bool,
    /// Whether it was started for a frame that waits.
    awaited: bool,
    tie: Tie,
    further: Further,
    /// The exit status, once nothing is left to do.
    over: Option<u8>,
}

/// Numbers of the descriptors to wait for; those of the edges follow, by what they are.
const SIGNALS: u32 = 0;
const COMMAND: u32 = 1;
const LINGER: u32 = 2;
const DOOR: u32 = 3;
const PLACE: u32 = 4;
/// Those of edges in the place of neighbours: more than there can be descriptors.
const FAR: u32 = 1 << 30;

impl Driver for Function {
    fn cables(&mut self) -> impl Iterator<Item = &mut Cable> {
        let far = self.far.iter_mut().flat_map(|jack| &mut jack.cables);
        self.jacks.iter_mut().flat_map(|jack| &mut jack.cables).chain(far)
    }

    fn turn(&mut self) -> Result<bool> {
        let busy = self.move_frames();
        self.tie.moved(busy || self.holds_back());
        if self.stage == Stage::Living && self.jacks.iter().any(|jack| jack.edge().is_over()) {
            self.interface_gone();
        }
        if let Stage::Leaving(status) = self.stage
            && self.linger.is_over(&mut self.jacks, &mut self.far, busy)?
        {
            self.stage = Stage::Closing(status);
        }
        if let Stage::Closing(status) = self.stage
            && self.far.iter_mut().fold(true, |all, jack| all & jack.close_edge())
        {
            self.over = Some(status);
        }
        Ok(busy)
    }

    fn arm(&mut self) -> bool {
        self.jacks.iter_mut().all(Jack::arm) & self.far.iter_mut().all(Jack::arm)
    }

    fn watch(&self, watch: &mut WatchNumbered<'_>) -> Result<()> {
        watch(SIGNALS, self.signals.as_fd(), EpollFlags::EPOLLIN)?;
        if let Some(keeper) = &self.keeper {
            watch(COMMAND, keeper.as_fd(), EpollFlags::EPOLLIN)?;
        }
        watch(LINGER, self.linger.as_fd(), EpollFlags::EPOLLIN | EpollFlags::EPOLLET)?;
        if let Some(door) = &self.door {
            watch(DOOR, door.as_fd(), EpollFlags::EPOLLIN)?;
        }
        if let Some(place) = heir::place() {
            watch(PLACE, place, EpollFlags::EPOLLIN | EpollFlags::EPOLLET)?;
        }
        self.jacks.iter().try_for_each(|jack| watch_edge(jack, watch))?;
        (FAR..)
            .zip(&self.far)
            .try_for_each(|(number, jack)| jack.watch(&mut |fd, flags| watch(number, fd, flags)))
    }

    fn watch_new(&mut self, watch: &mut WatchNumbered<'_>) -> Result<()> {
        let fresh = self.further.take_fresh();
        let is_fresh = |jack: &&Jack<Device>| fresh.contains(&jack.name);
        self.jacks.iter().filter(is_fresh).try_for_each(|jack| watch_edge(jack, watch))
    }

    fn ready(&mut self, number: u32) -> Result<Option<u8>> {
        match number {
            SIGNALS => self.take_signals()?,
            COMMAND => self.command_ended()?,
            LINGER => self.linger.heard(),
            DOOR => {
                let calls = self.door.as_mut().map(Door::calls).unwrap_or_default();
                for call in calls {
                    if self.answer(call)? {
                        return Ok(Some(0));
                    }
                }
            }
            // Whoever keeps our place for the shell has got a signal, or was killed.
            PLACE => self.tie.heard().into_iter().try_for_each(|signal| self.on_signal(signal))?,
            far @ FAR.. => self.far[(far - FAR) as usize].woken(),
            edge => {
                // None: taken away since.
                let at = self.jacks.iter().position(|jack| number_of(jack) == edge);
                at.map_or(Ok(()), |at| self.interface_woken(at))?;
            }
        }
        Ok(None)
    }

    fn met(&mut self, cable: u32, met: Result<()>) -> Result<()> {
        let is_its = |cables: &[Cable]| cables.iter().any(|it| it.id() == cable);
        let Some(jack) = self.jacks.iter_mut().find(|jack| is_its(&jack.cables)) else {
            met?;
            let far = self.far.iter_mut().find(|jack| is_its(&jack.cables));
            return far.map_or(Ok(()), |jack| jack.links_came().map(drop));
        };
        let Err(error) = met else {
            if jack.links_came()? {
                next_hops::ask_anew(&jack.name);
            }
            self.tie.keep(jack.cables.iter_mut())?;
            self.let_in();
            return self.start_command();
        };
        let name = jack.name.clone();
        if self.further.has(&name) {
            self.lose(&name, &error);
            return Ok(());
        }
        // What ended the neighbour may have been sent to us as well.
        self.take_signals()?;
        let gone = matches!(error.downcast_ref(), Some(LinkError::NeighbourGone { .. }));
        if gone && self.command.is_empty() && self.stage == Stage::Living {
            // Perhaps a chain that lived too short to be linked. As in
            // `false | cat`, a failure is in the status of who failed.
            told::say_of_neighbour(format_args!("{name}: {error:#}"));
            self.leave(0);
        }
        if self.stage == Stage::Living { Err(error.context(name)) } else { Ok(()) }
    }

    fn parted(&mut self) -> Result<()> {
        self.give_up_veths();
        self.far.iter_mut().try_for_each(Jack::links_ended)?;
        let cables = || self.jacks.iter().flat_map(|jack| &jack.cables);
        let cut = self.stage == Stage::Living && cables().any(Cable::is_gone);
        if cut {
            // What ended the neighbour may have been sent to us as well.
            self.take_signals()?;
        }
        match self.stage {
            Stage::Living if self.running && cut => self.stop(Why::LinkEnded),
            Stage::Living if cut && !self.command.is_empty() => {
                told::say_of_neighbour(format_args!(
                    "the neighbour ended before {} could start",
                    self.command[0]
                ));
                self.leave(crate::FAILED);
            }
            Stage::Living if cut => {
                self.say_who_never_came();
                self.leave(self.status);
            }
            _ => {}
        }
        let leaves = matches!(self.stage, Stage::Leaving(_) | Stage::Closing(_));
        if leaves && !self.jacks.iter().flat_map(|jack| &jack.cables).any(Cable::is_up) {
            // There is nobody to see that, and the kernel may take tens of milliseconds.
            return Ok(());
        }
        self.jacks.iter_mut().try_for_each(Jack::links_ended)
    }

    fn deadline(&self) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Living => self.after.deadline().into_iter().chain(self.tie.deadline()).min(),
            Stage::Closing(_) => None,
            Stage::Stopping(stop, _) => Some(stop.at()),
            Stage::Leaving(_) => self.linger.deadline(),
        };
        let edges = self.jacks.iter().filter_map(Jack::deadline);
        let far = self.far.iter().filter_map(Jack::deadline);
        let look = self.settling.as_ref().filter(|_| self.holds_back()).map(Settling::next_look);
        stage.into_iter().chain(edges).chain(far).chain(look).min()
    }

    fn on_time(&mut self) -> Result<()> {
        self.jacks.iter_mut().try_for_each(Jack::on_time)?;
        self.far.iter_mut().try_for_each(Jack::on_time)?;
        self.settle();
        if self.stage == Stage::Living
            && let Some(argv) = self.after.due(Instant::now())
        {
            self.spawn(argv)?;
        }
        if self.stage == Stage::Living && self.tie.is_due() {
            self.flush(Instant::now() + FLUSH);
            let cables = self.jacks.iter_mut().flat_map(|jack| &mut jack.cables);
            self.over = self.tie.sleeps(cables)?.then_some(0);
        }
        self.strike()
    }

    fn may_sit(&self) -> bool {
        true // the keeper starts what there is to start
    }

    fn over(&mut self) -> Option<u8> {
        self.over
    }
}

impl Function {
    /// A function that nobody drives yet.
    pub fn new(
        mut jacks: Vec<Jack<Device>>,
        far: Vec<Far>,
        signals: Signals,
        door: Option<Door>,
        keeper: Option<Keeper>,
        (command, after): (Vec<String>, After),
        (linger, tie, further): (Linger, Tie, Further),
    ) -> Function {
        let (running, status, stage, over) = (false, 0, Stage::Living, None);
        jacks.iter_mut().for_each(|jack| jack.audience = Audience::Neighbours);
        Function {
            jacks,
            far,
            signals,
            door,
            keeper,
            command,
            after,
            status,
            running,
            settling: None,
            stage,
            linger,
            bridges: false,
            awaited: false,
            tie,
            further,
            over,
        }
    }

    /// Says that it is a switch.
    pub fn bridging(self, bridges: bool) -> Function {
        Function { bridges, ..self }
    }

    /// Its cables have links already.
    ///
    /// # Errors
    /// Those of starting CMD.
    pub fn awake(mut self) -> Result<Function> {
        self.jacks.iter_mut().try_for_each(|jack| jack.links_came().map(drop))?;
        self.jacks.iter_mut().for_each(Jack::woken);
        self.let_in();
        self.start_command()?;
        Ok(self)
    }

    /// Lives until CMD or the links end; returns the exit status.
    ///
    /// # Errors
    /// One line that names the link or program.
    pub fn run(mut self, mut switch: Switch) -> Result<u8> {
        // Before the neighbours lose their links.
        switch.run(&mut self).inspect_err(|_| told::mark())
    }

    /// Answers who is at the door; whether another function has the links then.
    fn answer(&mut self, call: Call) -> Result<bool> {
        match (&call.request, &self.keeper) {
            (Request::Link { .. }, _) => self.link(call),
            (Request::Unlink { .. }, _) => self.unlink(call)?,
            (Request::Inside, Some(keeper)) => call.answer_with(keeper.inside()),
            (Request::Inside, None) => call.answer_with(inside_of_this_process()),
            _ => return Ok(answer::answer(call, self) == Answered::Gone),
        }
        Ok(false)
    }

    fn move_frames(&mut self) -> bool {
        let mut busy = siblings::turn(&mut self.jacks);
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
            if self.tie.is_new(signal) {
                self.on_signal(signal)?;
            }
        }
        Ok(())
    }

    /// Starts CMD once frames get away on every interface: it finds a network that works.
    fn start_command(&mut self) -> Result<()> {
        self.announce();
        if !self.is_ready() || self.command.is_empty() || self.stage != Stage::Living {
            return Ok(());
        }
        let argv = std::mem::take(&mut self.command).into_iter().map(Into::into).collect();
        self.spawn(argv)?;
        self.settling = Some(Settling::new(Instant::now()));
        Ok(())
    }

    fn spawn(&mut self, argv: Vec<OsString>) -> Result<()> {
        if let Some(keeper) = &mut self.keeper {
            keeper.spawn(&argv)?;
            self.running = true;
        }
        self.after.started(argv, Instant::now());
        Ok(())
    }

    fn on_signal(&mut self, signal: Arrived) -> Result<()> {
        match self.stage {
            Stage::Closing(status) => self.over = Some(status),
            Stage::Leaving(status) if !self.linger.hurry() => self.over = Some(status),
            Stage::Leaving(_) => {}
            _ if !self.running => self.leave(128 + signal.number as u8),
            // The second one is for those who do not want to wait.
            Stage::Stopping(..) => self.stage = Stage::Stopping(Stop::at_once(), Why::Hurried),
            Stage::Living => {
                self.after.cancel();
                // CMD decides what a signal means. From the terminal it has it already.
                if let (false, Some(keeper), Ok(number)) =
                    (signal.from_terminal, &mut self.keeper, Signal::try_from(signal.number))
                {
                    keeper.terminate(number)?;
                }
                if signal.number != Signal::SIGINT as i32 {
                    self.stop(Why::Told);
                }
            }
        }
        Ok(())
    }

    /// CMD has to end, soon.
    fn stop(&mut self, why: Why) {
        self.stage = Stage::Stopping(Stop::begin(), why);
    }

    /// Deals with a CMD that does not end by itself.
    fn strike(&mut self) -> Result<()> {
        let (Stage::Stopping(stop, why), Some(keeper)) = (&mut self.stage, &mut self.keeper) else {
            return Ok(());
        };
        match stop.due() {
            Some(Signal::SIGTERM)
                if *why == Why::LinkEnded && self.linger.reads_on(&mut self.jacks)? =>
            {
                *stop = Stop::begin();
            }
            Some(signal) => keeper.terminate(signal)?,
            None => {}
        }
        Ok(())
    }

    fn command_ended(&mut self) -> Result<()> {
        // The Ctrl-C that ended it does not count as a second one.
        self.take_signals()?;
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        let status = keeper.status()?;
        if self.stage == Stage::Living && self.after.lives_on(status, Instant::now()) {
            (self.running, self.status) = (false, status);
            return self.parted();
        }
        self.leave(status);
        Ok(())
    }

    /// CMD has ended, if there was one: what is on its way still leaves, and then
    /// all links are closed.
    fn leave(&mut self, status: u8) {
        if matches!(self.stage, Stage::Stopping(_, Why::Hurried)) {
            self.linger.hurry();
        } else if std::mem::take(&mut self.running) {
            self.linger.after_command(&mut self.jacks, &self.far);
        } else {
            self.linger.drain(&mut self.jacks, &self.far);
        }
        self.stage = Stage::Leaving(status);
    }
}

/// The exit status of an error: what a shell would say of a program that did
/// not start, else [`crate::FAILED`].
pub fn status_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<NotStarted>().map_or(crate::FAILED, |error| error.exit_code)
}

//! One connection: a cable whose event loop is that of the program.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cable::{Cable, CablePlan, Fallback, Jack, Step, Switch};
use frames::{ETHERNET_LEN, MAX_FRAME, VNET_LEN};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{Pid, getpid, getppid};
use shmring::{Offer, PipeEnd, RuntimeDir};

use crate::address;
use crate::port::Port;
use crate::wire::Wire;

/// A neighbour that has no room is waited for so long: TCP hears of losses soon enough.
const PATIENCE: Duration = Duration::from_millis(5);
/// Steps in a row before the program is asked to come again.
const STEPS: u32 = 64;

pub(crate) struct Plug {
    switch: Switch,
    wire: Wire,
    /// Readable at the end.
    control: OwnedFd,
    /// The process that moves the frames.
    owner: Pid,
    state: State,
    /// The neighbour had no room in time, and has not had any since.
    stuck: bool,
    /// That frames are too long was said.
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The link is at its end, and the program does not know it yet.
    Ended,
    /// It does.
    Over,
}

impl Plug {
    /// Starts to look for a neighbour; `args` is what comes after `stdpkt://`. An error
    /// is told on standard error.
    pub fn open(args: &CStr) -> Result<Plug, Errno> {
        let args = args.to_string_lossy();
        let opened = address::open(&args).and_then(Plug::new);
        opened.map_err(|error| {
            say::error!("stdpkt://{args}: {error:#}{}", address::way_out(&error));
            address::errno(&error)
        })
    }

    fn new(end: PipeEnd) -> Result<Plug> {
        let dir = RuntimeDir::for_user()?;
        let name = end.what().to_owned();
        let cable = Cable::new(plan(end), &dir)?;
        let wire = Wire::new(Jack::new(name, Port::default(), vec![cable]))?;
        let control = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let mut plug = Plug {
            switch: Switch::new(dir)?,
            wire,
            control: control.context("eventfd")?,
            owner: getpid(),
            state: State::Open,
            stuck: false,
            told: false,
        };
        plug.switch.begin(&mut plug.wire)?;
        plug.settle();
        match plug.wire.failure.take() {
            Some(error) => Err(error),
            None => Ok(plug),
        }
    }

    /// Readable when [`Plug::receive`] has something to do.
    pub fn data(&self) -> BorrowedFd<'_> {
        self.switch.as_fd()
    }

    /// Readable at the end.
    pub fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Whether [`Plug::receive`] has nothing but what the descriptor would tell of.
    pub fn is_idle(&mut self) -> bool {
        self.state == State::Open && !self.wire.port().has_next()
    }

    /// Shows the next frame to `give`, which says whether it took it. `Some` is its length, or 0
    /// the first time after the end.
    pub fn receive(&mut self, mut give: impl FnMut(&[u8]) -> bool) -> Option<usize> {
        if self.is_anothers() {
            std::thread::sleep(Duration::from_millis(1)); // until that one has ended
            return None;
        }
        if !self.wire.port().has_next() {
            self.settle();
        }
        let mut received = None;
        while let Some(frame) = self.wire.port().next() {
            let (len, taken) = (frame.len(), give(&frame));
            self.wire.port().recycle(frame);
            if taken {
                received = Some(len);
                break;
            }
            self.too_long(len);
        }
        if !self.wire.port().has_next() {
            self.settle();
        }
        if received.is_none() && self.state == State::Ended {
            self.state = State::Over;
            if let Some(error) = self.wire.failure.take() {
                let name = &self.wire.jack.name;
                say::error!("stdpkt://{name}: {error:#}");
            }
            received = Some(0);
        }
        self.show();
        received
    }

    /// Sends a frame, or loses it.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), Errno> {
        if frame.len() > MAX_FRAME - VNET_LEN {
            return Err(Errno::MSGSIZE);
        }
        if frame.len() < ETHERNET_LEN || self.state != State::Open || self.is_anothers() {
            return Ok(());
        }
        let mut has_room = self.wire.port().push(frame);
        if !has_room && !self.stuck {
            self.wait_for_room();
            has_room = self.wire.port().push(frame);
        }
        self.stuck = !has_room;
        self.wire.jack.turn();
        if !has_room && let Some(tx) = self.wire.cable().and_then(Cable::sender) {
            tx.count_drop();
        }
        self.show();
        Ok(())
    }

    /// Ends the link; neighbours still get what was sent.
    pub fn close(mut self) {
        match self.is_anothers() {
            // Its end would be that of the other process' link.
            true => std::mem::forget(self),
            false => {
                self.wire.jack.turn();
            }
        }
    }

    /// Whether the connection belongs to the process that this one was forked from. Once
    /// that one has ended, as where a program becomes a daemon, this one goes on.
    fn is_anothers(&mut self) -> bool {
        let own = getpid();
        if own != self.owner && getppid() != Some(self.owner) {
            self.owner = own;
        }
        own != self.owner
    }

    fn wait_for_room(&mut self) {
        if let Some(tx) = self.wire.cable().and_then(Cable::sender) {
            // An error is for the turn to find.
            let _ = tx.wait(Some(PATIENCE));
        }
        self.wire.jack.turn();
    }

    /// Does all that there is to do, until there is a frame for the program.
    fn settle(&mut self) {
        if self.state != State::Open {
            return;
        }
        for _ in 0..STEPS {
            match self.switch.step(&mut self.wire) {
                Ok(Step::Busy) if self.wire.port().has_next() => return,
                Ok(Step::Busy) => {}
                Ok(Step::Idle(until)) => return self.wire.wake_at(until),
                Ok(Step::Over(_)) => return self.end(),
                Err(error) => {
                    self.wire.fails(error);
                    return self.end();
                }
            }
        }
        self.wire.wake_at(Some(Instant::now()));
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.wire.jack.close();
        self.wire.wake_at(None);
        // Cannot fail: nobody else writes there.
        let _ = rustix::io::write(&self.control, &1u64.to_ne_bytes());
    }

    /// Keeps the descriptor readable for as long as there is a frame, or the end to be told.
    fn show(&mut self) {
        let more = self.wire.port().has_next() || self.state == State::Ended;
        self.wire.show(more);
    }

    fn too_long(&mut self, len: usize) {
        if let Some(rx) =
            self.wire.cable().and_then(|cable| cable.links().find_map(|it| it.rx.as_mut()))
        {
            rx.count_drop();
        }
        if !std::mem::replace(&mut self.told, true) {
            let name = &self.wire.jack.name;
            say::note!(
                "stdpkt://{name}: a frame of {len} bytes is longer than this program takes, and is lost: give the neighbour's interface a smaller mtu"
            );
        }
    }
}

/// As `stdpkt run` has it: a FIFO by its path waits for whom it is meant for; who is at
/// the other end of an inherited pipe may be anybody, and ends once.
fn plan(end: PipeEnd) -> CablePlan {
    let inherited = end.path().is_none();
    // Never fails but without /proc; `stdpkt ls` shows it.
    let program = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let offer = Offer {
        label: program.trim_end().to_owned(),
        max_frame: MAX_FRAME,
        features: 0,
        ..Offer::default()
    };
    CablePlan {
        vital: inherited,
        expects_both_ways: true,
        fallback: if inherited { Fallback::IfUnaware } else { Fallback::Never },
        end: end.into(),
        offer,
    }
}

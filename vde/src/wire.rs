//! A port and its cable, driven by whoever steps.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, Result};
use cable::{Cable, Driver, Jack, WatchNumbered};
use nix::sys::epoll::EpollFlags;
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::port::Port;

/// Numbers of descriptors.
const MORE: u32 = 0;
const TIMER: u32 = 1;

pub(crate) struct Wire {
    pub jack: Jack<Port>,
    /// Readable while there is more for the program.
    more: OwnedFd,
    shown: bool,
    timer: OwnedFd,
    due: Option<Instant>,
    /// Why no neighbour is looked for any more.
    pub failure: Option<anyhow::Error>,
}

impl Wire {
    pub fn new(jack: Jack<Port>) -> Result<Wire> {
        let more = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags);
        Ok(Wire {
            jack,
            more: more.context("eventfd")?,
            shown: false,
            timer: timer.context("timerfd_create")?,
            due: None,
            failure: None,
        })
    }

    pub fn port(&mut self) -> &mut Port {
        self.jack.edge_mut()
    }

    /// The one cable, until the end.
    pub fn cable(&mut self) -> Option<&mut Cable> {
        self.jack.cables.first_mut()
    }

    /// It is the end, for this reason.
    pub fn fails(&mut self, error: anyhow::Error) {
        self.failure.get_or_insert(error);
    }

    /// Whether the program is to come and ask.
    pub fn show(&mut self, more: bool) {
        if more == self.shown {
            return;
        }
        self.shown = more;
        // Neither blocks, and neither fails in this order.
        let _ = match more {
            true => rustix::io::write(&self.more, &1u64.to_ne_bytes()),
            false => rustix::io::read(&self.more, &mut [0u8; 8]),
        };
    }

    /// When the program is to come although nothing happened.
    pub fn wake_at(&mut self, due: Option<Instant>) {
        if due == self.due {
            return;
        }
        self.due = due;
        // All zeros would be never.
        let left = due.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.map(|left| left.max(std::time::Duration::from_nanos(1)));
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = left.and_then(|left| Timespec::try_from(left).ok()).unwrap_or(never);
        let time = Itimerspec { it_interval: never, it_value: value };
        // Fails for no time that there is.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time);
    }
}

impl Driver for Wire {
    fn cables(&mut self) -> impl Iterator<Item = &mut Cable> {
        self.jack.cables.iter_mut()
    }

    fn turn(&mut self) -> Result<bool> {
        Ok(self.jack.turn())
    }

    fn arm(&mut self) -> bool {
        self.jack.arm()
    }

    fn watch(&self, watch: &mut WatchNumbered<'_>) -> Result<()> {
        watch(MORE, self.more.as_fd(), EpollFlags::EPOLLIN)?;
        watch(TIMER, self.timer.as_fd(), EpollFlags::EPOLLIN)
    }

    fn ready(&mut self, number: u32) -> Result<Option<u8>> {
        if number == TIMER {
            self.due = None;
            let _ = rustix::io::read(&self.timer, &mut [0u8; 8]);
        }
        Ok(None)
    }

    fn met(&mut self, _cable: u32, met: Result<()>) -> Result<()> {
        if let Err(error) = met {
            self.fails(error);
            self.cable().into_iter().for_each(Cable::give_up);
        }
        self.jack.links_came().map(drop)
    }

    fn parted(&mut self) -> Result<()> {
        self.jack.links_ended()
    }

    fn deadline(&self) -> Option<Instant> {
        self.jack.deadline()
    }

    fn on_time(&mut self) -> Result<()> {
        self.jack.on_time()
    }

    fn over(&mut self) -> Option<u8> {
        let may_have_more = |cable: &Cable| cable.is_up() || cable.rendezvous().is_some();
        let over = !self.port().has_next() && !self.jack.cables.iter().any(may_have_more);
        over.then_some(0)
    }
}

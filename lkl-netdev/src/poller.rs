//! The thread that LKL lets loop on `poll`.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use lkl_sys::{POLL_HUP, POLL_RX, POLL_TX};

use crate::pace::Pace;
use crate::plugs::Plugs;
use crate::say::say;
use crate::sides::{Sides, lock};

/// How long frames may lie before `rx` although it ought to have been called:
/// LKL's driver can lose the race with its device over the last buffer.
const STUCK: Duration = Duration::from_millis(20);

/// `poll` reports room once more after this long: the same race, the other
/// queue. A driver that lost it does not tell its device again, ever.
const SECOND_LOOK: Duration = Duration::from_millis(1);

pub(crate) struct Poller {
    /// For people.
    name: String,
    plugs: Plugs,
    /// When to report room once more.
    second_look: Option<Instant>,
    pace: Pace,
}

impl Poller {
    pub fn new(name: &str, plugs: Plugs) -> Poller {
        Poller { name: name.to_owned(), plugs, second_look: None, pace: Pace::new() }
    }

    /// Waits until there is something to do. LKL's poll thread.
    pub fn poll(&mut self, sides: &Sides) -> c_int {
        loop {
            if sides.control.is_removed() {
                return POLL_HUP;
            }
            let full = lock(&sides.rx).row_is_full();
            if full {
                self.glance(sides);
            }
            self.plugs.sweep(sides);
            let mut mask = 0;
            if self.plugs.take_tx_ready() && lock(&sides.tx).take_wanted() {
                mask |= POLL_TX;
                self.second_look = Some(Instant::now() + SECOND_LOOK);
            } else if self.second_look.is_some_and(|at| Instant::now() >= at) {
                mask |= POLL_TX;
                self.second_look = None;
            }
            {
                let mut rx = lock(&sides.rx);
                if rx.wanted && rx.is_ready(&sides.control) {
                    rx.reported();
                    mask |= POLL_RX;
                }
            }
            if mask != 0 {
                return mask;
            }
            if self.pace.linger(sides) {
                continue;
            }
            if let Some(mask) = self.sleep(sides) {
                return mask;
            }
        }
    }

    /// Sleeps until a bell, a neighbour, a hang-up or a deadline.
    fn sleep(&mut self, sides: &Sides) -> Option<c_int> {
        let (served, timeout);
        {
            let mut rx = lock(&sides.rx);
            let pending = !rx.arm();
            served = rx.served;
            match rx.retry() {
                Some(at) => timeout = Some(at),
                None if pending && rx.wanted => {
                    rx.disarm();
                    return None;
                }
                None => timeout = pending.then(|| Instant::now() + STUCK),
            }
            rx.sleeping = true;
        }
        let until = self.plugs.deadline().into_iter().chain(timeout).chain(self.second_look).min();
        let Poller { plugs, pace, .. } = self;
        let result = pace.slept(|| plugs.wait(until));
        let stuck = {
            let mut rx = lock(&sides.rx);
            rx.sleeping = false;
            rx.disarm();
            let idle = result.as_ref().is_ok_and(Vec::is_empty);
            idle && !rx.wanted && rx.served == served && rx.is_ready(&sides.control)
        };
        match result {
            Ok(events) => plugs.on_events(sides, &events),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                // Cannot happen; and if it did, it would happen again at once.
                say(&self.name, format_args!("epoll_wait: {error}"));
                return Some(POLL_HUP);
            }
        }
        plugs.on_time(sides);
        stuck.then_some(POLL_RX)
    }

    /// Takes note of what happened, without waiting for it.
    fn glance(&mut self, sides: &Sides) {
        // It fails for no reason that `sleep` would not tell.
        let events = self.plugs.wait(Some(Instant::now())).unwrap_or_default();
        self.plugs.on_events(sides, &events);
        self.plugs.on_time(sides);
    }
}

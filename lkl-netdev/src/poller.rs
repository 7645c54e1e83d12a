//! The thread that LKL lets loop on `poll`.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use lkl_sys::{POLL_HUP, POLL_RX, POLL_TX};

use crate::guest::fiber;
use crate::look::{self, TICK};
use crate::pace::Pace;
use crate::plugs::Plugs;
use crate::say::say;
use crate::sides::{Sides, lock};

/// How long frames may lie before `rx` although it ought to have been called:
/// LKL's driver can lose the race with its device over the last buffer.
const STUCK: Duration = Duration::from_millis(20);

pub(crate) struct Poller {
    /// For people.
    name: String,
    plugs: Plugs,
    /// Room was reported, and is to be once more: LKL may miss, on its way out of a
    /// queue, what its driver puts there, and is not told again.
    tx_again: bool,
    /// Who looks, as last seen.
    looks: u32,
    /// `poll` was called before.
    begun: bool,
    pace: Pace,
}

impl Poller {
    pub fn new(name: &str, plugs: Plugs) -> Poller {
        Poller {
            name: name.to_owned(),
            plugs,
            tx_again: false,
            looks: 0,
            begun: false,
            pace: Pace::new(),
        }
    }

    /// Waits until there is something to do. LKL's poll thread.
    pub fn poll(&mut self, sides: &Sides) -> c_int {
        if !std::mem::replace(&mut self.begun, true) {
            look::join(sides);
        }
        // What LKL made ready while it processed a queue.
        fiber::run_all();
        let tx_again = std::mem::take(&mut self.tx_again);
        let rx_again = lock(&sides.rx).comes_back(&sides.control);
        if tx_again || rx_again {
            return if rx_again { POLL_RX } else { 0 } | if tx_again { POLL_TX } else { 0 };
        }
        loop {
            if sides.control.is_removed() {
                return POLL_HUP;
            }
            let full = lock(&sides.rx).row_is_full();
            if full {
                self.glance(sides);
            }
            self.plugs.sweep(sides);
            let mask = self.report(sides);
            if mask != 0 {
                return mask;
            }
            let result = if self.may_doze(sides) {
                lock(&sides.rx).doze();
                self.rest(sides, Some(TICK))
            } else if self.pace.linger(sides) {
                continue;
            } else {
                self.sleep(sides)
            };
            if let Some(mask) = result {
                return mask;
            }
        }
    }

    /// Somebody looks, so that no bell is needed. What a pipe holds is not looked at.
    fn may_doze(&mut self, sides: &Sides) -> bool {
        look::others_look(&mut self.looks) && lock(&sides.rx).is_rings()
    }

    /// What LKL is to do: it does so when this has returned.
    fn report(&mut self, sides: &Sides) -> c_int {
        let mut mask = 0;
        if lock(&sides.tx).take_ready() {
            self.tx_again = true;
            mask |= POLL_TX;
        }
        let mut rx = lock(&sides.rx);
        if rx.take_ready(&sides.control) {
            rx.goes_out();
            mask |= POLL_RX;
        }
        mask
    }

    /// Sleeps until a bell, a neighbour, a hang-up or a deadline.
    fn sleep(&mut self, sides: &Sides) -> Option<c_int> {
        let limit = {
            let mut rx = lock(&sides.rx);
            if !rx.sleep() {
                return None;
            }
            rx.is_deaf().then_some(STUCK)
        };
        if !lock(&sides.tx).sleep() {
            wake(sides);
            return None;
        }
        let served = lock(&sides.rx).served;
        let result = self.rest(sides, limit);
        let mut rx = lock(&sides.rx);
        match limit.is_some() && !rx.wanted && rx.served == served && rx.is_ready(&sides.control) {
            true => Some(POLL_RX),
            false => result,
        }
    }

    /// Sleeps, for so long at most; a mask where that fails.
    fn rest(&mut self, sides: &Sides, limit: Option<Duration>) -> Option<c_int> {
        let retry = lock(&sides.rx).retry();
        let limit_at = limit.map(|limit| Instant::now() + limit);
        let until = [self.plugs.deadline(), retry, limit_at].into_iter().flatten().min();
        let Poller { plugs, pace, .. } = self;
        // A doze says nothing about how soon frames come.
        let result = match limit == Some(TICK) {
            true => plugs.wait(until),
            false => pace.slept(|| plugs.wait(until)),
        };
        wake(sides);
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
        None
    }

    /// Takes note of what happened, without waiting for it.
    fn glance(&mut self, sides: &Sides) {
        // It fails for no reason that `sleep` would not tell.
        let events = self.plugs.wait(Some(Instant::now())).unwrap_or_default();
        self.plugs.on_events(sides, &events);
        self.plugs.on_time(sides);
    }
}

fn wake(sides: &Sides) {
    lock(&sides.rx).wake();
    lock(&sides.tx).comes_near();
}

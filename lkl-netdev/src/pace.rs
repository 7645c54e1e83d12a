//! How long a poll thread looks for frames before it sleeps, see [`Patience`].
//!
//! A wake-up costs tens of microseconds in a virtual machine, and a ring that
//! is never full makes a sender of small writes pay one for each. So a thread
//! whose last sleep was short looks for a while, and gives way between looks:
//! who it waits for may be on the same core, and has to run before an answer can
//! come. A thread that usually waits for longer sleeps at once: an idle device uses
//! no time at all.
//!
//! Where little is sent either way, as with requests and answers, the cores have
//! nothing better to do, and a poll thread's look is a longer one. In a stream it would
//! cost the application more than it brings.
//!
//! A pipe cannot be looked at without a system call. For it a poll thread's look is only
//! a pause that lets frames gather, which was found to help; a longer one does not.

use std::time::{Duration, Instant};

use crate::patience::Patience;
use crate::sides::{Sides, lock};

/// Longest look of a poll thread in a stream.
const LOOK: Duration = Duration::from_micros(50);
/// Longest look of a poll thread where little is sent.
const LONG_LOOK: Duration = Duration::from_micros(400);
/// Little is sent when fewer bytes than this move between two looks...
const LITTLE: u64 = 2048;
/// ...so many times in a row: in a stream, acknowledgements come alone, too.
const CALM: u32 = 32;

/// A poll thread's.
pub(crate) struct Pace {
    patience: Patience,
    /// Bytes both ways at the last look.
    moved: u64,
    /// Looks in a row between which little was sent, up to [`CALM`].
    calm: u32,
}

impl Pace {
    pub fn new() -> Pace {
        Pace { patience: Patience::new(LOOK), moved: 0, calm: 0 }
    }

    /// Looks for frames for a moment; `false` when there are none.
    pub fn linger(&mut self, sides: &Sides) -> bool {
        let budget = self.patience.budget();
        if budget.is_zero() {
            return false;
        }
        let budget = match self.is_calm(sides) {
            true if budget == LOOK => LONG_LOOK,
            _ => budget,
        };
        let start = Instant::now();
        loop {
            {
                let mut rx = lock(&sides.rx);
                if rx.wanted && rx.is_ready(&sides.control) {
                    self.patience.found();
                    return true;
                }
            }
            if lock(&sides.tx).is_ready() {
                self.patience.found();
                return true;
            }
            if start.elapsed() >= budget || sides.control.is_removed() {
                return false;
            }
            rustix::thread::sched_yield();
        }
    }

    fn is_calm(&mut self, sides: &Sides) -> bool {
        let (rings, received) = {
            let rx = lock(&sides.rx);
            (rx.is_rings(), rx.bytes)
        };
        let moved = received + lock(&sides.tx).bytes;
        let little = moved - self.moved < LITTLE;
        self.moved = moved;
        self.calm = if little { (self.calm + 1).min(CALM) } else { 0 };
        rings && self.calm == CALM
    }

    /// See [`Patience::slept`].
    pub fn slept<T>(&mut self, sleep: impl FnOnce() -> T) -> T {
        self.patience.slept(sleep)
    }
}

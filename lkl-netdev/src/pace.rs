//! How long the poll thread looks for frames before it sleeps.
//!
//! A wake-up costs tens of microseconds in a virtual machine, and a ring that
//! is never full makes a sender of small writes pay one for each. So a thread
//! whose last sleep was short looks for a while, and gives way between looks:
//! the application that the last frames woke is often on the same core, and has
//! to run before an answer can come. A thread that usually waits for longer
//! sleeps at once: an idle device uses no time at all.

use std::time::{Duration, Instant};

use crate::device::{Device, lock};

/// Longest look.
const LOOK: Duration = Duration::from_micros(50);
/// After a shorter sleep than this, a look would have been worth it: what a
/// wake-up takes in a busy virtual machine, and a look.
const SHORT: Duration = Duration::from_micros(200);
/// Below this, a look finds nothing.
const LEAST: Duration = Duration::from_micros(2);

pub(crate) struct Pace {
    budget: Duration,
}

impl Pace {
    pub fn new() -> Pace {
        Pace { budget: Duration::ZERO }
    }

    /// Looks for frames for a moment; `true` when there are some.
    pub fn linger(&mut self, device: &Device) -> bool {
        if self.budget.is_zero() {
            return false;
        }
        let start = Instant::now();
        loop {
            {
                let mut rx = lock(&device.rx);
                if rx.wanted && rx.is_ready(device) {
                    return true;
                }
            }
            if start.elapsed() >= self.budget || device.control.is_removed() {
                return false;
            }
            rustix::thread::sched_yield();
        }
    }

    /// Learns from how long `sleep` took.
    pub fn slept<T>(&mut self, sleep: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = sleep();
        self.budget = if start.elapsed() < SHORT { LOOK } else { self.budget / 2 };
        if self.budget < LEAST {
            self.budget = Duration::ZERO;
        }
        result
    }
}

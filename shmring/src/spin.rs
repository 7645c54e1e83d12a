//! The short adaptive spin before a sleep.
//!
//! A sleep and a wake-up cost microseconds on bare metal and tens of them in a
//! virtual machine. So a side that usually waits for less than
//! [`LIMIT`] looks at the ring for a moment before it sleeps, and one that
//! usually waits longer (an idle link, or more spinners than cores, where the
//! neighbour cannot run meanwhile) stops doing so.

use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;

/// Longest spin. About what one wake-up costs in a virtual machine.
const LIMIT: Duration = Duration::from_micros(50);

#[derive(Clone, Copy)]
pub(crate) struct Spin {
    budget: Duration,
}

impl Spin {
    pub fn new() -> Self {
        let budget = if single_core() { Duration::ZERO } else { LIMIT };
        Spin { budget }
    }

    /// Looks for as long as it is likely to pay; `true` when `ready` came true.
    pub fn until(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        if ready() {
            return true;
        }
        if self.budget.is_zero() {
            return false;
        }
        let start = Instant::now();
        let backoff = Backoff::new();
        loop {
            backoff.spin();
            if ready() {
                return true;
            }
            if start.elapsed() >= self.budget {
                return false;
            }
        }
    }

    /// Learns from how long `sleep` took whether a spin would have paid.
    pub fn slept<T>(&mut self, sleep: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = sleep();
        self.budget = match start.elapsed() {
            t if t > LIMIT => self.budget / 2,
            _ if single_core() => Duration::ZERO,
            _ => LIMIT,
        };
        if self.budget < Duration::from_micros(1) {
            self.budget = Duration::ZERO;
        }
        result
    }
}

/// Where two sides share one core, a spinning side keeps the other from running.
fn single_core() -> bool {
    use std::sync::OnceLock;
    static SINGLE: OnceLock<bool> = OnceLock::new();
    *SINGLE.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() < 2))
}

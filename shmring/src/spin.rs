//! The short adaptive spin before a sleep.

use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;

/// Longest spin. In a virtual machine a wake-up of a core that went idle costs
/// up to 50 µs, and there is one on each side of an answer that both sides slept for.
const LIMIT: Duration = Duration::from_micros(100);

/// So many spins in vain in a row, each before a short sleep, show that what we
/// wait for does not come sooner for our looking.
const IN_VAIN: u32 = 8;

/// Short sleeps until it is tried again.
const HOLDOFF: u32 = 256;

/// Decides whether to look once more before going to sleep.
///
/// A sleep and a wake-up cost microseconds on bare metal and tens of them in a
/// virtual machine. So a side that usually waits for less than 100 µs looks for
/// as long before it sleeps; one that usually waits longer (an idle link, or
/// more spinners than cores, where the neighbour cannot run meanwhile) soon
/// stops doing so. On a machine with one core nobody spins.
///
/// [`Producer::wait`](crate::Producer::wait) and
/// [`Consumer::wait`](crate::Consumer::wait) have one; an event loop that
/// sleeps on several links at once has its own:
///
/// ```
/// # let work = || false; let sleep = || ();
/// let mut spin = shmring::Spin::new();
/// # for _ in 0..3 {
/// if work() {
///     spin.found();
/// } else if spin.again() {
///     std::thread::yield_now(); // whoever we wait for may need this core
/// } else {
///     spin.sleep(sleep);
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Spin {
    /// Longest spin.
    limit: Duration,
    budget: Duration,
    since: Option<Instant>,
    in_vain: u32,
    holdoff: u32,
}

impl Default for Spin {
    fn default() -> Self {
        Spin::new()
    }
}

impl Spin {
    /// A spin that has not learnt anything yet.
    pub fn new() -> Self {
        Spin::with_limit(LIMIT)
    }

    /// The same, with another longest spin than 100 µs: longer for one whose neighbour
    /// has far to ask before it answers, none at all for one that would be in others' way.
    pub fn with_limit(limit: Duration) -> Self {
        let pays = !single_core() && !cfg!(loom);
        Spin {
            limit,
            budget: if pays { limit } else { Duration::ZERO },
            since: None,
            in_vain: 0,
            holdoff: 0,
        }
    }

    /// There was something to do.
    pub fn found(&mut self) {
        if self.since.take().is_some() {
            self.in_vain = 0;
        }
    }

    /// There was nothing to do: whether to look again at once.
    pub fn again(&mut self) -> bool {
        !self.budget.is_zero()
            && self.since.get_or_insert_with(Instant::now).elapsed() < self.budget
    }

    /// Sleeps, and learns from how long it took whether a spin would have paid.
    pub fn sleep<T>(&mut self, sleep: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = sleep();
        self.since = None;
        let slept = start.elapsed();
        if single_core() || cfg!(loom) {
            self.budget = Duration::ZERO;
        } else if slept > self.short() {
            self.budget = if self.budget < Duration::from_micros(1) {
                Duration::ZERO
            } else {
                self.budget / 2
            };
        } else if self.budget == self.limit {
            self.in_vain += 1;
            if self.in_vain == IN_VAIN {
                *self = Spin { budget: Duration::ZERO, in_vain: 0, holdoff: HOLDOFF, ..*self };
            }
        } else if self.holdoff > 0 {
            self.holdoff -= 1;
        } else {
            self.budget = self.limit;
        }
        result
    }

    /// A sleep so short that a spin may be worth a try: part of it was the wake-ups
    /// themselves.
    fn short(&self) -> Duration {
        2 * self.limit
    }

    /// Looks for as long as it is likely to pay; `true` when `ready` came true.
    pub(crate) fn until(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        let backoff = Backoff::new();
        loop {
            if ready() {
                self.found();
                return true;
            }
            if !self.again() {
                return false;
            }
            // Gives way after some microseconds: the neighbour may need this core.
            backoff.snooze();
        }
    }
}

/// Where two sides share the only core, a spinning side keeps the other from
/// running. What counts is the machine: this process may be bound to one core
/// (`taskset`) and the neighbour to another.
fn single_core() -> bool {
    use std::sync::OnceLock;
    static SINGLE: OnceLock<bool> = OnceLock::new();
    *SINGLE.get_or_init(|| {
        std::fs::read_to_string("/sys/devices/system/cpu/online")
            .is_ok_and(|cores| cores.trim().parse::<u32>().is_ok())
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// `true` when the side has stopped looking within many sleeps.
    fn stops(spin: &mut Spin, sleep: impl Fn()) -> bool {
        (0..10_000).any(|_| {
            spin.sleep(&sleep);
            !spin.again()
        })
    }

    #[test]
    fn who_sleeps_long_stops_looking() {
        let mut spin = Spin::new();
        let long = 2 * spin.short();
        // Within as many sleeps as halve the budget away.
        for _ in 0..10 {
            spin.sleep(|| std::thread::sleep(long));
        }
        assert!(!spin.again());
    }

    #[test]
    fn who_looks_in_vain_stops_and_tries_again_later() {
        let mut spin = Spin::new();
        assert!(stops(&mut spin, || ()));
        if single_core() {
            say::line!("skipped: looking again needs a second core");
            return;
        }
        let again = (0..10_000).any(|_| {
            spin.sleep(|| ());
            spin.budget == LIMIT
        });
        assert!(again);
    }
}

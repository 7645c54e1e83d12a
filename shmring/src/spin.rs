//! The short adaptive spin before a sleep.

use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;

/// Longest spin. About what a sleep and a wake-up cost in a virtual machine.
const LIMIT: Duration = Duration::from_micros(50);

/// Short sleeps for which a side that spun in vain does not try again: a spin
/// in vain then costs a small part of what they do.
const HOLDOFF: u32 = 256;

/// Decides whether to look once more before going to sleep.
///
/// A sleep and a wake-up cost microseconds on bare metal and tens of them in a
/// virtual machine. So a side that usually waits for less than 50 µs looks for
/// a moment before it sleeps; one that usually waits longer (an idle link, or
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
    budget: Duration,
    since: Option<Instant>,
    /// Short sleeps still to come before a spin is tried again.
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
        let pays = !single_core() && !cfg!(loom);
        Spin { budget: if pays { LIMIT } else { Duration::ZERO }, since: None, holdoff: 0 }
    }

    /// There was something to do.
    pub fn found(&mut self) {
        self.since = None;
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
        self.budget = match start.elapsed() {
            _ if single_core() || cfg!(loom) => Duration::ZERO,
            // Nothing came while we looked for as long as we may, and then soon:
            // as where the neighbour needs this core.
            t if t <= LIMIT && self.budget == LIMIT => {
                self.holdoff = HOLDOFF;
                Duration::ZERO
            }
            t if t <= LIMIT && self.holdoff > 0 => {
                self.holdoff -= 1;
                self.budget
            }
            t if t <= LIMIT => LIMIT,
            _ if self.budget < Duration::from_micros(1) => Duration::ZERO,
            _ => self.budget / 2,
        };
        result
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
            backoff.spin();
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

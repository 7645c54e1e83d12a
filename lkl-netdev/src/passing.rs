//! How often a program that never waits looks in passing.
//!
//! Each look has a price for a stream of small writes: frames that are held back go out,
//! and TCP, which would have made longer ones of what is written next, learns from an
//! acknowledgement that it may send short ones. Such a stream leaves it to the poll
//! thread, as if nobody looked. One of large writes looks often, since acknowledgements
//! let it go on, and so does who sends next to nothing and may be polling for an answer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What arrives waits that long at most...
const OFTEN: Duration = Duration::from_micros(50);
/// ...and where small writes make a stream, until its bell wakes the poll thread. Looks are
/// still made to see whether that is so.
const SELDOM: Duration = Duration::from_millis(5);
/// Bytes between two looks that make a stream, and those of a write below which it is small.
const STREAM: u64 = 4 << 10;
const SMALL: u64 = 768;
/// The clock is read so many times between two looks: of writes of 64 bytes, a reading
/// each would be a twentieth. Calls of the kernel between two readings:
const READINGS: u32 = 16;
const MIN_CALLS: u32 = 8;
const MAX_CALLS: u32 = 64;

/// When the next look is due. One that changes it has the kernel's processor: so all of it
/// is Relaxed, and two that look at once do no harm.
pub(crate) struct Passing {
    begin: OnceLock<Instant>,
    /// Nanoseconds from `begin` on.
    next: AtomicU64,
    every: AtomicU64,
    /// Calls since the last look, and until the clock is read.
    calls: AtomicU32,
    left: AtomicU32,
    /// After so many the clock is read.
    step: AtomicU32,
    /// Bytes sent before the last look.
    sent: AtomicU64,
}

impl Passing {
    pub const fn new() -> Passing {
        Passing {
            begin: OnceLock::new(),
            next: AtomicU64::new(0),
            every: AtomicU64::new(OFTEN.as_nanos() as u64),
            calls: AtomicU32::new(0),
            left: AtomicU32::new(0),
            step: AtomicU32::new(MIN_CALLS),
            sent: AtomicU64::new(0),
        }
    }

    /// The kernel was called: whether to look now.
    pub fn is_due(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left > 1 {
            self.left.store(left - 1, Ordering::Relaxed);
            return false;
        }
        let step = self.step.load(Ordering::Relaxed);
        self.left.store(step, Ordering::Relaxed);
        self.calls
            .store(self.calls.load(Ordering::Relaxed).saturating_add(step), Ordering::Relaxed);
        self.is_due_at(self.begin.get_or_init(Instant::now).elapsed())
    }

    fn is_due_at(&self, now: Duration) -> bool {
        let now = now.as_nanos() as u64;
        let due = now >= self.next.load(Ordering::Relaxed);
        if due {
            self.next.store(now + self.every.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        due
    }

    /// It looked; so many bytes have been sent by now.
    pub fn looked(&self, sent: u64) {
        let bytes = sent.saturating_sub(self.sent.swap(sent, Ordering::Relaxed));
        let calls = self.calls.swap(0, Ordering::Relaxed);
        let small = bytes >= STREAM && bytes < SMALL * u64::from(calls);
        let every = if small { SELDOM } else { OFTEN };
        self.every.store(every.as_nanos() as u64, Ordering::Relaxed);
        self.step.store((calls / READINGS).clamp(MIN_CALLS, MAX_CALLS), Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How long it is until the next look after one between which and the one before the
    /// program wrote so often and so much.
    fn after(passing: &Passing, writes: u32, bytes: u64) -> Duration {
        passing.calls.store(writes, Ordering::Relaxed);
        passing.looked(passing.sent.load(Ordering::Relaxed) + bytes);
        let next = Duration::from_nanos(passing.next.load(Ordering::Relaxed));
        assert!(passing.is_due_at(next));
        assert!(!passing.is_due_at(next), "due twice");
        Duration::from_nanos(passing.next.load(Ordering::Relaxed)) - next
    }

    #[test]
    fn a_stream_of_small_writes_looks_seldom() {
        let passing = Passing::new();
        assert_eq!(after(&passing, 256, 256 * 64), SELDOM);
        assert_eq!(after(&passing, 4000, 4000 * 512), SELDOM);
        assert_eq!(after(&passing, 100, 100 * 1024), OFTEN);
        assert_eq!(after(&passing, 2, 128 << 10), OFTEN);
    }

    #[test]
    fn who_sends_next_to_nothing_looks_often() {
        let passing = Passing::new();
        assert_eq!(after(&passing, 1000, STREAM - 1), OFTEN);
        assert_eq!(after(&passing, 0, 0), OFTEN);
    }

    #[test]
    fn the_clock_is_read_some_times_between_two_looks() {
        let passing = Passing::new();
        for (calls, step) in [(0, MIN_CALLS), (400, 25), (u32::MAX, MAX_CALLS)] {
            passing.calls.store(calls, Ordering::Relaxed);
            passing.looked(0);
            assert_eq!(passing.step.load(Ordering::Relaxed), step);
        }
        let readings = (0..MAX_CALLS * 4).filter(|_| {
            let before = passing.calls.load(Ordering::Relaxed);
            passing.is_due();
            passing.calls.load(Ordering::Relaxed) > before
        });
        assert_eq!(readings.count(), 4);
    }
}

//! On which processor a thread is woken.
//!
//! One frame that crosses a row of functions wakes one after the other, each while the one before
//! it is about to sleep. The scheduler, left alone, wakes each on another processor, since that
//! has nothing to do; then that one has to be told, in a virtual machine by the host, and
//! the frame crosses from cache to cache. So where frames come one at a time, and it does not pay to
//! look for them before a sleep, as in a row that is longer than there are processors, a
//! function sits down on one processor: that of its process group, which a shell gives to each
//! pipeline. It gets up again when more frames come at a time, when others want that
//! processor, and now and then to see whether it still has to.

use std::time::{Duration, Instant};

use rustix::process::getpgrp;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::waits::WINDOW;

/// On average a sleep among frames that come one at a time is no longer than that...
const PAUSE: Duration = Duration::from_millis(10);
/// ...and there are no more turns with frames between two of them.
const TURNS: u32 = 3;
/// A stream has more bytes than that between two of them: it is carried by all processors.
const BYTES: u64 = 2048;
/// So often may it pay to look, a sleep.
const FOUND: u32 = 2;
/// A thread that waits for its processor by so much longer than twice the time it waits while it
/// stands, a sleep, shares it with others than its neighbours.
const CROWDED: Duration = Duration::from_micros(50);
/// Windows until one that sits gets up to see whether it has to.
const SITS: u32 = 128;
/// Windows that one who found the processor crowded does not sit down again.
const STANDS: u32 = 512;

/// Of one thread.
pub(crate) struct Seat {
    /// Where it may run while it stands: several processors.
    allowed: CpuSet,
    /// How long it waited for a processor, a sleep, when it stood last.
    waited_standing: Duration,
    /// The processor on which it sits.
    sits: Option<CpuSet>,
    /// Windows until it gets up or may sit down.
    left: u32,
    since: Instant,
    turns: u32,
    found: u32,
    /// That links have carried at the window's begin.
    bytes: u64,
}

impl Seat {
    /// None where there is no choice.
    pub fn new() -> Option<Seat> {
        let allowed = sched_getaffinity(None).ok().filter(|set| set.count() > 1)?;
        Some(Seat {
            allowed,
            waited_standing: Duration::ZERO,
            sits: None,
            left: 0,
            since: Instant::now(),
            turns: 0,
            found: 0,
            bytes: 0,
        })
    }

    /// Whether it sits: the neighbours need this processor, and to look keeps them from it.
    pub fn is_taken(&self) -> bool {
        self.sits.is_some()
    }

    /// Frames came; `looked`: they had been looked for before a sleep.
    #[inline]
    pub fn found(&mut self, looked: bool) {
        // A stream may never sleep.
        self.turns = self.turns.saturating_add(1);
        self.found = self.found.saturating_add(u32::from(looked));
        if self.is_taken() && self.turns > TURNS * WINDOW {
            self.stand();
        }
    }

    /// It has slept so often since it was told last, and waited for a processor for so long;
    /// `carried`: the bytes that all its links have carried. `true` when it got up: to look may pay again.
    pub fn slept(&mut self, (waited, sleeps): (Duration, u32), carried: u64) -> bool {
        let bytes = carried.abs_diff(std::mem::replace(&mut self.bytes, carried));
        let one_at_a_time = self.turns <= TURNS * sleeps
            && bytes <= BYTES * u64::from(sleeps)
            && self.since.elapsed() < PAUSE * sleeps;
        // How long each time.
        let waited = waited / sleeps.max(1);
        self.left = self.left.saturating_sub(1);
        if self.is_taken() {
            let is_crowded = waited > 2 * self.waited_standing + CROWDED;
            if is_crowded || !one_at_a_time || self.left == 0 {
                self.stand();
                if is_crowded {
                    self.left = STANDS;
                }
                return true;
            }
        } else {
            self.waited_standing = waited;
            if one_at_a_time && self.found <= FOUND * sleeps && self.left == 0 {
                self.sit();
            }
        }
        self.begin();
        false
    }

    fn begin(&mut self) {
        (self.since, self.turns, self.found) = (Instant::now(), 0, 0);
    }

    fn sit(&mut self) {
        let all = (0..CpuSet::MAX_CPU).filter(|cpu| self.allowed.is_set(*cpu));
        let group = getpgrp().as_raw_nonzero().get() as usize;
        let mut seat = CpuSet::new();
        all.clone().cycle().nth(group % all.count()).into_iter().for_each(|cpu| seat.set(cpu));
        // Somebody else may have decided meanwhile where it runs, as taskset does.
        let is_free = sched_getaffinity(None).is_ok_and(|now| now == self.allowed);
        self.sits = (is_free && sched_setaffinity(None, &seat).is_ok()).then_some(seat);
        self.left = SITS;
    }

    fn stand(&mut self) {
        if let Some(seat) = self.sits.take()
            && sched_getaffinity(None).is_ok_and(|now| now == seat)
        {
            // Refused where these processors have been taken away: then it stays.
            let _ = sched_setaffinity(None, &self.allowed);
        }
        self.left = 0;
        self.begin();
    }
}

impl Drop for Seat {
    /// Whoever is started by this thread later is not to sit.
    fn drop(&mut self) {
        self.stand();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processors() -> u32 {
        sched_getaffinity(None).unwrap().count()
    }

    /// Sleeps, before each of which one frame of so many bytes came, until it sits or stands.
    fn sleep_until(seat: &mut Seat, sits: bool, bytes: u64, carried: &mut u64) {
        // A machine with other work makes some windows long.
        for _ in 0..1000 {
            *carried += bytes * u64::from(WINDOW);
            (0..WINDOW).for_each(|_| seat.found(false));
            let stood = seat.slept((Duration::ZERO, WINDOW), *carried);
            assert!(!stood || !seat.is_taken());
            if seat.is_taken() == sits {
                return;
            }
        }
        panic!("it stays as it was");
    }

    #[test]
    fn one_frame_at_a_time_is_waited_for_on_one_processor_and_a_stream_on_all() {
        let all = processors();
        let Some(mut seat) = Seat::new() else {
            say::line!("skipped: a seat needs a second processor");
            return;
        };
        let mut carried = 0;
        sleep_until(&mut seat, true, 80, &mut carried);
        assert_eq!(processors(), 1);
        // Many without a sleep.
        (0..=TURNS * WINDOW).for_each(|_| seat.found(false));
        assert!(!seat.is_taken());
        assert_eq!(processors(), all);

        sleep_until(&mut seat, true, 80, &mut carried);
        sleep_until(&mut seat, false, 2 * BYTES, &mut carried);
        assert_eq!(processors(), all);
        sleep_until(&mut seat, true, 80, &mut carried);
        // Others want it.
        assert!(seat.slept((Duration::MAX, WINDOW), carried));
        assert_eq!(processors(), all);
        drop(seat);

        let mut seat = Seat::new().unwrap();
        sleep_until(&mut seat, true, 80, &mut 0);
        drop(seat);
        assert_eq!(processors(), all);
    }

    #[test]
    fn where_it_pays_to_look_nobody_sits() {
        let Some(mut seat) = Seat::new() else { return };
        for _ in 0..4 {
            (0..=FOUND * WINDOW).for_each(|_| seat.found(true));
            seat.slept((Duration::ZERO, WINDOW), 0);
        }
        assert!(!seat.is_taken());
    }

    #[test]
    fn who_was_given_a_processor_meanwhile_stays_there() {
        let Some(mut seat) = Seat::new() else { return };
        let all = sched_getaffinity(None).unwrap();
        let mut last = CpuSet::new();
        let last_cpu = (0..CpuSet::MAX_CPU).rfind(|cpu| all.is_set(*cpu)).unwrap();
        last.set(last_cpu);
        sched_setaffinity(None, &last).unwrap();
        (0..4).for_each(|_| assert!(!seat.slept((Duration::ZERO, WINDOW), 0)));
        assert!(!seat.is_taken());
        drop(seat);
        assert!(sched_getaffinity(None).unwrap() == last);
    }
}

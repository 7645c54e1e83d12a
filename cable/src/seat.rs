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

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::process::getpgrp;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Sleeps until it is looked at what they were for.
const WINDOW: u32 = 64;
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
    /// How long this thread has waited for a processor.
    waits: File,
    waited: Duration,
    /// In the last window in which it stood.
    waits_standing: Duration,
    /// The processor on which it sits.
    sits: Option<CpuSet>,
    /// Windows until it gets up or may sit down.
    left: u32,
    since: Instant,
    sleeps: u32,
    turns: u32,
    found: u32,
    /// That links have carried at the window's begin.
    bytes: u64,
}

impl Seat {
    /// None where there is no choice, or where the kernel does not tell how crowded it is.
    pub fn new() -> Option<Seat> {
        let allowed = sched_getaffinity(None).ok().filter(|set| set.count() > 1)?;
        let waits = File::open("/proc/thread-self/schedstat").ok()?;
        let waited = waited(&waits)?;
        Some(Seat {
            allowed,
            waits,
            waited,
            waits_standing: Duration::ZERO,
            sits: None,
            left: 0,
            since: Instant::now(),
            sleeps: 0,
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
        self.turns += 1;
        self.found += u32::from(looked);
        if self.is_taken() && self.turns > TURNS * WINDOW {
            self.stand();
        }
    }

    /// It has slept; `carried`: the bytes that all its links have carried. `true` when it got up: to look may
    /// pay again.
    pub fn slept(&mut self, carried: impl FnOnce() -> u64) -> bool {
        self.sleeps += 1;
        if self.sleeps < WINDOW {
            return false;
        }
        let carried = carried();
        let bytes = carried.abs_diff(std::mem::replace(&mut self.bytes, carried));
        let one_at_a_time = self.turns <= TURNS * WINDOW
            && bytes <= BYTES * u64::from(WINDOW)
            && self.since.elapsed() < PAUSE * WINDOW;
        self.left = self.left.saturating_sub(1);
        let now = waited(&self.waits).unwrap_or(self.waited);
        let waited = now - std::mem::replace(&mut self.waited, now);
        if self.is_taken() {
            let is_crowded = waited > 2 * self.waits_standing + CROWDED * WINDOW;
            if is_crowded || !one_at_a_time || self.left == 0 {
                self.stand();
                if is_crowded {
                    self.left = STANDS;
                }
                return true;
            }
        } else {
            self.waits_standing = waited;
            if one_at_a_time && self.found <= FOUND * WINDOW && self.left == 0 {
                self.sit();
            }
        }
        self.begin();
        false
    }

    fn begin(&mut self) {
        (self.since, self.sleeps, self.turns, self.found) = (Instant::now(), 0, 0, 0);
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

/// The second of the numbers of proc(5)'s schedstat, in nanoseconds.
fn waited(file: &File) -> Option<Duration> {
    let mut bytes = [0; 80];
    let len = file.read_at(&mut bytes, 0).ok()?;
    let text = str::from_utf8(&bytes[..len]).ok()?;
    text.split(' ').nth(1)?.parse().ok().map(Duration::from_nanos)
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
        for _ in 0..1000 * WINDOW {
            *carried += bytes;
            seat.found(false);
            let stood = seat.slept(|| *carried);
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
            say::line!("skipped: a seat needs a second processor, and schedstat");
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
        drop(seat);
        assert_eq!(processors(), all);
    }

    #[test]
    fn where_it_pays_to_look_nobody_sits() {
        let Some(mut seat) = Seat::new() else { return };
        for _ in 0..4 * WINDOW {
            (0..=FOUND).for_each(|_| seat.found(true));
            seat.slept(|| 0);
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
        for _ in 0..4 * WINDOW {
            seat.slept(|| 0);
        }
        assert!(!seat.is_taken());
        drop(seat);
        assert!(sched_getaffinity(None).unwrap() == last);
    }
}

//! How long a thread waits for a processor, and what it does about that.
//!
//! On a machine with other work each frame waits at each function for whoever has the processor
//! to use up its time, milliseconds. A thread that says that it needs little at a time has its turn sooner, and no
//! larger share (EEVDF's slices, Linux 6.12; before it means nothing). Where nobody waits for long it
//! is not said: then it is better to let whoever sends do more at a time.
//!
//! Unsafe lives here for sched_setattr(2) and sched_getattr(2), which have no safe wrapper. It owns one
//! invariant: each gets a pointer to a `sched_attr` and its size, alive for the call.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::libc;

/// Sleeps until it is looked at how long it has waited...
pub(crate) const WINDOW: u32 = 64;
/// ...or so long, where it sleeps seldom.
const AGE: Duration = Duration::from_millis(50);
/// Who waits longer than that, a sleep, shares the processors with others than its neighbours...
const LATE: Duration = Duration::from_millis(1);
/// ...and who waits no longer than that does not.
const CALM: Duration = Duration::from_micros(50);
/// What it asks for then, in nanoseconds: the least there is.
const SLICE: u64 = 100_000;

/// Of one thread.
pub(crate) struct Waits {
    schedstat: File,
    waited: Duration,
    since: Instant,
    sleeps: u32,
    hurries: bool,
}

impl Waits {
    /// None where the kernel does not tell.
    pub fn new() -> Option<Waits> {
        let schedstat = File::open("/proc/thread-self/schedstat").ok()?;
        let waited = waited(&schedstat)?;
        Some(Waits { schedstat, waited, since: Instant::now(), sleeps: 0, hurries: false })
    }

    /// It has slept. At the end of a window: how long it waited in that, and how often it slept.
    pub fn slept(&mut self) -> Option<(Duration, u32)> {
        self.sleeps += 1;
        if self.sleeps < WINDOW && self.since.elapsed() < AGE {
            return None;
        }
        let sleeps = std::mem::take(&mut self.sleeps);
        self.since = Instant::now();
        let now = waited(&self.schedstat)?;
        let waited = now.saturating_sub(std::mem::replace(&mut self.waited, now));
        let hurries = match self.hurries {
            false => waited > LATE * sleeps,
            true => sleeps < WINDOW || waited > CALM * sleeps,
        };
        if std::mem::replace(&mut self.hurries, hurries) != hurries {
            ask_for(if hurries { SLICE } else { 0 });
        }
        Some((waited, sleeps))
    }
}

/// The second of the numbers of proc(5)'s schedstat, in nanoseconds.
fn waited(file: &File) -> Option<Duration> {
    let mut bytes = [0; 80];
    let len = file.read_at(&mut bytes, 0).ok()?;
    let text = str::from_utf8(&bytes[..len]).ok()?;
    text.split(' ').nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// Asks for so many nanoseconds at a turn; 0 is as many as everybody has. Refused, as by a
/// container, it is as it was.
fn ask_for(slice: u64) {
    let Some(mut now) = attributes() else { return };
    // Real-time threads do not wait.
    if now.sched_policy == libc::SCHED_OTHER as u32 {
        now.sched_runtime = slice;
        // SAFETY: the kernel reads one sched_attr of the size that stands in it.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const now, 0) };
    }
}

fn attributes() -> Option<libc::sched_attr> {
    const LEN: u32 = size_of::<libc::sched_attr>() as u32;
    // SAFETY: it is a C struct of numbers, for which all zeroes is a valid value.
    let mut now: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most LEN bytes of one sched_attr.
    let read = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut now, LEN, 0) };
    (read == 0).then_some(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hurries_asks_for_little_at_a_time_and_stays_as_nice() {
        let nice = attributes().unwrap().sched_nice;
        ask_for(SLICE);
        let now = attributes().unwrap();
        assert_eq!(now.sched_nice, nice);
        // Not told by kernels that have no slices.
        assert!([0, SLICE].contains(&now.sched_runtime), "{}", now.sched_runtime);
        ask_for(0);
        assert_eq!(attributes().unwrap().sched_nice, nice);
    }

    #[test]
    fn waits_are_told_once_a_window() {
        let Some(mut waits) = Waits::new() else {
            say::line!("skipped: /proc has no schedstat");
            return;
        };
        let told: u32 = (0..3 * WINDOW).filter_map(|_| waits.slept()).map(|it| it.1).sum();
        // A machine with other work ends some by their age.
        assert!(told > 2 * WINDOW, "{told}");
    }
}

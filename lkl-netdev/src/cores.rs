//! On which cores the threads of a function run.
//!
//! An LKL has one processor, so its threads take turns, and two of them on two cores are
//! slower than on one. Two functions that talk are the faster on a core each. The
//! scheduler knows neither: it wakes a thread near who wakes it, and leaves two functions
//! that hand over to each other on one core while another is idle. So
//! - the threads that LKL's library made [follow] the program's thread that looks, and
//! - a thread that looks and finds, each time that it [gives way](give_way), somebody who
//!   runs in its place, hops to another core.
//!
//! On a core that others want, too, who gives way comes back late, while who sleeps is
//! woken at once: there, a thread [does not look for long](is_crowded).
//!
//! Where the user has given the function one core, all this does nothing.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, getpid};
use rustix::thread::{
    CpuSet, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity, sched_yield,
};

use crate::sync::lock;

/// Giving way to nobody takes less time than this.
const NOBODY: Duration = Duration::from_nanos(1500);
/// A thread shares its core when more than half of so many last times somebody ran.
const SHARED: u32 = 16;
/// How long a thread stays on a core at least; twice as long after each hop, up to `MAX_STAY`.
const MIN_STAY: Duration = Duration::from_millis(1);
const MAX_STAY: Duration = Duration::from_millis(500);

/// After a wait of this length for the core, it is crowded for `CROWDED`.
const LATE: Duration = Duration::from_micros(500);
const CROWDED: Duration = Duration::from_millis(20);

/// Threads that LKL's library made.
static HELPERS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
/// Where they run.
static HOME: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The thread that runs is one that LKL's library made.
pub(crate) fn helps() {
    // What runs here may be on any core until somebody looks.
    lock(&HELPERS).push(gettid());
    HOME.store(usize::MAX, Ordering::Relaxed);
}

/// It ends: its number may be another thread's soon.
pub(crate) fn ends() {
    let own = gettid();
    lock(&HELPERS).retain(|&helper| helper != own);
}

/// Has the threads of LKL's library run where this one does, if it may run elsewhere.
pub(crate) fn follow() {
    let core = sched_getcpu();
    // Relaxed: two threads that look in turn do no harm.
    if HOME.swap(core, Ordering::Relaxed) == core {
        return;
    }
    if sched_getaffinity(None).is_ok_and(|set| set.count() > 1) {
        let mut set = CpuSet::new();
        set.set(core);
        for &helper in &*lock(&HELPERS) {
            // It fails where the user has moved the function away: then that is what holds.
            let _ = sched_setaffinity(Some(helper), &set);
        }
    }
}

#[derive(Clone, Copy)]
struct Place {
    /// How often somebody ran lately, of `SHARED`.
    shared: u32,
    since: Option<Instant>,
    stay: Duration,
    crowded: Option<Instant>,
}

thread_local! {
    static PLACE: Cell<Place> =
        const { Cell::new(Place { shared: 0, since: None, stay: MIN_STAY, crowded: None }) };
}

/// Lets others run on this core. Goes to another one where that happens each time.
pub(crate) fn give_way() {
    let start = Instant::now();
    sched_yield();
    let now = Instant::now();
    let mut place = PLACE.get();
    place.shared = match now - start > NOBODY {
        true => (place.shared + 1).min(SHARED),
        false => place.shared.saturating_sub(1),
    };
    if now - start > LATE {
        place.crowded = Some(now + CROWDED);
    }
    let since = *place.since.get_or_insert(now);
    if place.shared > SHARED / 2 && now - since > place.stay {
        hop();
        // Two that share a core must not hop at the same time for ever.
        let odd = getpid().as_raw_nonzero().get().unsigned_abs() % 4 + 5;
        let stay = (place.stay * odd / 4).min(MAX_STAY);
        place = Place { shared: 0, since: Some(now), stay, crowded: None };
    } else if now - since > 2 * MAX_STAY {
        place = Place { since: Some(now), stay: MIN_STAY, ..place };
    }
    PLACE.set(place);
}

/// Whether others want this core, too.
pub(crate) fn is_crowded() -> bool {
    PLACE.get().crowded.is_some_and(|until| Instant::now() < until)
}

/// Moves to another core, if there is one for this thread.
fn hop() {
    let Ok(all) = sched_getaffinity(None) else { return };
    let mut others = all;
    others.unset(sched_getcpu());
    if others.count() > 0 && sched_setaffinity(None, &others).is_ok() {
        // It stays where it is now: where it may run is as before.
        let _ = sched_setaffinity(None, &all);
    }
}

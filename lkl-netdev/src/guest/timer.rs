//! The clock's timer of LKL's kernel.
//!
//! The kernel sets it anew each time that it goes idle and each time that it wakes,
//! nearly always to a later time. A system call for each would be a fifth of a round
//! trip. So the host's timer is left alone when it is earlier than what the kernel
//! wants, and what is left is slept for when it fires.
#![allow(unsafe_code)]
// Unsafe lives here to call LKL's own operations. The invariant: a timer of the host's
// is used until `free`, and its argument is a number that is looked up.

use std::collections::HashMap;
use std::ffi::{c_int, c_ulong, c_void};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use lkl_sys::TimerFunction;

use super::own::own;
use crate::sync::lock;

/// Nanoseconds: as good as for ever, and can be added to any time.
const LONGEST: c_ulong = 1 << 60;

struct Timer {
    /// The host's.
    host: usize,
    /// When it fires, if it does.
    host_fires: Option<Instant>,
    function: TimerFunction,
    argument: usize,
    /// When the kernel wants to be told.
    due: Option<Instant>,
}

/// By number. The host may call for one that was freed meanwhile.
static TIMERS: LazyLock<Mutex<HashMap<usize, Timer>>> = LazyLock::new(Mutex::default);

pub(super) unsafe extern "C" fn alloc(
    function: TimerFunction,
    argument: *mut c_void,
) -> *mut c_void {
    let mut timers = lock(&TIMERS);
    let number = timers.keys().max().map_or(1, |last| last + 1);
    // SAFETY: LKL's own operation.
    let host = unsafe { (own().timer_alloc)(fire, number as *mut c_void) };
    if host.is_null() {
        return host;
    }
    let (host, argument) = (host as usize, argument as usize);
    let timer = Timer { host, host_fires: None, function, argument, due: None };
    timers.insert(number, timer);
    number as *mut c_void
}

pub(super) unsafe extern "C" fn set_oneshot(number: *mut c_void, nanos: c_ulong) -> c_int {
    let mut timers = lock(&TIMERS);
    let Some(timer) = timers.get_mut(&(number as usize)) else { return -1 };
    let due = Instant::now() + Duration::from_nanos(nanos.min(LONGEST));
    timer.due = Some(due);
    timer.ask_host(due)
}

pub(super) unsafe extern "C" fn free(number: *mut c_void) {
    if let Some(timer) = lock(&TIMERS).remove(&(number as usize)) {
        // SAFETY: the host's timer is used for the last time.
        unsafe { (own().timer_free)(timer.host as *mut c_void) };
    }
}

impl Timer {
    fn ask_host(&mut self, due: Instant) -> c_int {
        if self.host_fires.is_some_and(|at| at <= due) {
            return 0;
        }
        self.host_fires = Some(due);
        // At once would be never.
        let left = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        // SAFETY: the host's timer, which was not freed.
        unsafe { (own().timer_set_oneshot)(self.host as *mut c_void, left.as_nanos() as c_ulong) }
    }
}

/// The host's timer fired.
unsafe extern "C" fn fire(number: *mut c_void) {
    let mut timers = lock(&TIMERS);
    let Some(timer) = timers.get_mut(&(number as usize)) else { return };
    timer.host_fires = None;
    let Some(due) = timer.due else { return };
    if due > Instant::now() {
        timer.ask_host(due);
        return;
    }
    timer.due = None;
    let (function, argument) = (timer.function, timer.argument);
    // It sets the timer again.
    drop(timers);
    // SAFETY: what the kernel gave for this.
    unsafe { function(argument as *mut c_void) };
}

//! Whether this process is a fork of the one that has the devices.
//!
//! A fork has a copy of LKL's kernel without the threads that make it go, and the
//! same rings, of which each end is for one process. So a device is without a cable
//! there: nothing it does reaches the ring, the bells or the neighbour.
#![allow(unsafe_code)]
// Unsafe lives here to be told of a fork by the C library, and to end one.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::say::say;

/// What a program of this project ends with that said an error.
const FAILED: i32 = 125;

/// Set in a child before its fork(2) returns, when it has one thread only: no
/// ordering is needed.
static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// The first thing that a child would have sent was dropped, and told.
static TOLD: AtomicBool = AtomicBool::new(false);

extern "C" fn in_child() {
    IN_CHILD.store(true, Ordering::Relaxed);
}

/// From now on, [`is_child`] knows.
pub(crate) fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the handler does nothing but a store. It fails for want of memory
        // only, and then forks are as before.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// Whether this process was forked from the one that has the devices.
pub fn is_child() -> bool {
    IN_CHILD.load(Ordering::Relaxed)
}

/// Ends a fork that waits for the kernel: nothing will come any more.
pub(crate) fn end() -> ! {
    tell("LKL");
    // SAFETY: has no precondition. What exit(3) does would wait for the kernel, too.
    unsafe { libc::_exit(FAILED) }
}

/// Says once that what this process sends and waits for comes to nothing.
pub(crate) fn tell(name: &str) {
    if !TOLD.swap(true, Ordering::Relaxed) {
        let own = rustix::process::getpid().as_raw_nonzero();
        say(
            name,
            format_args!(
                "process {own} is a fork, and LKL's kernel stayed with its parent: what it sends is dropped and nothing comes: run a program that does not fork, as `netserver -D -f`"
            ),
        );
    }
}

//! Whose the thread is that runs, and what it does.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::null_mut;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Program,
    /// Made by LKL's library.
    Library,
}

thread_local! {
    static WHOSE: Cell<Whose> = const { Cell::new(Whose::Program) };
    /// What a thread of LKL's library was given.
    static ARGUMENT: Cell<*mut c_void> = const { Cell::new(null_mut()) };
    /// A thread of LKL's kernel runs on this one.
    static KERNEL: Cell<bool> = const { Cell::new(false) };
    static SERVING: Cell<bool> = const { Cell::new(false) };
}

/// The thread that runs is one that LKL's library made, and was given this.
pub(crate) fn becomes_librarys(argument: *mut c_void) {
    WHOSE.set(Whose::Library);
    ARGUMENT.set(argument);
}

/// Whether the thread that runs is the program's own.
pub(crate) fn is_programs() -> bool {
    WHOSE.get() == Whose::Program
}

/// What the thread that runs was given when LKL's library made it: LKL's device, on the
/// thread that calls `poll`. Null on other threads.
pub(crate) fn argument() -> *mut c_void {
    ARGUMENT.get()
}

/// Whether a thread of LKL's kernel runs on this one, from now on. Never inlined, like
/// its twin in `fiber`.
#[inline(never)]
pub(crate) fn runs_kernel(runs: bool) {
    KERNEL.set(runs);
}

/// Whether the thread that runs has LKL process a queue.
pub(crate) fn is_serving() -> bool {
    SERVING.get()
}

/// It does, as long as `what` takes.
pub(crate) fn serving<T>(what: impl FnOnce() -> T) -> T {
    let before = SERVING.replace(true);
    let result = what();
    SERVING.set(before);
    result
}

/// Whether the thread that runs is one of the program's in a system call of its own,
/// in which it will look in passing, or wait.
pub(crate) fn is_passing() -> bool {
    is_programs() && !KERNEL.get() && !is_serving()
}

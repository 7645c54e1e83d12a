//! The end of a process that CMD forked.
//!
//! LKL's destructor waits for the threads of its kernel, which a fork has not: it
//! would wait for ever. So such a process ends before, by what is done here.
#![allow(unsafe_code)]
// Unsafe lives here to be called by the C library when processes fork and end.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};

/// What the child gave to exit(3). It has one thread or, if it started more, ends
/// in this one: no ordering is needed.
static STATUS: AtomicI32 = AtomicI32::new(0);

unsafe extern "C" {
    /// on_exit(3): `function` gets the status that a process ends with.
    fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = watch;

/// Before LKL's: a library that is preloaded first is initialized last.
#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = end;

extern "C" fn watch() {
    // SAFETY: the handler registers another one and does nothing else. It fails for
    // want of memory only, and then forks end as without this library.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

extern "C" fn in_child() {
    // SAFETY: the handler does nothing but a store.
    unsafe { on_exit(note, null_mut()) };
}

extern "C" fn note(status: c_int, _: *mut c_void) {
    STATUS.store(status, Ordering::Relaxed);
}

extern "C" fn end() {
    if lkl_netdev::is_child() {
        // SAFETY: all streams, as exit(3) would do after the destructors.
        unsafe { libc::fflush(null_mut()) };
        // SAFETY: has no precondition.
        unsafe { libc::_exit(STATUS.load(Ordering::Relaxed)) };
    }
}

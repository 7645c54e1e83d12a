//! A plugin of libvdeplug: the network `stdpkt:///path/to/fifo` is a link of stdpkt's.
//!
//! There is no thread. libvdeplug's callers wait for the descriptor of `datafd` and call
//! `receive` then; whatever happens to the link happens in that call. So a process
//! that forks takes its connections with it, and a closed one leaves nothing behind.
#![allow(unsafe_code)]
// Unsafe lives here to be called by C. The invariant: a connection is a `Box<Connection>`
// that `open` gave away, and that `close` takes back.

mod address;
mod plug;
mod port;
mod wire;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::plug::Plug;

/// `struct vdeplug_module` of libvdeplug_mod.h (libvdeplug 4.0.1).
#[repr(C)]
pub struct Module {
    flags: c_int,
    open: unsafe extern "C" fn(*mut c_char, *mut c_char, c_int, *mut c_void) -> *mut Connection,
    recv: unsafe extern "C" fn(*mut Connection, *mut c_void, usize, c_int) -> isize,
    send: unsafe extern "C" fn(*mut Connection, *const c_void, usize, c_int) -> isize,
    datafd: unsafe extern "C" fn(*mut Connection) -> c_int,
    ctlfd: unsafe extern "C" fn(*mut Connection) -> c_int,
    close: unsafe extern "C" fn(*mut Connection) -> c_int,
}

/// What libvdeplug looks for in the library.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static vdeplug_ops: Module =
    Module { flags: 0, open, recv: receive, send, datafd, ctlfd, close };

/// `struct vdeconn` of the same header: the first two fields are libvdeplug's.
#[repr(C)]
pub struct Connection {
    handle: *mut c_void,
    module: *mut c_void,
    /// The plug's descriptor.
    data: RawFd,
    plug: Mutex<Plug>,
}

/// A program that asks for a frame without having been told that there is one waits
/// so long. It may only have been woken for nothing, and has other things to see to.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

impl Connection {
    fn plug(&self) -> MutexGuard<'_, Plug> {
        // A panic is an error of that call; the next may find more of them.
        self.plug.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to do. Others may send meanwhile.
    fn nap(&self) {
        // SAFETY: the plug's, which lives as long as this and never closes it before.
        let fd = unsafe { BorrowedFd::borrow_raw(self.data) };
        // Interrupted, it is over sooner.
        let _ = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&NAP));
    }
}

/// What C gets: an error is -1 and `errno`.
fn answer<T: TryFrom<i8>>(call: impl FnOnce() -> Result<T, Errno>) -> T
where
    T::Error: std::fmt::Debug,
{
    let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(Errno::IO));
    result.unwrap_or_else(|errno| {
        set_errno(errno);
        T::try_from(-1).expect("a signed type")
    })
}

fn set_errno(errno: Errno) {
    // SAFETY: the C library's own place for it, of this thread.
    unsafe { *libc::__errno_location() = errno.raw_os_error() };
}

/// `args` is what comes after `stdpkt://`.
unsafe extern "C" fn open(
    args: *mut c_char,
    _description: *mut c_char,
    _version: c_int,
    _more: *mut c_void,
) -> *mut Connection {
    let args = match args.is_null() {
        true => c"",
        // SAFETY: libvdeplug passes a string that lives as long as this call.
        false => unsafe { CStr::from_ptr(args) },
    };
    let plug = catch_unwind(|| Plug::open(args)).unwrap_or(Err(Errno::IO));
    match plug {
        Ok(plug) => Box::into_raw(Box::new(Connection {
            handle: null_mut(),
            module: null_mut(),
            data: plug.data().as_raw_fd(),
            plug: Mutex::new(plug),
        })),
        Err(errno) => {
            set_errno(errno);
            null_mut()
        }
    }
}

/// A frame; 1 where there is none, as other plugins have it; 0 at the end of the link.
unsafe extern "C" fn receive(
    connection: *mut Connection,
    buffer: *mut c_void,
    len: usize,
    flags: c_int,
) -> isize {
    // SAFETY: the invariant.
    let connection = unsafe { &*connection };
    answer(|| {
        if flags & libc::MSG_DONTWAIT == 0 && connection.plug().is_idle() {
            connection.nap();
        }
        let received = connection.plug().receive(|frame| {
            let fits = frame.len() <= len;
            if fits {
                // SAFETY: `len` bytes are the caller's, who waits for this call.
                unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(frame.as_ptr(), frame.len()) }
            }
            fits
        });
        Ok(received.map_or_else(
            || {
                set_errno(Errno::AGAIN);
                1
            },
            |len| len as isize,
        ))
    })
}

/// Takes every frame: one for which there is no room is lost, as on any network.
unsafe extern "C" fn send(
    connection: *mut Connection,
    frame: *const c_void,
    len: usize,
    _flags: c_int,
) -> isize {
    // SAFETY: the invariant, and `len` bytes are there.
    let (connection, frame) =
        unsafe { (&*connection, std::slice::from_raw_parts(frame.cast::<u8>(), len)) };
    answer(|| connection.plug().send(frame).map(|()| len as isize))
}

/// Readable when there is something to receive.
unsafe extern "C" fn datafd(connection: *mut Connection) -> c_int {
    // SAFETY: the invariant.
    let connection = unsafe { &*connection };
    connection.data
}

/// Readable once the link is at its end.
unsafe extern "C" fn ctlfd(connection: *mut Connection) -> c_int {
    // SAFETY: the invariant.
    let connection = unsafe { &*connection };
    answer(|| Ok(connection.plug().control().as_raw_fd()))
}

unsafe extern "C" fn close(connection: *mut Connection) -> c_int {
    // SAFETY: the invariant; libvdeplug does not use it any more.
    let connection = unsafe { Box::from_raw(connection) };
    answer(|| {
        let plug = connection.plug.into_inner().unwrap_or_else(PoisonError::into_inner);
        plug.close();
        Ok(0)
    })
}

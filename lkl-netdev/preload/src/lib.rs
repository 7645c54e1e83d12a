//! Takes the place of LKL's pipe device in a process into which this library
//! is preloaded before `liblkl-hijack.so`:
//!
//! ```sh
//! LD_PRELOAD=liblkl_netdev_preload.so:liblkl-hijack.so LKL_HIJACK_CONFIG_FILE=x.json prog
//! ```
//!
//! One symbol is exported, `lkl_netdev_pipe_create`. Names that lead to pipes or
//! FIFOs get a device over rings; all others go to LKL's own function.
#![allow(unsafe_code)]
// Unsafe lives here to be called by C and to call LKL's own function. LKL's
// constructor runs before this library's: nothing here relies on one.

use std::ffi::{CStr, c_char, c_int};
use std::fmt::Display;
use std::panic::catch_unwind;
use std::ptr::null_mut;

use lkl_netdev::{Config, Ends, IfnameError, Netdev};

/// LKL's constructor of a pipe device: `ifname` is `RX|TX`.
///
/// # Safety
/// `ifname` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lkl_netdev_pipe_create(
    ifname: *const c_char,
    offload: c_int,
) -> *mut lkl_sys::Netdev {
    if ifname.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(ifname) };
    match catch_unwind(|| create(&name.to_string_lossy(), offload)) {
        Ok(Created::Device(device)) => device,
        Ok(Created::Failed) | Err(_) => null_mut(),
        // SAFETY: the arguments are those of the caller.
        Ok(Created::NotOurs) => unsafe { next(ifname, offload) },
    }
}

/// What LKL's driver takes: CSUM, GUEST_CSUM, GUEST_TSO4 and 6, HOST_TSO4 and 6, MRG_RXBUF.
const KNOWN_OFFLOADS: u32 = 1 | 1 << 1 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 12 | 1 << 15;

enum Created {
    Device(*mut lkl_sys::Netdev),
    NotOurs,
    Failed,
}

fn create(ifname: &str, offload: c_int) -> Created {
    let failed = |error: &dyn Display| {
        say(ifname, error);
        Created::Failed
    };
    let unknown = offload as u32 & !KNOWN_OFFLOADS;
    if unknown != 0 {
        return failed(&format_args!(
            "offload {offload:#x}: LKL's driver takes no bit {}: 0x8883 has all that helps",
            unknown.trailing_zeros()
        ));
    }
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => return failed(&error),
    };
    match Ends::open(ifname) {
        Ok(ends) => match Netdev::new(ends, offload as u32, config) {
            Ok(device) => Created::Device(device.into_raw()),
            Err(error) => failed(&error),
        },
        Err(IfnameError::NotAPipe(_)) => Created::NotOurs,
        Err(error) => failed(&error),
    }
}

/// LKL's own function, which this one hides.
///
/// # Safety
/// As for [`lkl_netdev_pipe_create`].
unsafe fn next(ifname: *const c_char, offload: c_int) -> *mut lkl_sys::Netdev {
    // SAFETY: a constant C string; looking a symbol up has no other precondition.
    let symbol = unsafe { libc::dlsym(libc::RTLD_NEXT, c"lkl_netdev_pipe_create".as_ptr()) };
    if symbol.is_null() {
        // SAFETY: the caller's promise.
        let name = unsafe { CStr::from_ptr(ifname) };
        say(&name.to_string_lossy(), &"is no pipe, and LKL's own device is not there to ask");
        return null_mut();
    }
    // SAFETY: LKL's function of this name has this signature (lkl.h).
    let function: lkl_sys::NetdevPipeCreate = unsafe { std::mem::transmute(symbol) };
    // SAFETY: the arguments are those of the caller.
    unsafe { function(ifname, offload) }
}

/// One line on standard error, not through the hijacked libc.
fn say(ifname: &str, what: &dyn Display) {
    let line = format!("lkl-netdev: {ifname}: {what}\n");
    // SAFETY: the kernel reads `len` bytes of a live string.
    unsafe { libc::syscall(libc::SYS_write, 2, line.as_ptr(), line.len()) };
}

//! Takes the place of LKL's pipe device in a process into which this library
//! is preloaded before `liblkl-hijack.so`:
//!
//! ```sh
//! LD_PRELOAD=liblkl_netdev_preload.so:liblkl-hijack.so LKL_HIJACK_CONFIG_FILE=x.json prog
//! ```
//!
//! One symbol is exported, `lkl_netdev_pipe_create`. LKL's constructor calls it, and
//! runs before this library's own. Names that lead to pipes or FIFOs get a device over
//! rings; those of other devices go to LKL's own function.
#![allow(unsafe_code)]
// Unsafe lives here to be called by C and to call LKL's own function.

mod child;
mod configuration;
mod host;
mod linger;

use std::ffi::{CStr, c_char, c_int};
use std::panic::catch_unwind;
use std::ptr::null_mut;

use lkl_netdev::{Config, Ends, IfnameError, Netdev, say};

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
    catch_unwind(|| create(name, offload))
        .unwrap_or_else(|_| Err("a mistake in lkl-netdev".to_owned()))
        .unwrap_or_else(|error| {
            say(&name.to_string_lossy(), error);
            null_mut()
        })
}

/// What LKL's driver takes: CSUM, GUEST_CSUM, GUEST_TSO4 and 6, HOST_TSO4 and 6, MRG_RXBUF.
const KNOWN_OFFLOADS: u32 = 1 | 1 << 1 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 12 | 1 << 15;

fn create(name: &CStr, offload: c_int) -> Result<*mut lkl_sys::Netdev, String> {
    let unknown = offload as u32 & !KNOWN_OFFLOADS;
    if unknown != 0 {
        return Err(format!(
            "offload {offload:#x}: LKL's driver takes no bit {}: 0x8883 has all that helps",
            unknown.trailing_zeros()
        ));
    }
    let config = Config::from_env().map_err(|error| error.to_string())?;
    config.introduce();
    let ends = match Ends::open(&name.to_string_lossy()) {
        Err(IfnameError::Foreign(error)) => {
            return next(name, offload).ok_or_else(|| error.to_string());
        }
        ends => ends.map_err(|error| error.to_string())?,
    };
    host::take_over(config.look);
    let device = Netdev::new(ends, offload as u32, config).map_err(|error| format!("{error:#}"))?;
    Ok(device.into_raw())
}

/// What LKL's own function makes of a name, which this library's hides; `None`
/// without LKL.
fn next(name: &CStr, offload: c_int) -> Option<*mut lkl_sys::Netdev> {
    // SAFETY: a constant C string; looking a symbol up has no other precondition.
    let symbol = unsafe { libc::dlsym(libc::RTLD_NEXT, c"lkl_netdev_pipe_create".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: LKL's function of this name has this signature (lkl.h).
    let function: lkl_sys::NetdevPipeCreate = unsafe { std::mem::transmute(symbol) };
    // SAFETY: a C string that lives during the call.
    Some(unsafe { function(name.as_ptr(), offload) })
}

//! LKL's kernel, taken over before it boots, see [`lkl_netdev::take_over`].
#![allow(unsafe_code)]
// Unsafe lives here to find LKL's symbols and to use them as its headers have them.

use std::ffi::{CStr, c_int, c_void};
use std::mem::size_of;
use std::ptr::{null, null_mut};
use std::sync::Once;

use lkl_netdev::{Look, say};
use lkl_sys::HostOperations;

/// Has the program's threads look at the rings, where LKL is one that allows for it.
/// Says once whether it is, if asked to.
pub fn take_over(look: Look) {
    static TAKE_OVER: Once = Once::new();
    TAKE_OVER.call_once(|| {
        if look == Look::Off {
            return;
        }
        let result = try_to();
        if look == Look::Tell {
            match result {
                Ok(()) => say("LKL", "its kernel runs on the threads that wait for it"),
                Err(why) => say("LKL", format_args!("no thread looks while it waits: {why}")),
            }
        }
    });
}

fn try_to() -> Result<(), String> {
    let missing = |name: &str| format!("this LKL has no {name}");
    let host = find(c"lkl_host_ops").ok_or_else(|| missing("lkl_host_ops"))?;
    let process = find(c"virtio_process_queue").ok_or_else(|| missing("virtio_process_queue"))?;
    let (found, known) = (size_of_symbol(host), size_of::<HostOperations>());
    if found != Some(known) {
        let found = found.map_or("unknown".to_owned(), |found| found.to_string());
        return Err(format!("the size of its lkl_host_ops is {found}, and not {known}"));
    }
    if crate::configuration::is_running() != Some(false) {
        return Err("its kernel runs already".to_owned());
    }
    // SAFETY: LKL's function of this name has this signature (lib/virtio.h).
    let process = unsafe { std::mem::transmute::<*mut c_void, lkl_sys::ProcessQueue>(process) };
    // SAFETY: LKL's structure, of the size that is known; this is called by its constructor
    // for its first device, before it starts the kernel.
    match unsafe { lkl_netdev::take_over(host.cast(), process) } {
        true => Ok(()),
        false => Err("it lacks an operation".to_owned()),
    }
}

fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a C string; looking a symbol up has no other precondition.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!symbol.is_null()).then_some(symbol)
}

/// The size that a library says a variable of its has.
fn size_of_symbol(address: *mut c_void) -> Option<usize> {
    /// dladdr1(3): fill in the symbol.
    const RTLD_DL_SYMENT: c_int = 1;
    let mut info = libc::Dl_info {
        dli_fname: null(),
        dli_fbase: null_mut(),
        dli_sname: null(),
        dli_saddr: null_mut(),
    };
    let mut entry: *const libc::Elf64_Sym = null();
    let extra = (&raw mut entry).cast::<*mut c_void>();
    // SAFETY: pointers to what the call fills in.
    let known = unsafe { libc::dladdr1(address, &mut info, extra, RTLD_DL_SYMENT) } != 0;
    // SAFETY: it points into the library's symbol table, which stays mapped with it.
    (known && !entry.is_null()).then(|| unsafe { (*entry).st_size } as usize)
}

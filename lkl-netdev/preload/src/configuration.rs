//! What LKL has made of its configuration. Of one that it cannot read it starts no kernel, lets the
//! program run on the host's network, and says so on standard output, which may be a link.
#![allow(unsafe_code)]
// Unsafe lives here to run when the library is loaded, and to ask LKL a question.

use std::ffi::{OsString, c_int};
use std::path::PathBuf;

/// After LKL's own constructor: the libraries of `LD_PRELOAD` start from the last on.
#[used]
// The dynamic linker calls functions of this type; one that panics ends the program.
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = check;

extern "C" fn check() {
    match is_running() {
        Some(false) => {}
        Some(true) => return lkl_netdev::up(),
        None => return,
    }
    // LKL's choice of a file. One that cannot be opened it complains of by itself.
    let path = std::env::var_os("LKL_HIJACK_CONFIG_FILE");
    let path = PathBuf::from(path.unwrap_or_else(|| OsString::from("lkl-hijack.json")));
    let Ok(text) = std::fs::read(&path) else { return };
    let why = match serde_json::from_slice::<serde_json::Value>(&text) {
        Ok(_) => "JSON, but LKL does not take it".to_owned(),
        Err(error) => format!("no JSON: {error}"),
    };
    let what = format_args!("{why}. There is no LKL in this process: mend the file");
    lkl_netdev::say(&path.to_string_lossy(), what);
}

/// Whether LKL's kernel runs; `None` without LKL.
pub fn is_running() -> Option<bool> {
    // SAFETY: a constant C string; looking a symbol up has no other precondition.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"lkl_is_running".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: LKL's function of this name has this signature (host_ops.h).
    let function: extern "C" fn() -> c_int = unsafe { std::mem::transmute(symbol) };
    Some(function() != 0)
}

//! The library itself, loaded as the dynamic linker loads it.
#![allow(unsafe_code)]
// Unsafe lives here to call the library through its one symbol.

#[path = "../../tests/double/mod.rs"]
mod double;

use std::ffi::CString;

use double::{Fifos, Guest, frame};
use lkl_sys::NetdevPipeCreate;

fn library() -> NetdevPipeCreate {
    let mut path = std::env::current_exe().unwrap();
    path.set_file_name("liblkl_netdev_preload.so");
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the library's constructor only looks for LKL, which is not here.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null(), "{} is not there", path.display());
    // SAFETY: a live handle and a constant C string.
    let symbol = unsafe { libc::dlsym(handle, c"lkl_netdev_pipe_create".as_ptr()) };
    assert!(!symbol.is_null());
    // SAFETY: the symbol has LKL's signature, see `lkl.h`.
    unsafe { std::mem::transmute(symbol) }
}

fn create(ifname: &str) -> *mut lkl_sys::Netdev {
    let name = CString::new(ifname).unwrap();
    // SAFETY: a C string.
    unsafe { library()(name.as_ptr(), 0x8883) }
}

#[test]
fn the_symbol_makes_devices_that_find_each_other() {
    let fifos = Fifos::new();
    let (left, right) = fifos.names();
    let (left, right) = (Guest::add(create(&left), 4096), Guest::add(create(&right), 4096));
    std::thread::scope(|scope| {
        scope.spawn(|| (0..5000).for_each(|n| left.send(&frame(n))));
        scope.spawn(|| (0..5000).for_each(|n| right.send(&frame(n))));
        (0..5000).for_each(|n| assert!(right.recv() == frame(n)));
        (0..5000).for_each(|n| assert!(left.recv() == frame(n)));
    });
}

/// Where LKL lacks what is needed for it (here there is none at all), devices work without.
#[test]
fn who_asks_is_told_once_whether_threads_look() {
    if std::env::var_os("STDPKT_LOOK").is_some() {
        return the_symbol_makes_devices_that_find_each_other();
    }
    let told = |look: &str| {
        let out = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "who_asks_is_told_once_whether_threads_look"])
            .env("STDPKT_LOOK", look)
            .output()
            .unwrap();
        let err = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success(), "{err}");
        err
    };
    let line = told("tell");
    assert_eq!(
        line.matches("no thread looks while it waits: this LKL has no lkl_host_ops").count(),
        1
    );
    assert_eq!((told("on"), told("off")), (String::new(), String::new()));
}

#[test]
fn names_that_lead_nowhere_make_no_device() {
    for bad in ["", "x", "a|b|c", "/nonexistent|/nonexistent", "/dev/null|/dev/null"] {
        assert!(create(bad).is_null(), "{bad}");
    }
    let fifos = Fifos::new();
    let name = CString::new(fifos.names().0).unwrap();
    // SAFETY: a C string.
    assert!(unsafe { library()(name.as_ptr(), 1 << 20) }.is_null(), "an unknown offload bit");
    // SAFETY: null is allowed.
    assert!(unsafe { library()(std::ptr::null(), 0) }.is_null());
}

#[test]
fn nothing_but_the_one_symbol_is_exported() {
    let mut path = std::env::current_exe().unwrap();
    path.set_file_name("liblkl_netdev_preload.so");
    let Ok(nm) = std::process::Command::new("nm").args(["-D", "--defined-only"]).arg(path).output()
    else {
        return say::line!("skipped: nm is not installed");
    };
    let text = String::from_utf8(nm.stdout).unwrap();
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(names, ["lkl_netdev_pipe_create"]);
}

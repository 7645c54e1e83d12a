//! Where `LKL_DIR` is set, makes bindings from LKL's own headers. Nothing is linked.

mod bindings;

use std::path::PathBuf;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(lkl_headers)");
    println!("cargo::rerun-if-env-changed=LKL_DIR");
    println!("cargo::rerun-if-changed=bindings.rs");
    let Some(dir) = std::env::var_os("LKL_DIR").filter(|dir| !dir.is_empty()) else { return };
    let include = PathBuf::from(dir).join("include");
    let header = include.join("lkl_host.h");
    println!("cargo::rerun-if-changed={}", header.display());
    if !header.is_file() {
        println!(
            "cargo::error=LKL_DIR: there is no {}; name the directory that holds include/ and \
             lib/ of a built LKL (its tools/lkl), or unset LKL_DIR",
            header.display()
        );
        return;
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("lkl.rs");
    let write = |text| std::fs::write(out, text).map_err(|error| error.to_string());
    match bindings::of(&include).map(|made| made.and_then(write)) {
        Some(Ok(())) => println!("cargo::rustc-cfg=lkl_headers"),
        Some(Err(why)) => println!("cargo::error=LKL_DIR: no bindings of its headers: {why}"),
        None => println!("cargo::warning=no bindings of LKL's headers: libclang is missing"),
    }
}

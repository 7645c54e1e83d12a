//! Where `LKL_DIR` is set, makes bindings from LKL's own headers, with which
//! the declarations of `src/lib.rs` are compared. Nothing is linked.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(lkl_headers)");
    println!("cargo::rerun-if-env-changed=LKL_DIR");
    println!("cargo::rerun-if-changed=wrapper.h");
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
    // bindgen panics where it finds no libclang; the workspace builds without.
    match std::panic::catch_unwind(|| generate(&include)) {
        Ok(Ok(())) => println!("cargo::rustc-cfg=lkl_headers"),
        Ok(Err(why)) => println!("cargo::warning=no bindings of LKL's headers: {why}"),
        Err(_) => println!("cargo::warning=no bindings of LKL's headers: libclang is missing"),
    }
}

fn generate(include: &Path) -> Result<(), String> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let bindings = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_arg(format!("-I{}", include.display()))
        .allowlist_type("lkl_netdev|lkl_dev_net_ops|lkl_netdev_args")
        .allowlist_function("lkl_netdev_(add|remove|free|pipe_create)")
        .allowlist_var("LKL_DEV_NET_POLL_.*")
        .derive_debug(false)
        .layout_tests(false)
        .generate()
        .map_err(|error| error.to_string())?;
    bindings.write_to_file(out.join("lkl.rs")).map_err(|error| error.to_string())
}

//! What the library is linked with.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // libvdeplug closes a plugin with its last connection. What this one shows to
    // `stdpkt ls` is there once a process, and is to be found again by the next.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}

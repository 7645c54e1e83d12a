//! Bindings of LKL's headers, for the build script and for the tests.

use std::panic::catch_unwind;
use std::path::Path;

/// What bindgen makes of the headers in `include`, or one line that says why it
/// makes nothing; `None` where there is no libclang.
pub fn of(include: &Path) -> Option<Result<String, String>> {
    let make = || {
        bindgen::Builder::default()
            .header_contents("wrapper.h", "#include <lkl_host.h>")
            .clang_arg(format!("-I{}", include.display()))
            .allowlist_type("lkl_netdev|lkl_dev_net_ops|lkl_netdev_args|lkl_host_operations")
            .allowlist_function("lkl_netdev_(add|remove|free|pipe_create)")
            .allowlist_var("LKL_DEV_NET_POLL_.*")
            .derive_debug(false)
            .generate()
    };
    // Without libclang, bindgen panics; the workspace builds without.
    let made = catch_unwind(make).ok()?;
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    Some(made.map(|bindings| bindings.to_string()).map_err(|why| first_line(why.to_string())))
}

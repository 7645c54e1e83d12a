//! Programs in C.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Compiles `text` to the program `to` with each compiler that there is, and shows it to
/// `check`. Without one nothing is tested, which is said, and forbidden where all has to
/// be there.
pub fn with_each_compiler(text: &str, to: &Path, check: impl Fn(&str)) {
    let mut any = false;
    for compiler in ["gcc", "clang"] {
        let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
        let mut command = Command::new(compiler);
        command.args(["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2", include]);
        command.args(["-x", "c", "-", "-o"]).arg(to).stdin(Stdio::piped());
        let Ok(mut child) = command.spawn() else { continue };
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{compiler}");
        any = true;
        check(compiler);
    }
    if !any {
        let all = std::env::var_os("STDPKT_TESTS_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(!all, "for want of gcc or clang");
        say::line!("skipped, for want of gcc or clang");
    }
}

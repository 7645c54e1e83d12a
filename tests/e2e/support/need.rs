//! What a test needs, and what to say where it is not there.
//!
//! A test that lacks something says so on standard error and ends. With
//! `STDPKT_TESTS_REQUIRE_ALL=1` lacking something is a failure.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Ends the test, with a word on standard error, unless all of it is there.
macro_rules! need {
    ($($what:expr),* $(,)?) => {
        if !$crate::support::need::have(&[$($what),*]) {
            return;
        }
    };
}

/// [`need!`], and what every function needs.
macro_rules! need_functions {
    ($($what:expr),* $(,)?) => {
        need!("/dev/net/tun", "namespaces" $(, $what)*)
    };
}

pub(crate) use {need, need_functions};

/// Whether all of `needs` is there: programs by name, devices by path,
/// `root`, and `namespaces`.
pub fn have(needs: &[&str]) -> bool {
    let lacking: Vec<String> = needs.iter().filter_map(|what| lacks(what)).collect();
    if lacking.is_empty() {
        return true;
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let all = std::env::var_os("STDPKT_TESTS_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!all, "lacking: {}", lacking.join(", "));
    // Not eprintln!, which the test harness keeps to itself when all is well.
    let _ = writeln!(std::io::stderr(), "{test}: skipped, for want of {}", lacking.join(", "));
    false
}

/// What is missing of `what`.
fn lacks(what: &str) -> Option<String> {
    let there = match what {
        "root" => rustix::process::geteuid().is_root(),
        "namespaces" => namespaces(),
        path if path.starts_with('/') => {
            OpenOptions::new().read(true).write(true).open(path).is_ok()
        }
        program => program_path(program).is_some(),
    };
    let name = match what {
        "root" => "the rights of root",
        "namespaces" => "the right to make user or network namespaces",
        other => other,
    };
    (!there).then(|| name.to_owned())
}

/// Where `program` is, as the shell would find it.
pub fn program_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path(None)).map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// `PATH` with `first` before it, and with where iptables and ip are.
pub fn search_path(first: Option<PathBuf>) -> std::ffi::OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let all = first.into_iter().chain(std::env::split_paths(&inherited)).chain(usual);
    std::env::join_paths(all).expect("no colon in a directory of PATH")
}

fn namespaces() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let flags = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
        Command::new("unshare")
            .args([flags, "true"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

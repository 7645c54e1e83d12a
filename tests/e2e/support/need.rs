//! What a test needs, and what to say where it is not there.
//!
//! A test that lacks something says so on standard error and ends. With
//! `STDPKT_TESTS_REQUIRE_ALL=1` lacking something is a failure, the words of
//! `STDPKT_TESTS_MAY_LACK` apart.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
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
/// `root`, `namespaces` for whoever runs this, `user namespaces` for ordinary
/// users, `two processors` for at least as many, `LKL_DIR` for a built LKL there, `guest kernel` for one in `/boot` with its modules, `vde_plug slirp://` for that plugin
/// and so on, `dpdk vhost` for that driver, `libpcap` for whoever filters.
pub fn have(needs: &[&str]) -> bool {
    let lacking: Vec<&str> = needs.iter().copied().filter(|what| !is_there(what)).collect();
    if lacking.is_empty() {
        return true;
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let all = std::env::var_os("STDPKT_TESTS_REQUIRE_ALL").is_some_and(|value| value == "1");
    let excused = std::env::var("STDPKT_TESTS_MAY_LACK").unwrap_or_default();
    let excused =
        |what: &&str| *what == "LKL_DIR" || excused.split_whitespace().any(|word| word == *what);
    assert!(!all || lacking.iter().all(excused), "lacking: {}", lacking.join(", "));
    say::line!("{test}: skipped, for want of {}", lacking.join(", "));
    false
}

fn is_there(what: &str) -> bool {
    match what {
        "two processors" => {
            rustix::thread::sched_getaffinity(None).is_ok_and(|ours| ours.count() > 1)
        }
        "root" => rustix::process::geteuid().is_root(),
        "namespaces" => namespaces(),
        "user namespaces" => user_namespaces(),
        "LKL_DIR" => lkl_dir().is_some(),
        "guest kernel" => guest_kernel().is_some(),
        "vde_plug slirp://" => has_file("/usr/lib/*/vdeplug/libvdeplug_slirp.so"),
        "vde_plug vlan://" => has_file("/usr/lib/*/vdeplug/libvdeplug_vlan.so"),
        "vde_plug agno://" => has_file("/usr/lib/*/vdeplug/libvdeplug_agno.so"),
        "libpcap" => has_file("/usr/lib/*/libpcap.so*"),
        "dpdk vhost" => has_file("/usr/lib/*/dpdk/pmds-*/librte_net_vhost.so*"),
        device if device.starts_with('/') => {
            OpenOptions::new().read(true).write(true).open(device).is_ok()
        }
        program => program_path(program).is_some(),
    }
}

/// The LKL to test with.
pub fn lkl_dir() -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os("LKL_DIR")?);
    dir.join("lib/hijack/liblkl-hijack.so").is_file().then_some(dir)
}

/// The newest kernel of this host whose modules are there, and where these are.
pub fn guest_kernel() -> Option<(PathBuf, PathBuf)> {
    let names = std::fs::read_dir("/boot").ok()?.flatten();
    let mut names: Vec<_> = names.filter_map(|it| it.file_name().into_string().ok()).collect();
    names.sort();
    let versions = names.iter().rev().filter_map(|name| name.strip_prefix("vmlinuz-"));
    let both = versions.map(|version| {
        let modules = Path::new("/lib/modules").join(version).join("kernel");
        (Path::new("/boot").join(format!("vmlinuz-{version}")), modules)
    });
    let mut both = both.filter(|(_, modules)| modules.join("drivers/net/virtio_net.ko").exists());
    both.next()
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
    let flags = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    *CAN.get_or_init(|| succeeds("unshare", &[flags, "true"]))
}

fn user_namespaces() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    let ordinary = ["--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-rn", "true"];
    *CAN.get_or_init(|| match rustix::process::geteuid().is_root() {
        true => succeeds("setpriv", &ordinary),
        false => succeeds("unshare", &["-rn", "true"]),
    })
}

fn has_file(pattern: &str) -> bool {
    succeeds("sh", &["-c", &format!("ls {pattern} >/dev/null")])
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).current_dir("/").stdin(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

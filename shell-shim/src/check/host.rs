//! The kernel, its settings and limits.

use nix::sys::inotify::{InitFlags, Inotify};
use rustix::process::{Resource, getrlimit};
use shmring::RuntimeDir;

use super::Item;
use crate::filters::filter;
use crate::stack::{bpf, sysctl};

/// Rings are mapped in pages of that size.
const PAGE: usize = 4096;
/// Links want pipes as large as that.
const PIPE: u64 = 1 << 20;
/// Open files of a function with several links, comfortably.
const FILES: u64 = 1024;

/// What functions need of a kernel.
pub fn items() -> Vec<Item> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let machine = uname.machine().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let kernel = format!("Linux {release} on {machine}");
    let page = rustix::param::page_size();
    vec![
        match version >= (5, 4) {
            true => Item::ok("kernel", kernel),
            false => Item::missing("kernel", kernel, "5.4 or later is needed"),
        }
        .needed(),
        match page {
            PAGE => Item::ok("pages", "of 4 KiB"),
            _ => Item::limited("pages", format!("of {page} bytes"), "no rings: use --channel fifo"),
        },
        match RuntimeDir::for_user() {
            Ok(dir) => match dir.path() {
                Some(path) => Item::ok("runtime directory", path.display().to_string()),
                None => Item::limited(
                    "runtime directory",
                    "none",
                    "neighbours in different network namespaces need one: SHMRING_RUNTIME_DIR",
                ),
            },
            Err(error) => Item::missing("runtime directory", "none", error.to_string()),
        }
        .needed(),
    ]
}

/// What there may be too little of.
pub fn limits() -> Vec<Item> {
    vec![processors(), files(), pipes(), inotify(), congestion_control(), libpcap(), xdp()]
}

fn processors() -> Item {
    match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => Item::limited("processors", "1", "functions take turns: rates say little here"),
        count => Item::ok("processors", count.to_string()),
    }
}

fn files() -> Item {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let found = format!("{limit} for a process");
    match limit {
        FILES.. => Item::ok("open files", found),
        _ => Item::limited("open files", found, format!("ulimit -n {FILES} for many links")),
    }
}

fn pipes() -> Item {
    let number = |path| sysctl::read(path)?.parse::<u64>().ok();
    let most = number("fs/pipe-max-size").unwrap_or(PIPE);
    let pages = number("fs/pipe-user-pages-soft").unwrap_or(0);
    let found = format!("up to {most} bytes, {pages} pages for a user");
    if most < PIPE {
        return Item::limited(
            "pipes",
            found,
            format!("sysctl fs.pipe-max-size={PIPE} for --channel fifo"),
        );
    }
    Item::ok("pipes", found)
}

fn inotify() -> Item {
    let all =
        |what: &str| sysctl::read(&format!("fs/inotify/{what}")).unwrap_or_else(|| "?".to_owned());
    let found = format!(
        "{} instances, {} watches for a user",
        all("max_user_instances"),
        all("max_user_watches")
    );
    match Inotify::init(InitFlags::IN_CLOEXEC) {
        Ok(_) => Item::ok("inotify", found),
        Err(errno) => Item::missing(
            "inotify",
            format!("{found}: {}", errno.desc()),
            "no stdpkt uplink: sysctl fs.inotify.max_user_instances=1024",
        ),
    }
}

fn xdp() -> Item {
    match bpf::can_load() {
        true => Item::ok(
            "XDP",
            "a function can bring its program (--setup 'ip link set ... xdp obj FILE')",
        ),
        false => Item::limited("XDP", "no program can be loaded", bpf::WAY_OUT),
    }
}

fn congestion_control() -> Item {
    let now = sysctl::read("net/ipv4/tcp_congestion_control").unwrap_or_default();
    let may = sysctl::read("net/ipv4/tcp_allowed_congestion_control").unwrap_or_default();
    let found = format!("{now}; allowed to functions: {may}");
    if now.starts_with("bbr") {
        return Item::ok("congestion control", format!("{found}; functions begin with reno"));
    }
    Item::ok("congestion control", found)
}

fn libpcap() -> Item {
    match filter::compiles() {
        Ok(()) => Item::ok("libpcap", "for stdpkt filter"),
        Err(error) => Item::missing("libpcap", "no stdpkt filter", format!("{error:#}")),
    }
}

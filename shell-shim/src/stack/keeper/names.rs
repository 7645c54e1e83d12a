//! Name servers of the function's own (`--dns`).

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;

use anyhow::{Result, anyhow, ensure};
use rustix::fs::CWD;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::view::{attach, tree};

/// Where resolvers look, resolv.conf(5).
const FILE: &str = "/etc/resolv.conf";
/// A directory that every system has, for the moment that the file is made in.
const PLACE: &str = "/proc";

/// Mounts a file that names `servers` over the host's.
///
/// # Errors
/// One line with the way out, where it cannot be.
pub(super) fn ask(servers: &[IpAddr], mounts_are_own: bool) -> Result<()> {
    ensure!(mounts_are_own, "--dns: mounts cannot be kept from the host here: leave it out");
    // It may be a symbolic link, which itself cannot be mounted over.
    let host = fs::canonicalize(FILE).map_err(|error| {
        anyhow!("--dns: {FILE}: {error}: have root make that file, for it to be covered")
    })?;
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    // No directory is anybody's: a file system in memory is over one while the file is made.
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let made = mount("tmpfs", PLACE, "tmpfs", flags, c"mode=755").and_then(|()| {
        let path = format!("{PLACE}/resolv.conf");
        let file = fs::write(&path, text).map_err(|_| rustix::io::Errno::IO);
        let file = file.and_then(|()| tree(CWD, &path));
        unmount(PLACE, UnmountFlags::DETACH).and(file)
    });
    made.and_then(|file| attach(&file, CWD, &host))
        .map_err(|errno| anyhow!("--dns: {} cannot be covered here: {errno}", host.display()))
}

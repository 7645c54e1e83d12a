//! What a function's programs see of the machine: `/proc`, `/sys` and `/run` of their own.
//!
//! Each is a comfort, and each may fail: without privileges the kernel allows a
//! `/proc` or `/sys` only where the present one hides nothing (`mount_too_revealing`
//! in `fs/namespace.c`), as it does in many containers. Then the host's stays, and
//! `-v` tells.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, StatVfsMountFlags, mkdirat, open, openat,
    readlinkat, stat, statat, statvfs, symlinkat,
};
use rustix::io::{Errno, Result};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, move_mount, open_tree, unmount,
};

/// Where programs keep what is of this boot only. One is a symbolic link to the
/// other, mostly.
const RUN: [&str; 2] = ["/run", "/var/run"];
/// What belongs to a network stack there: the names of namespaces (ip-netns(8)) and
/// the lock of who changes its rules.
const OF_THE_STACK: [&[u8]; 2] = [b"netns", b"xtables.lock"];
/// File systems below `/sys` that know nothing of network namespaces.
const BELOW_SYS: [&str; 4] =
    ["/sys/fs/bpf", "/sys/fs/cgroup", "/sys/kernel/debug", "/sys/kernel/tracing"];

/// Mounts all of them over the host's. This process must have a mount namespace
/// of its own. Whether what else is mounted stays in it.
pub(super) fn mount_own() -> bool {
    // First of all, nothing may propagate to the host.
    let here = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    if let Err(errno) = mount_change("/", here) {
        say::detail!("mounts cannot be kept from the host, so all are the host's: {errno}");
        return false;
    }
    let views = RUN.map(|place| (place, own_run(place)));
    let views = views.into_iter().chain([("/sys", own_sys()), ("/proc", own_proc())]);
    for (place, made) in views {
        if let Err(errno) = made {
            say::detail!("{place} stays the host's inside the function: {errno}");
        }
    }
    true
}

fn own_proc() -> Result<()> {
    mount("proc", "/proc", "proc", plain(), None)
}

/// A `/sys` that shows this network namespace, and the host's other file systems
/// below it.
fn own_sys() -> Result<()> {
    let host = stat("/sys")?.st_dev;
    let is_other = |place: &str| stat(place).is_ok_and(|it| it.st_dev != host);
    let below = BELOW_SYS.into_iter().filter(|place| is_other(place));
    let below: Vec<_> = below.filter_map(|place| Some((place, tree(CWD, place).ok()?))).collect();
    // Where the host's is read-only, as in containers, another may not be more.
    let read_only = statvfs("/sys")?.f_flag.contains(StatVfsMountFlags::RDONLY);
    let flags = if read_only { plain() | MountFlags::RDONLY } else { plain() };
    mount("sysfs", "/sys", "sysfs", flags, None)?;
    all_or_nothing("/sys", below.iter().try_for_each(|(place, tree)| attach(tree, CWD, *place)))
}

/// A `place` in which all stands that the host has there now, but what is of the
/// network stack. What is made there stays in the function: names that the host
/// does not have could not be hidden otherwise, nor made by ordinary users.
fn own_run(place: &str) -> Result<()> {
    let directory = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let host = match open(place, directory, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        opened => opened?,
    };
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", place, "tmpfs", flags, c"mode=755")?;
    let own = open(place, directory | OFlags::PATH, Mode::empty());
    all_or_nothing(place, own.and_then(|own| show(&host, &own)))
}

/// Takes away what was mounted at `place` unless all below it could be, too.
fn all_or_nothing(place: &str, below: Result<()>) -> Result<()> {
    below.inspect_err(|_| {
        let _ = unmount(place, UnmountFlags::DETACH);
    })
}

/// Puts what is in the directory `host` into the empty directory `own`.
fn show(host: &OwnedFd, own: &OwnedFd) -> Result<()> {
    for entry in Dir::read_from(host)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || OF_THE_STACK.contains(&name.to_bytes()) {
            continue;
        }
        match show_one(host, own, name, entry.file_type()) {
            Err(Errno::NOENT) => {} // gone meanwhile
            shown => shown?,
        }
    }
    Ok(())
}

fn show_one(host: &OwnedFd, own: &OwnedFd, name: &CStr, kind: FileType) -> Result<()> {
    let kind = match kind {
        FileType::Unknown => {
            FileType::from_raw_mode(statat(host, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
        }
        known => known,
    };
    if kind == FileType::Symlink {
        return symlinkat(readlinkat(host, name, Vec::new())?, own, name);
    }
    let tree = tree(host.as_fd(), name)?;
    match kind {
        FileType::Directory => mkdirat(own, name, Mode::from(0o755))?,
        _ => drop(openat(own, name, OFlags::CREATE | OFlags::CLOEXEC, Mode::from(0o600))?),
    }
    attach(&tree, own.as_fd(), name)
}

/// A copy of a file or directory with all that is mounted below it.
pub(super) fn tree(dir: BorrowedFd<'_>, path: impl rustix::path::Arg) -> Result<OwnedFd> {
    let all = OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_NO_AUTOMOUNT;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(dir, path, all | flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)
}

pub(super) fn attach(
    tree: &OwnedFd,
    dir: BorrowedFd<'_>,
    path: impl rustix::path::Arg,
) -> Result<()> {
    move_mount(tree, c"", dir, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn plain() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC
}

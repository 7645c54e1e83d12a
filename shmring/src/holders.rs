//! Who holds a pipe, as far as `/proc` tells.
//!
//! For words to the user and for guesses: what a process shows here it can make
//! up, and it may be gone a moment later.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

/// Longest name of a program, as the kernel keeps it (`TASK_COMM_LEN` of
/// linux/sched.h, without the final zero).
const NAME_LEN: usize = 15;

/// Processes that count as near, and so many of theirs: a pipeline seldom has more parts.
const NEAR: usize = 16;

/// A process that has a pipe open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The user it belongs to, as our user namespace has it.
    pub uid: u32,
    /// Its program's name, at most 15 characters, none of them for control.
    pub program: String,
    /// `(st_dev, st_ino)` of what it executes, where that is ours to know.
    pub exe: Option<(u64, u64)>,
    /// Whether it can read the pipe.
    pub reads: bool,
    /// Whether it can write the pipe.
    pub writes: bool,
}

/// The other holders of a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    /// Those that were found, by process id.
    pub found: Vec<Holder>,
    /// Whether there are processes that are not ours to look at.
    pub hidden: bool,
}

/// Looks for the processes, this one apart, that have the pipe or FIFO with this
/// `(st_dev, st_ino)` open. Those of a Unix socket are not found.
pub fn holders(pipe: (u64, u64)) -> Holders {
    let mut all = Holders { found: Vec::new(), hidden: false };
    let Ok(processes) = fs::read_dir("/proc") else {
        return Holders { hidden: true, ..all };
    };
    for process in processes.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.filter(|&pid| pid != std::process::id()) else { continue };
        let process = process.path();
        match access(&process, pipe) {
            Some((false, false)) => {}
            Some((reads, writes)) => all.found.extend(describe(pid, &process, reads, writes)),
            // One that has ended meanwhile hides nothing.
            None => all.hidden |= process.exists(),
        }
    }
    all.found.sort_by_key(|holder| holder.pid);
    all
}

/// The first of the holders that are near which is `wanted`: those that our parent process
/// started just before and after us, as a shell does with the parts of a pipeline,
/// and what these started. Unlike [`holders`] this does not take longer where there are more
/// processes.
pub fn nearest(pipe: (u64, u64), wanted: impl Fn(&Holder) -> bool) -> Option<Holder> {
    let parent = rustix::process::getppid()?.as_raw_nonzero().get();
    let near = around(&children(parent as u32), std::process::id());
    let below: Vec<_> = near.iter().flat_map(|&pid| children(pid)).take(NEAR).collect();
    near.into_iter().chain(below).find_map(|pid| {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let (reads, writes) = access(&process, pipe)?;
        let holder = describe(pid, &process, reads, writes)?;
        ((reads || writes) && wanted(&holder)).then_some(holder)
    })
}

/// Those next to `own` in a list, the nearest first.
fn around(all: &[u32], own: u32) -> Vec<u32> {
    let Some(at) = all.iter().position(|&pid| pid == own) else { return Vec::new() };
    let mut near: Vec<_> = (0..all.len()).filter(|&other| other != at).collect();
    near.sort_by_key(|other| other.abs_diff(at));
    near.into_iter().take(NEAR).map(|other| all[other]).collect()
}

/// The processes that one has started and that live, in that order.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = |list: String| {
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
    };
    lists.flat_map(pids).collect()
}

/// The parent of a process.
pub fn parent(pid: u32) -> Option<u32> {
    status(pid, "PPid:")?.trim().parse().ok()
}

/// The id by which a process knows itself, in the pid namespace that it is in.
pub(crate) fn own_id(pid: u32) -> Option<u32> {
    status(pid, "NSpid:")?.split_whitespace().last()?.parse().ok()
}

/// A line of `/proc/PID/status`, without its name.
fn status(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
}

/// What a process executes.
pub fn exe(pid: u32) -> Option<(u64, u64)> {
    fs::metadata(format!("/proc/{pid}/exe")).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// A process, for people: `` `stdpkt` (pid 12) ``.
pub fn name(pid: u32) -> String {
    match program(Path::new(&format!("/proc/{pid}"))) {
        Some(program) if pid != 0 => format!("`{program}` (pid {pid})"),
        _ => "a process that cannot be seen from here".to_owned(),
    }
}

/// A user, for people: the name, else the number.
pub fn user(uid: u32) -> String {
    let all = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = all.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let named = entry.into_iter().find(|entry| entry.get(2) == Some(&uid.to_string().as_str()));
    let name = named.and_then(|entry| entry.first().copied().map(str::to_owned));
    match name.filter(|name| !name.is_empty() && !name.contains(char::is_control)) {
        Some(name) => format!("user {name}"),
        None => format!("user {uid}"),
    }
}

/// Whether a process has `pipe` open for reading, and for writing; `None` where
/// that is not ours to see.
fn access(process: &Path, pipe: (u64, u64)) -> Option<(bool, bool)> {
    let anonymous = format!("pipe:[{}]", pipe.1);
    let (mut reads, mut writes) = (false, false);
    for fd in fs::read_dir(process.join("fd")).ok()?.flatten().map(|fd| fd.path()) {
        let Ok(link) = fs::read_link(&fd) else { continue };
        // Anything else has another kind of name: `socket:[1]`, `anon_inode:[eventfd]`.
        let may_be = link.as_os_str() == anonymous.as_str() || link.is_absolute();
        if may_be && identity(&fd) == Some(pipe) {
            // The link's own mode says how it was opened: bits 0400 and 0200.
            let mode = fs::symlink_metadata(&fd).map_or(0, |meta| meta.mode());
            reads |= mode & 0o400 != 0;
            writes |= mode & 0o200 != 0;
        }
    }
    Some((reads, writes))
}

/// What is behind a link, without asking a file system that may not answer.
fn identity(fd: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statx(CWD, fd, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some((rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino))
}

/// `None` when it has ended meanwhile.
fn describe(pid: u32, process: &Path, reads: bool, writes: bool) -> Option<Holder> {
    let program = program(process)?;
    let uid = fs::metadata(process).ok()?.uid();
    Some(Holder { pid, uid, program, exe: exe(pid), reads, writes })
}

fn program(process: &Path) -> Option<String> {
    let name = fs::read(process.join("comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    let name = name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c });
    Some(name.take(NAME_LEN).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
    use std::process::{Child, Command, Stdio};

    fn id(fd: impl std::os::fd::AsFd) -> (u64, u64) {
        let stat = rustix::fs::fstat(fd).unwrap();
        (stat.st_dev, stat.st_ino)
    }

    fn find(pipe: (u64, u64), child: &Child) -> Holder {
        let found = holders(pipe).found;
        let own = found.iter().find(|holder| holder.pid == child.id());
        own.unwrap_or_else(|| panic!("{found:?}")).clone()
    }

    /// Until the child has begun to execute its program, it is a copy of this one.
    fn wait_for(program: &str, look: impl Fn() -> Holder) -> Holder {
        for _ in 0..1000 {
            let holder = look();
            if holder.program == program {
                return holder;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("never {program}: {:?}", look());
    }

    #[test]
    fn the_reader_of_a_pipe_is_named() {
        let (read, write) = std::io::pipe().unwrap();
        let mut child = Command::new("cat").stdin(read).stdout(Stdio::null()).spawn().unwrap();
        let holder = wait_for("cat", || find(id(&write), &child));
        assert!(holder.reads && !holder.writes, "{holder:?}");
        assert_eq!(holder.uid, rustix::process::geteuid().as_raw());
        assert_eq!(holder.exe, exe(child.id()));
        let pipe = id(&write);
        drop(write);
        child.wait().unwrap();
        assert_eq!(holders(pipe).found, []);
    }

    #[test]
    fn who_was_started_just_before_and_after_is_nearest() {
        assert_eq!(around(&[10, 20, 30, 40, 50], 30), [20, 40, 10, 50]);
        assert_eq!(around(&[30, 40, 50], 30), [40, 50]);
        assert_eq!(around(&[10, 20], 30), []);
        let many: Vec<u32> = (1..1000).collect();
        assert_eq!(around(&many, 500).len(), NEAR);
    }

    #[test]
    fn our_own_children_are_known() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(children(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_fifo_is_known_by_its_inode_whatever_its_name() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("fifo");
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let both = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let pipe = id(&both);
        let mut child = Command::new("sleep").arg("1000").stdin(both).spawn().unwrap();
        fs::rename(&path, scratch.path().join("other")).unwrap();
        let holder = wait_for("sleep", || find(pipe, &child));
        assert!(holder.reads && holder.writes, "{holder:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

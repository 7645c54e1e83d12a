//! Who reads a pipe that we write, as far as `/proc` tells.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is known of the other end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A program like this one, which will be ready in a moment.
    Aware,
    /// Another program.
    Other,
    /// Nobody yet, a shell that may become either, or not ours to look at.
    Unknown,
}

/// Looks for the readers of a pipe, by its inode.
pub(super) fn reader_of(pipe: u64) -> Reader {
    let us = exe("self");
    let parent =
        exe(&rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get()).to_string());
    let target = format!("pipe:[{pipe}]");
    let mut found = Reader::Unknown;
    let Ok(processes) = fs::read_dir("/proc") else { return found };
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else { continue };
        if pid == std::process::id().to_string() || !reads(&process.path(), &target) {
            continue;
        }
        match exe(pid) {
            other if other.is_none() || other == parent => {}
            other if other == us => return Reader::Aware,
            _ => found = Reader::Other,
        }
    }
    found
}

/// What a process executes.
fn exe(pid: &str) -> Option<(u64, u64)> {
    fs::metadata(format!("/proc/{pid}/exe")).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Whether a process has `target` open for reading.
fn reads(process: &Path, target: &str) -> bool {
    let Ok(fds) = fs::read_dir(process.join("fd")) else { return false };
    fds.flatten().any(|fd| {
        // The link's own mode says how it was opened: bit 0400 for reading.
        fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == target)
            && fs::symlink_metadata(fd.path()).is_ok_and(|meta| meta.mode() & 0o400 != 0)
    })
}

//! What the host has to offer before anything can work, and what to say where
//! something ran out.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, ensure};
use rustix::process::{Resource, getrlimit};
use shmring::LinkError;

use crate::stack::keeper::search::{find, search_path};

/// Descriptors that a function with a few links needs, and some to spare.
const FILES: u64 = 64;

/// Checks what everything but a mere measurement needs.
///
/// # Errors
/// One line with the way out.
pub fn check() -> Result<()> {
    ensure!(
        Path::new("/proc/self/fd").exists(),
        "there is no /proc here: have root run `mount -t proc proc /proc`"
    );
    let files = getrlimit(Resource::Nofile);
    let allowed = files.current.unwrap_or(u64::MAX);
    let raise = match files.maximum {
        Some(most) if most < FILES => "have root raise the hard limit".to_owned(),
        _ => format!("raise it with `ulimit -n {FILES}`"),
    };
    ensure!(
        allowed >= FILES,
        "no more than {allowed} open files are allowed here (ulimit -n), {FILES} are needed: {raise}"
    );
    Ok(())
}

/// An error of what the host refuses, with where to read on.
pub fn see_check(error: Error) -> Error {
    match way_out(&error) {
        "" => anyhow::anyhow!("{error:#} (see stdpkt check)"),
        _ => error,
    }
}

/// Where a program is, in PATH or where Debian puts those for root.
pub fn find_program(name: &str) -> Option<PathBuf> {
    find(name, &search_path()).ok()
}

/// What to do about an error that says that something ran out.
pub fn way_out(error: &Error) -> &'static str {
    let ran_out = |errno| match errno {
        libc::EMFILE => Some(": raise the limit of open files (ulimit -n)"),
        libc::ENFILE => Some(": have root raise fs.file-max"),
        _ => None,
    };
    error.chain().find_map(errno_of).and_then(ran_out).unwrap_or_default()
}

fn errno_of(cause: &(dyn std::error::Error + 'static)) -> Option<i32> {
    if let Some(LinkError::System { errno, .. }) = cause.downcast_ref() {
        return Some(errno.raw_os_error());
    }
    if let Some(errno) = cause.downcast_ref::<nix::errno::Errno>() {
        return Some(*errno as i32);
    }
    if let Some(errno) = cause.downcast_ref::<rustix::io::Errno>() {
        return Some(errno.raw_os_error());
    }
    cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn what_ran_out_is_found_below_what_was_done() {
        let files = io::Error::from_raw_os_error(libc::EMFILE);
        assert!(way_out(&Error::from(files).context("a").context("b")).contains("ulimit -n"));
        let errno = Err::<(), _>(nix::errno::Errno::EMFILE).context("a").unwrap_err();
        assert!(way_out(&errno).contains("ulimit -n"));
        let link =
            LinkError::System { what: "x".into(), call: "open", errno: rustix::io::Errno::NFILE };
        assert!(way_out(&link.into()).contains("fs.file-max"));
        assert_eq!(way_out(&io::Error::from_raw_os_error(libc::ENOENT).into()), "");
    }
}

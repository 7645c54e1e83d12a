//! Where programs are looked for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

/// Where an unset or empty PATH has shells look.
const DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// The user's PATH.
pub(crate) fn user_path() -> OsString {
    std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT.into())
}

/// The user's PATH, and behind it the directories of `iptables` and the like,
/// which Debian gives to root alone: inside the function this user is root.
pub(crate) fn search_path() -> OsString {
    let mut path = user_path();
    for dir in ["/usr/sbin", "/sbin"] {
        if !std::env::split_paths(&path).any(|known| known == Path::new(dir)) {
            path.push(":");
            path.push(dir);
        }
    }
    path
}

/// Whether `program` is a name that is not in PATH at all.
pub(super) fn is_nowhere(program: &OsStr) -> bool {
    !program.as_bytes().contains(&b'/') && find(program, &search_path()) == Err(Errno::NOENT)
}

/// The file that is executed where PATH is `path`, as far as can be told without doing it.
///
/// # Errors
/// What exec(3) would say.
pub(crate) fn find(program: impl AsRef<OsStr>, path: &OsStr) -> Result<PathBuf, Errno> {
    let program = program.as_ref();
    let places: Vec<PathBuf> = match program.as_bytes().contains(&b'/') {
        true => vec![program.into()],
        false => std::env::split_paths(path).map(|dir| dir.join(program)).collect(),
    };
    let mut there = places.into_iter().filter(|path| path.exists()).peekable();
    if program.is_empty() || there.peek().is_none() {
        return Err(Errno::NOENT);
    }
    let may_run = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    there.find(may_run).ok_or(Errno::ACCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_executed_is_found_and_a_directory_is_not() {
        let find = |program: &str, path: &str| find(program, path.as_ref());
        let sh = find("sh", "/nonexistent:/bin:/usr/bin").unwrap();
        assert_eq!(find(sh.to_str().unwrap(), ""), Ok(sh));
        assert_eq!(find("bin", "/usr"), Err(Errno::ACCESS));
        assert_eq!(find("no such program", "/bin:/usr/bin"), Err(Errno::NOENT));
        assert_eq!(find("", "/bin"), Err(Errno::NOENT));
    }

    #[test]
    fn there_is_always_a_path() {
        assert!(std::env::split_paths(&search_path()).any(|dir| dir == Path::new("/usr/sbin")));
        assert!(!user_path().is_empty());
    }
}

//! Where programs are looked for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

/// Where an unset or empty PATH has shells look.
const DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// The user's PATH, and behind it the directories of `iptables` and the like,
/// which Debian gives to root alone: inside the function this user is root.
pub(crate) fn search_path() -> OsString {
    let given = std::env::var_os("PATH").filter(|path| !path.is_empty());
    let mut path = given.unwrap_or_else(|| DEFAULT.into());
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
    !program.as_bytes().contains(&b'/') && look_for(program) == Err(Errno::NOENT)
}

/// Whether `program` can be executed, as far as can be told without doing it.
///
/// # Errors
/// What exec(3) would say.
pub(super) fn look_for(program: &OsStr) -> Result<(), Errno> {
    let places: Vec<PathBuf> = match program.as_bytes().contains(&b'/') {
        true => vec![program.into()],
        false => std::env::split_paths(&search_path()).map(|dir| dir.join(program)).collect(),
    };
    let there: Vec<&PathBuf> = places.iter().filter(|path| path.exists()).collect();
    let may_run = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    match there.iter().any(|path| may_run(path)) {
        _ if program.is_empty() || there.is_empty() => Err(Errno::NOENT),
        true => Ok(()),
        false => Err(Errno::ACCESS),
    }
}

//! A directory for gates that are paths.

use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::error::LinkError;

/// A gate that is being made has another name, for no longer than this.
const MAKING: Duration = Duration::from_secs(60);

/// A place where neighbours can meet that come from different network namespaces: a
/// directory of the user's, 0700, no symlink. All others meet without.
#[derive(Debug, Clone)]
pub struct RuntimeDir {
    path: Option<PathBuf>,
}

impl RuntimeDir {
    /// The directory of this user: `SHMRING_RUNTIME_DIR` if it is set and not
    /// empty, else `/run/user/UID/shmring`, else `/tmp/shmring-UID`; none where there
    /// can be none.
    ///
    /// `XDG_RUNTIME_DIR` is not asked: two neighbours find each other only if
    /// both come to the same answer, and `su`, `sudo` and `cron` change it.
    ///
    /// # Errors
    /// [`LinkError::RuntimeDir`] when that of the environment cannot be made or is not
    /// safe, with the way out. That is never to change what the user named: it may be
    /// anybody's.
    pub fn for_user() -> Result<RuntimeDir, LinkError> {
        let named = std::env::var_os("SHMRING_RUNTIME_DIR").filter(|path| !path.is_empty());
        if let Some(path) = named {
            let path = Path::new(&path);
            let found = match path.is_absolute() {
                true => Self::at(path),
                false => Err(refusal(path, "is no path from /")),
            };
            return found.map_err(|error| {
                with_way_out(error, "unset SHMRING_RUNTIME_DIR, or set it to a new name in a directory that is there, for all functions alike")
            });
        }
        let uid = rustix::process::geteuid().as_raw();
        let known_as = outside(uid);
        let session = PathBuf::from(format!("/run/user/{known_as}"));
        let path = match std::fs::symlink_metadata(&session) {
            Ok(meta) if meta.is_dir() && meta.uid() == uid => session.join("shmring"),
            _ => PathBuf::from(format!("/tmp/shmring-{known_as}")),
        };
        Ok(Self::at(&path).unwrap_or_else(|_| Self::none()))
    }

    /// No such place.
    pub fn none() -> RuntimeDir {
        RuntimeDir { path: None }
    }

    /// The directory at `path`, made if need be.
    ///
    /// # Errors
    /// [`LinkError::RuntimeDir`] when it cannot be made, is a symlink, belongs
    /// to somebody else or lets others in.
    pub fn at(path: &Path) -> Result<RuntimeDir, LinkError> {
        let refuse = |why: &str| refusal(path, why);
        // sockaddr_un has room for 108 bytes (unix(7)); a gate takes up to 17.
        if path.as_os_str().len() > 90 {
            return Err(refuse("its path is longer than 90 bytes"));
        }
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(refuse(&format!("cannot be made: {e}"))),
        }
        let meta = std::fs::symlink_metadata(path).map_err(|e| refuse(&e.to_string()))?;
        let uid = rustix::process::geteuid().as_raw();
        if !meta.is_dir() {
            return Err(refuse("is not a directory (a symlink is not followed)"));
        }
        if meta.uid() != uid {
            return Err(refuse(&format!("belongs to user {}, not to {uid}", meta.uid())));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(refuse("is open to other users"));
        }
        Ok(RuntimeDir { path: Some(path.to_owned()) })
    }

    /// Where it is, if anywhere.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Takes away what killed processes left behind.
    pub fn sweep(&self) {
        self.sweep_up_to(usize::MAX);
    }

    /// The same, looking at so many gates.
    pub(crate) fn sweep_up_to(&self, most: usize) {
        let entries = self.path.as_ref().and_then(|path| std::fs::read_dir(path).ok());
        for entry in entries.into_iter().flatten().flatten().take(most) {
            let path = entry.path();
            let made = entry.metadata().and_then(|meta| meta.modified());
            let age = made.ok().and_then(|made| made.elapsed().ok());
            let is_made = path.extension().is_none() || age.is_some_and(|age| age > MAKING);
            if is_gate(&path) && is_made && is_dead(&path) {
                let _ = rustix::fs::unlink(&path);
            }
        }
    }

    /// Takes the gate of one that seems to be dead away, if it is.
    pub(crate) fn bury(&self, nonce: u64) {
        if let Some(path) = self.gate(nonce)
            && is_dead(&path)
        {
            let _ = rustix::fs::unlink(&path);
        }
    }

    /// The gate of the process with this nonce.
    pub(crate) fn gate(&self, nonce: u64) -> Option<PathBuf> {
        Some(self.path.as_ref()?.join(format!("{nonce:x}")))
    }
}

/// Whether that is what gates are called: the directory may have other things in it.
fn is_gate(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let nonce = name.strip_suffix(".new").unwrap_or(name);
    u64::from_str_radix(nonce, 16).is_ok_and(|number| format!("{number:x}") == nonce)
}

/// Whether nobody is behind a gate that is there.
fn is_dead(path: &Path) -> bool {
    // Whoever connects to a plain file is told the same.
    let is_socket = |meta: std::fs::Metadata| meta.file_type().is_socket();
    if !std::fs::symlink_metadata(path).is_ok_and(is_socket) {
        return false;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
    let (Ok(socket), Ok(name)) = (socket, SocketAddrUnix::new(path)) else { return false };
    rustix::net::connect(&socket, &name) == Err(Errno::CONNREFUSED)
}

/// The id that a user has outside of our user namespace: where all look like root, as
/// after `unshare -r`, each has a directory of its own all the same.
fn outside(uid: u32) -> u32 {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let range = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse::<u32>().ok());
        let (inside, outside, count) = (words.next()??, words.next()??, words.next()??);
        let at = uid.checked_sub(inside).filter(|at| *at < count)?;
        outside.checked_add(at)
    };
    map.lines().find_map(range).unwrap_or(uid)
}

fn refusal(path: &Path, why: &str) -> LinkError {
    LinkError::RuntimeDir { path: path.display().to_string(), why: why.to_owned() }
}

fn with_way_out(error: LinkError, way_out: &str) -> LinkError {
    match error {
        LinkError::RuntimeDir { path, why } => {
            LinkError::RuntimeDir { path, why: format!("{why}: {way_out}") }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn made_private_and_found_again() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("run");
        RuntimeDir::at(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        RuntimeDir::at(&path).unwrap();
    }

    #[test]
    fn open_linked_or_plain_places_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let open = scratch.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(RuntimeDir::at(&open).unwrap_err().to_string().contains("other users"));
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(RuntimeDir::at(&link).unwrap_err().to_string().contains("symlink"));
        let file = scratch.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(RuntimeDir::at(&file).unwrap_err().to_string().contains("not a directory"));
    }

    #[test]
    fn nothing_but_dead_gates_is_swept() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = RuntimeDir::at(&scratch.path().join("run")).unwrap();
        let at = |name: &str| dir.path().unwrap().join(name);
        // What else a user may have in a directory that is named to us.
        for file in ["letter", "cafe", "cafe.new"] {
            std::fs::write(at(file), "dear").unwrap();
            let old = std::time::SystemTime::now() - 2 * MAKING;
            std::fs::File::options().write(true).open(at(file)).unwrap().set_modified(old).unwrap();
        }
        for socket in ["beef", "server"] {
            drop(std::os::unix::net::UnixDatagram::bind(at(socket)).unwrap());
        }
        let alive = std::os::unix::net::UnixDatagram::bind(at("f00d")).unwrap();
        std::os::unix::fs::symlink(at("letter"), at("ace")).unwrap();
        dir.sweep();
        dir.bury(0xcafe);
        let mut left: Vec<_> = std::fs::read_dir(dir.path().unwrap())
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["ace", "cafe", "cafe.new", "f00d", "letter", "server"]);
        drop(alive);
    }
}

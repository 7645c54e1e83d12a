//! The per-user directory that holds the addresses.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::LinkError;

/// The directory where readers listen: ours, 0700, no symlink.
#[derive(Debug, Clone)]
pub struct RuntimeDir {
    path: PathBuf,
    uid: u32,
}

impl RuntimeDir {
    /// The directory of this user: `SHMRING_RUNTIME_DIR`, else
    /// `/run/user/UID/shmring`, else `/tmp/shmring-UID`.
    ///
    /// `XDG_RUNTIME_DIR` is not asked: two neighbours find each other only if
    /// both come to the same answer, and `su`, `sudo` and `cron` change it.
    ///
    /// # Errors
    /// [`LinkError::RuntimeDir`] when it cannot be made or is not safe.
    pub fn for_user() -> Result<RuntimeDir, LinkError> {
        let uid = rustix::process::geteuid().as_raw();
        if let Some(path) = std::env::var_os("SHMRING_RUNTIME_DIR") {
            return Self::at(Path::new(&path));
        }
        let session = PathBuf::from(format!("/run/user/{uid}"));
        match std::fs::symlink_metadata(&session) {
            Ok(meta) if meta.is_dir() && meta.uid() == uid => Self::at(&session.join("shmring")),
            _ => Self::at(Path::new(&format!("/tmp/shmring-{uid}"))),
        }
    }

    /// The directory at `path`, made if need be.
    ///
    /// # Errors
    /// [`LinkError::RuntimeDir`] when it cannot be made, is a symlink, belongs
    /// to somebody else or lets others in.
    pub fn at(path: &Path) -> Result<RuntimeDir, LinkError> {
        let refuse = |why: String| LinkError::RuntimeDir { path: path.display().to_string(), why };
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(refuse(format!("{e}; set SHMRING_RUNTIME_DIR to another place"))),
        }
        let meta = std::fs::symlink_metadata(path).map_err(|e| refuse(e.to_string()))?;
        let uid = rustix::process::geteuid().as_raw();
        if !meta.is_dir() {
            return Err(refuse("is not a directory (a symlink is not followed); remove it".into()));
        }
        if meta.uid() != uid {
            return Err(refuse(format!("belongs to user {}, not to {uid}; remove it", meta.uid())));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(refuse("is open to other users; chmod 700 it".into()));
        }
        // sockaddr_un has room for 108 bytes (unix(7)); an address takes up to 60.
        if path.as_os_str().len() > 48 {
            return Err(refuse("its path is longer than 48 bytes; choose a shorter one".into()));
        }
        Ok(RuntimeDir { path: path.to_owned(), uid })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user it belongs to, as seen when it was opened.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    pub(crate) fn address(&self, id: (u64, u64)) -> PathBuf {
        self.path.join(format!("{:x}-{:x}", id.0, id.1))
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
        assert!(RuntimeDir::at(&open).unwrap_err().to_string().contains("chmod 700"));
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(RuntimeDir::at(&link).unwrap_err().to_string().contains("symlink"));
        let file = scratch.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(RuntimeDir::at(&file).unwrap_err().to_string().contains("not a directory"));
    }
}

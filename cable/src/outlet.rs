//! Where a cable is plugged in.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags};
use shmring::{LinkError, PipeEnd};

/// What a cable is made of.
pub enum Outlet {
    /// An end of a pipe, on which neighbours come and go.
    Pipe(PipeEnd),
    /// A plain file with a capture, which is read to its end.
    File {
        /// The file.
        file: OwnedFd,
        /// Its name for people.
        what: String,
    },
}

impl Outlet {
    /// Takes a descriptor that is to be read; `what` names it in errors.
    ///
    /// # Errors
    /// [`LinkError::NotAPipe`] for anything but a pipe, FIFO, Unix stream socket or a
    /// plain file that can be read.
    pub fn to_read(fd: OwnedFd, what: &str) -> Result<Outlet, LinkError> {
        let is_file = rustix::fs::fstat(&fd)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        let can_be_read = rustix::fs::fcntl_getfl(&fd)
            .is_ok_and(|flags| flags & OFlags::RWMODE != OFlags::WRONLY);
        match is_file && can_be_read {
            true => Ok(Outlet::File { file: fd, what: what.to_owned() }),
            false => Ok(Outlet::Pipe(PipeEnd::new(fd, what)?)),
        }
    }

    /// Its name for people.
    pub fn what(&self) -> &str {
        match self {
            Outlet::Pipe(end) => end.what(),
            Outlet::File { what, .. } => what,
        }
    }

    /// The pipe, if it is one.
    pub fn pipe(&self) -> Option<&PipeEnd> {
        match self {
            Outlet::Pipe(end) => Some(end),
            Outlet::File { .. } => None,
        }
    }
}

impl From<PipeEnd> for Outlet {
    fn from(end: PipeEnd) -> Outlet {
        Outlet::Pipe(end)
    }
}

//! The interface's name in LKL's configuration: `RX|TX`, or one path for both.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::FileType;
use shmring::{LinkError, PipeEnd, Role};

use crate::inherited;

/// The pipes that a device is joined to.
pub enum Ends {
    /// Frames come in at one and go out at the other.
    Each {
        /// Frames come in here.
        rx: PipeEnd,
        /// Frames go out here.
        tx: PipeEnd,
    },
    /// Both ways over one: the neighbour must be aware.
    Both(PipeEnd),
}

/// Why a name leads to no device.
#[derive(Debug, thiserror::Error)]
pub enum IfnameError {
    /// Not a name of the right form.
    #[error("`{0}`: write RX|TX, two FIFOs, /dev/stdin or /dev/stdout")]
    Form(String),
    /// Neither a pipe nor a file: perhaps a device that LKL itself can use.
    #[error("{0}")]
    Foreign(LinkError),
    /// A file, or a pipe that cannot be used.
    #[error("{0}{hint}", hint = hint(.0))]
    Link(LinkError),
}

impl From<LinkError> for IfnameError {
    fn from(error: LinkError) -> IfnameError {
        match error {
            LinkError::NotAPipe { ref what, .. } if !is_file(what) => IfnameError::Foreign(error),
            error => IfnameError::Link(error),
        }
    }
}

/// A plain file or a directory: nothing makes a network device of these.
fn is_file(path: &str) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| {
        let kind = FileType::from_raw_mode(stat.st_mode);
        matches!(kind, FileType::RegularFile | FileType::Directory)
    })
}

fn hint(error: &LinkError) -> &'static str {
    match error {
        LinkError::System { errno, .. } if *errno == rustix::io::Errno::NOENT => {
            ": make it with mkfifo"
        }
        LinkError::NotAPipe { .. } => ": make one with mkfifo and name that",
        _ => "",
    }
}

impl Ends {
    /// Opens the pipes of `RX|TX` (as LKL's pipe device names them) or, for a
    /// link both ways, of a single path.
    ///
    /// # Errors
    /// [`IfnameError`].
    pub fn open(ifname: &str) -> Result<Ends, IfnameError> {
        let paths: Vec<&str> = ifname.split('|').collect();
        match paths[..] {
            [both] if !both.is_empty() => Ok(Ends::Both(open(both, Role::Either)?)),
            [rx, tx] if !rx.is_empty() && !tx.is_empty() => {
                Ok(Ends::Each { rx: open(rx, Role::Reader)?, tx: open(tx, Role::Writer)? })
            }
            _ => Err(IfnameError::Form(ifname.to_owned())),
        }
    }
}

/// `/dev/stdin`, `/dev/stdout` and `/dev/fd/N` are the descriptors themselves: a
/// socket cannot be opened by path, and a pipe opened twice never hangs up.
fn open(path: &str, role: Role) -> Result<PipeEnd, LinkError> {
    let duplicate = |fd: &dyn AsFd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    let (fd, own) = match path {
        "/dev/stdin" | "/dev/fd/0" => (duplicate(&rustix::stdio::stdin()), Some(Role::Reader)),
        "/dev/stdout" | "/dev/fd/1" => (duplicate(&rustix::stdio::stdout()), Some(Role::Writer)),
        _ => match inherited::number(path) {
            Some(number) => (inherited::take(number), None),
            None => return PipeEnd::open(Path::new(path), role),
        },
    };
    let fd = fd.map_err(|errno| LinkError::System { what: path.to_owned(), call: "dup", errno })?;
    let end = PipeEnd::new(fd, path)?;
    Ok(match (role, own) {
        (Role::Either, None) => end,
        (Role::Either, Some(own)) => end.with_role(own),
        (role, _) => end.with_role(role),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(ifname: &str) -> String {
        Ends::open(ifname).err().unwrap().to_string()
    }

    #[test]
    fn mistakes_are_named() {
        for bad in ["", "|", "a|", "|b", "a|b|c"] {
            assert!(error(bad).contains("write RX|TX"), "{bad}");
        }
        assert!(error("/nonexistent|/nonexistent").ends_with("make it with mkfifo"));
        assert!(error("/|/").ends_with("make one with mkfifo and name that"));
        assert!(matches!(Ends::open("/dev/null|/dev/null"), Err(IfnameError::Foreign(_))));
        assert!(error("/dev/fd/99999|/dev/fd/99999").starts_with("/dev/fd/99999: dup"));
    }

    #[test]
    fn an_inherited_descriptor_is_what_it_is_and_not_passed_on() {
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let flags = || rustix::io::fcntl_getfd(&read).unwrap();
        assert!(flags().is_empty());
        match Ends::open(&format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read))) {
            Ok(Ends::Both(end)) => assert_eq!(end.role(), Role::Reader),
            _ => panic!("one path is one pipe"),
        }
        assert!(flags().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

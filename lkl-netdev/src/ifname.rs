//! The interface's name in LKL's configuration: `RX|TX`, or one path for both.

use std::os::fd::AsFd;
use std::path::Path;

use shmring::{LinkError, PipeEnd, Role};

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
    /// A path that is no pipe: perhaps a device that LKL itself can use.
    #[error("{0}")]
    NotAPipe(LinkError),
    /// A pipe that cannot be used.
    #[error("{0}{hint}", hint = hint(.0))]
    Link(LinkError),
}

fn hint(error: &LinkError) -> &'static str {
    match error {
        LinkError::System { errno, .. } if *errno == rustix::io::Errno::NOENT => {
            ": make it with mkfifo"
        }
        _ => "",
    }
}

impl From<LinkError> for IfnameError {
    fn from(error: LinkError) -> IfnameError {
        match error {
            LinkError::NotAPipe { .. } => IfnameError::NotAPipe(error),
            error => IfnameError::Link(error),
        }
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

/// `/dev/stdin` and `/dev/stdout` are the descriptors themselves: a socket
/// cannot be opened by path, and a pipe opened twice never hangs up.
fn open(path: &str, role: Role) -> Result<PipeEnd, LinkError> {
    let standard = |fd: &dyn AsFd, own: Role| {
        let fd = rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| LinkError::System {
            what: path.to_owned(),
            call: "dup",
            errno,
        })?;
        let role = if role == Role::Either { own } else { role };
        Ok(PipeEnd::new(fd, path)?.with_role(role))
    };
    match path {
        "/dev/stdin" | "/dev/fd/0" => standard(&rustix::stdio::stdin(), Role::Reader),
        "/dev/stdout" | "/dev/fd/1" => standard(&rustix::stdio::stdout(), Role::Writer),
        _ => PipeEnd::open(Path::new(path), role),
    }
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
        assert!(matches!(Ends::open("/dev/null|/dev/null"), Err(IfnameError::NotAPipe(_))));
    }
}

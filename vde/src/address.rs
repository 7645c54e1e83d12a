//! What comes after `stdpkt://`.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::FileType;
use rustix::io::Errno;
use shmring::{LinkError, PipeEnd, Role};

const STDIN: &str = "/dev/stdin";
const STDOUT: &str = "/dev/stdout";

/// Opens a FIFO by its path, or takes a standard descriptor: the one that is a pipe
/// where nothing is said.
///
/// # Errors
/// Those of the pipe, and of a standard descriptor that is none.
pub(crate) fn open(args: &str) -> Result<PipeEnd> {
    Ok(match args {
        "" => inherited()?,
        STDIN => standard(STDIN, Role::Reader)?,
        STDOUT => standard(STDOUT, Role::Writer)?,
        path => PipeEnd::open(Path::new(path), Role::Either)?,
    })
}

fn inherited() -> Result<PipeEnd> {
    match (is_pipe(rustix::stdio::stdin()), is_pipe(rustix::stdio::stdout())) {
        (true, false) => Ok(standard(STDIN, Role::Reader)?),
        (false, true) => Ok(standard(STDOUT, Role::Writer)?),
        (true, true) => bail!(
            "both standard input and standard output are pipes: write stdpkt://{STDIN} or stdpkt://{STDOUT}"
        ),
        (false, false) => bail!(
            "neither standard input nor standard output is a pipe: name a FIFO, as in stdpkt:///tmp/fifo"
        ),
    }
}

fn is_pipe(fd: impl AsFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| {
        let kind = FileType::from_raw_mode(stat.st_mode);
        matches!(kind, FileType::Fifo | FileType::Socket)
    })
}

/// A copy: the program goes on to use its own for other things.
fn standard(what: &str, role: Role) -> Result<PipeEnd, LinkError> {
    let copied = match role {
        Role::Reader => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3),
        _ => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3),
    };
    let system = |errno| LinkError::System { what: what.to_owned(), call: "dup", errno };
    Ok(PipeEnd::new(copied.map_err(system)?, what)?.with_role(role))
}

/// What to do about an error, to be said after it.
pub(crate) fn way_out(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref() {
        Some(LinkError::System { errno: Errno::NOENT, .. }) => ": make it with mkfifo",
        Some(LinkError::NotAPipe { .. }) => ": make one with mkfifo and name that",
        _ => "",
    }
}

/// What C is told of an error.
pub(crate) fn errno(error: &anyhow::Error) -> Errno {
    match error.downcast_ref() {
        Some(LinkError::System { errno, .. }) => *errno,
        Some(LinkError::Taken { .. }) => Errno::BUSY,
        Some(LinkError::OtherUser { .. } | LinkError::NotOurs { .. }) => Errno::ACCESS,
        _ => Errno::INVAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &str) -> (String, Errno) {
        let error = open(args).err().unwrap();
        (format!("{error:#}{}", way_out(&error)), errno(&error))
    }

    #[test]
    fn mistakes_are_named_with_the_way_out() {
        let (line, errno) = refused("/nonexistent/fifo");
        assert!(line.starts_with("/nonexistent/fifo: open: "), "{line}");
        assert!(line.ends_with(": make it with mkfifo"), "{line}");
        assert_eq!(errno, Errno::NOENT);
        let (line, errno) = refused("/");
        assert!(line.starts_with("/ is a directory, not a pipe"), "{line}");
        assert!(line.ends_with(": make one with mkfifo and name that"), "{line}");
        assert_eq!(errno, Errno::INVAL);
    }
}

//! The end of a pipe that is the address of a link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::LinkError;
use crate::rendezvous::gate::Post;
use crate::role::Role;

/// A descriptor of a pipe, a FIFO or a Unix socket, and what it is.
pub struct PipeEnd {
    fd: OwnedFd,
    what: String,
    path: Option<PathBuf>,
    role: Role,
    id: (u64, u64),
    is_socket: bool,
    /// Where others find us; there is no need for that where the pipe is a socket.
    post: Option<Post>,
}

/// `PIPEFS_MAGIC` of linux/magic.h: where pipes without a name are.
const PIPEFS_MAGIC: u64 = 0x5049_5045;

impl PipeEnd {
    /// Takes a descriptor; `what` names it in errors, e.g. `standard input`. To be
    /// called in the network namespace that is common to all whom the pipe may join.
    ///
    /// # Errors
    /// [`LinkError::NotAPipe`] for anything but a pipe, FIFO or Unix stream socket.
    pub fn new(fd: impl Into<OwnedFd>, what: &str) -> Result<PipeEnd, LinkError> {
        PipeEnd::new_for(std::process::id(), fd, what)
    }

    /// The same for the process `pid`.
    fn new_for(pid: u32, fd: impl Into<OwnedFd>, what: &str) -> Result<PipeEnd, LinkError> {
        let mut end = PipeEnd::without_post(fd.into(), what)?;
        if !end.is_socket {
            let system = |errno| LinkError::System { what: what.into(), call: "socket", errno };
            let access = access_mode(&end.fd).map_err(system)?;
            // What others publish themselves with must be theirs alone. It cannot be without
            // /proc, or on a pipe that another user made; then it is what we have.
            let own = end.reopen(access).or_else(|_| rustix::io::fcntl_dupfd_cloexec(&end.fd, 3));
            end.post = Some(own.and_then(|own| Post::new(own, pid)).map_err(system)?);
        }
        Ok(end)
    }

    /// Takes a FIFO that another process has opened for this one ([`PipeEnd::open_for`]), and
    /// its [gate](PipeEnd::gate).
    ///
    /// # Errors
    /// [`LinkError`]: it is no FIFO, or that is no gate.
    pub fn of(fd: OwnedFd, gate: OwnedFd, what: &str) -> Result<PipeEnd, LinkError> {
        let mut end = PipeEnd::without_post(fd, what)?;
        let system = |errno| LinkError::System { what: what.into(), call: "a gate", errno };
        let own = end.reopen(OFlags::RDWR).map_err(system)?;
        end.post = Some(Post::of(own, gate).map_err(system)?);
        Ok(end)
    }

    /// A descriptor that is not to be met at.
    pub(crate) fn without_post(fd: OwnedFd, what: &str) -> Result<PipeEnd, LinkError> {
        let system = |call| move |errno| LinkError::System { what: what.into(), call, errno };
        let stat = rustix::fs::fstat(&fd).map_err(system("fstat"))?;
        let is_socket = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => false,
            FileType::Socket if is_unix_stream(&fd) => true,
            other => {
                let found = describe(other, &fd);
                return Err(LinkError::NotAPipe { what: what.into(), found });
            }
        };
        let role = match access_mode(&fd).map_err(system("fcntl(F_GETFL)"))? {
            OFlags::RDONLY => Role::Reader,
            OFlags::WRONLY => Role::Writer,
            _ => Role::Either,
        };
        let id = identity(&stat);
        Ok(PipeEnd { fd, what: what.into(), path: None, role, id, is_socket, post: None })
    }

    /// Opens a FIFO by path, without waiting for anybody. It is opened for
    /// reading and writing, so it stays usable while neighbours come and go.
    ///
    /// # Errors
    /// [`LinkError::System`] when it cannot be opened, [`LinkError::NotAPipe`]
    /// when it is something else.
    pub fn open(path: &Path, role: Role) -> Result<PipeEnd, LinkError> {
        PipeEnd::open_for(std::process::id(), path, role)
    }

    /// The same for the process `pid`, which is in another network namespace, and there could
    /// not make a gate that is found from here: it gets the descriptor and the gate.
    ///
    /// # Errors
    /// As [`PipeEnd::open`].
    pub fn open_for(pid: u32, path: &Path, role: Role) -> Result<PipeEnd, LinkError> {
        let what = path.display().to_string();
        let system = |call| {
            let what = what.clone();
            move |errno| LinkError::System { what, call, errno }
        };
        // Looked at before it is opened: opening a device can have effects.
        let stat = rustix::fs::stat(path).map_err(system("open"))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Fifo {
            return Err(LinkError::NotAPipe { found: name_of(kind), what });
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(system("open"))?;
        Ok(PipeEnd { role, path: Some(path.to_owned()), ..PipeEnd::new_for(pid, fd, &what)? })
    }

    /// Overrides the role that the access mode suggests: a descriptor opened
    /// for reading and writing may be used for one of them, and a socket on
    /// standard input is read.
    pub fn with_role(mut self, role: Role) -> PipeEnd {
        self.role = role;
        self
    }

    /// The descriptor's name for people.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The path by which it was opened, unless it was a descriptor from the start.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// `(st_dev, st_ino)`.
    pub fn id(&self) -> (u64, u64) {
        self.id
    }

    /// Whether this is a Unix socket (ksh93 makes its pipes of them).
    pub fn is_socket(&self) -> bool {
        self.is_socket
    }

    /// Whether nobody can open this pipe by a name.
    pub(crate) fn is_anonymous(&self) -> bool {
        rustix::fs::fstatfs(&self.fd).is_ok_and(|stat| stat.f_type as u64 == PIPEFS_MAGIC)
    }

    /// The socket by which it is found, unless it is itself a socket.
    pub fn gate(&self) -> Option<BorrowedFd<'_>> {
        self.post.as_ref().map(Post::as_fd)
    }

    pub(crate) fn post(&self) -> Option<&Post> {
        self.post.as_ref()
    }

    pub(crate) fn post_mut(&mut self) -> Option<&mut Post> {
        self.post.as_mut()
    }

    /// Whether `fd`, sent by a neighbour in `role`, proves that it holds an end
    /// of this pipe which lets it act in that role.
    pub(crate) fn is_proved_by(&self, fd: &OwnedFd, role: Role) -> bool {
        let Ok(stat) = rustix::fs::fstat(fd) else { return false };
        let Ok(flags) = rustix::fs::fcntl_getfl(fd) else { return false };
        // An O_PATH descriptor needs no permission on the FIFO, so it proves nothing.
        if identity(&stat) != self.id
            || FileType::from_raw_mode(stat.st_mode) != FileType::Fifo
            || flags.contains(OFlags::PATH)
        {
            return false;
        }
        match flags & OFlags::RWMODE {
            OFlags::RDWR => true,
            OFlags::RDONLY => role == Role::Reader,
            OFlags::WRONLY => role == Role::Writer,
            _ => false,
        }
    }

    /// The reading end for bytes from a writer that does not know of rings: under
    /// a file description of our own, non-blocking. A socket cannot be opened
    /// anew; it is to be read with `MSG_DONTWAIT`.
    ///
    /// # Errors
    /// [`LinkError::NotOurs`], and those of `open(2)`.
    pub fn reopen_to_read(&self) -> Result<OwnedFd, LinkError> {
        self.own(OFlags::RDONLY)
    }

    /// The writing end likewise.
    ///
    /// # Errors
    /// [`LinkError::NotOurs`], and those of `open(2)`.
    pub fn reopen_to_write(&self) -> Result<OwnedFd, LinkError> {
        self.own(OFlags::WRONLY)
    }

    fn own(&self, access: OFlags) -> Result<OwnedFd, LinkError> {
        let opened = match self.is_socket {
            true => rustix::io::fcntl_dupfd_cloexec(&self.fd, 0),
            false => self.reopen(access),
        };
        opened.map_err(|errno| self.unopened(errno))
    }

    /// It could not be opened anew.
    pub(crate) fn unopened(&self, errno: Errno) -> LinkError {
        let what = self.what.clone();
        match rustix::fs::fstat(&self.fd) {
            Ok(stat) if errno == Errno::ACCESS => {
                LinkError::NotOurs { what, owner: crate::holders::user(stat.st_uid) }
            }
            _ => LinkError::System { what, call: "open", errno },
        }
    }

    /// The same pipe under a file description of our own, so that making it
    /// non-blocking changes nothing for those who share the old one.
    pub(crate) fn reopen(&self, access: OFlags) -> Result<OwnedFd, Errno> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        rustix::fs::open(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
    }
}

impl AsFd for PipeEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn access_mode(fd: &OwnedFd) -> Result<OFlags, Errno> {
    Ok(rustix::fs::fcntl_getfl(fd)? & OFlags::RWMODE)
}

fn is_unix_stream(fd: &OwnedFd) -> bool {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(fd) == Ok(SocketType::STREAM)
}

fn describe(kind: FileType, fd: &OwnedFd) -> &'static str {
    if rustix::termios::isatty(fd) { "a terminal" } else { name_of(kind) }
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a plain file",
        FileType::Directory => "a directory",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Socket => "another kind of socket",
        FileType::Fifo => "a pipe",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ends_of_a_pipe_have_one_identity_and_two_roles() {
        let (read, write) = std::io::pipe().unwrap();
        let read = PipeEnd::new(read, "r").unwrap();
        let write = PipeEnd::new(write, "w").unwrap();
        assert_eq!(read.id(), write.id());
        assert_eq!((read.role(), write.role()), (Role::Reader, Role::Writer));
    }

    #[test]
    fn only_the_right_end_of_the_right_pipe_is_a_proof() {
        let (read, write) = std::io::pipe().unwrap();
        let (_other, stranger) = std::io::pipe().unwrap();
        let end = PipeEnd::new(read.try_clone().unwrap(), "r").unwrap();
        assert!(end.is_proved_by(&write.into(), Role::Writer));
        assert!(!end.is_proved_by(&read.into(), Role::Writer));
        assert!(!end.is_proved_by(&stranger.into(), Role::Writer));
        let file = tempfile::tempfile().unwrap();
        assert!(!end.is_proved_by(&file.into(), Role::Writer));
    }

    #[test]
    fn an_end_that_was_opened_for_another_process_is_found_by_its_gate() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let end = PipeEnd::open_for(4711, &path, Role::Either).unwrap();
        let advert = end.post().unwrap().advert(Role::Either);
        assert_eq!(advert.pid(), 4711);
        let (fd, gate) = (end.as_fd(), end.gate().unwrap());
        let [fd, gate] = [fd, gate].map(|fd| fd.try_clone_to_owned().unwrap());
        let there = PipeEnd::of(fd.try_clone().unwrap(), gate, "fifo").unwrap();
        assert_eq!((there.id(), there.role()), (end.id(), Role::Either));
        assert_eq!(there.post().unwrap().advert(Role::Either), advert);
        let (stranger, _) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::DGRAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let error = PipeEnd::of(fd, stranger, "fifo").err().unwrap().to_string();
        assert_eq!(error, "fifo: a gate: Invalid argument (os error 22)");
    }

    #[test]
    fn what_is_no_pipe_is_named() {
        let error = |fd: OwnedFd| PipeEnd::new(fd, "standard input").err().unwrap().to_string();
        let file = tempfile::tempfile().unwrap();
        assert_eq!(
            error(file.into()),
            "standard input is a plain file, not a pipe, FIFO or Unix socket"
        );
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(error(null.into()).contains("a character device"));
        let missing = PipeEnd::open(Path::new("/nonexistent"), Role::Reader).err().unwrap();
        assert_eq!(
            missing.to_string(),
            "/nonexistent: open: No such file or directory (os error 2)"
        );
        let dir = PipeEnd::open(Path::new("/"), Role::Reader).err().unwrap();
        assert_eq!(dir.to_string(), "/ is a directory, not a pipe, FIFO or Unix socket");
    }
}

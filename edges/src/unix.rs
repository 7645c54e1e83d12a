//! Unix sockets by path: connect where somebody listens, else listen.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// What comes of a path.
pub enum Socket {
    /// Somebody listened there.
    Connected(OwnedFd),
    /// Nobody did: now this process does.
    Listening(Listener),
}

/// A listening socket.
pub struct Listener {
    socket: OwnedFd,
    /// Goes with it, unless it is somebody else's.
    path: Option<PathBuf>,
    what: String,
    /// Of other users only root is let in.
    is_private: bool,
}

/// Whom datagrams are exchanged with. The path where they are received goes with it.
pub struct Correspondent {
    /// Where they are sent.
    pub there: SocketAddrUnix,
    here: PathBuf,
}

impl fmt::Display for Correspondent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.there.path_bytes().unwrap_or_default()))
    }
}

impl Drop for Correspondent {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.here);
    }
}

/// Connects to `path` or listens there. A socket that was left behind by a process
/// that is gone is replaced.
///
/// # Errors
/// One line that names the path and the way out.
pub fn meet(path: &Path, kind: SocketType) -> Result<Socket> {
    let what = format!("unix:{}", path.display());
    let address = address(path)?;
    let socket = socket(kind)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => return Ok(Socket::Connected(socket)),
        Err(Errno::NOENT) => {}
        Err(Errno::CONNREFUSED) if is_socket(path) => {
            // Nobody listens there any more.
            rustix::fs::unlink(path).map_err(|errno| anyhow!("{what}: {errno}"))?;
        }
        Err(Errno::CONNREFUSED) => bail!("{what} is no socket: remove it, or name another path"),
        Err(Errno::PROTOTYPE) => {
            let (wanted, found) = match kind {
                SocketType::STREAM => ("a byte stream", "messages"),
                _ => ("messages", "a byte stream"),
            };
            bail!(
                "{what}: who listens there wants {found}, not {wanted}: choose the format for it"
            );
        }
        Err(Errno::AGAIN) => bail!("{what}: who listens there is busy with others: try again"),
        Err(Errno::ACCESS) => {
            bail!("{what} belongs to another user: run as that user, or name another path")
        }
        Err(errno) => bail!("{what}: connect: {errno}"),
    }
    let socket = self::socket(kind)?;
    rustix::net::bind(&socket, &address).map_err(|errno| not_bound(&what, errno))?;
    rustix::net::listen(&socket, 8).map_err(|errno| anyhow!("{what}: listen: {errno}"))?;
    Ok(Socket::Listening(Listener { socket, path: Some(path.to_owned()), what, is_private: false }))
}

/// Connects to `path` if somebody listens there.
pub fn call(path: &Path, kind: SocketType) -> Option<OwnedFd> {
    let (address, socket) = (address(path).ok()?, socket(kind).ok()?);
    rustix::net::connect(&socket, &address).ok().map(|()| socket)
}

/// A socket that receives datagrams at `rx`, and `tx` to send to.
///
/// # Errors
/// One line that names the path and the way out.
pub fn datagrams(rx: &Path, tx: &Path) -> Result<(OwnedFd, Correspondent)> {
    let what = format!("dgram:{}", rx.display());
    let (here, there) = (address(rx)?, address(tx)?);
    let socket = socket(SocketType::DGRAM)?;
    let bound = match rustix::net::bind(&socket, &here) {
        Err(Errno::ADDRINUSE) => {
            let probe = self::socket(SocketType::DGRAM)?;
            match rustix::net::connect(&probe, &here) {
                Err(Errno::CONNREFUSED) if is_socket(rx) => {
                    let _ = rustix::fs::unlink(rx); // of a process that is gone
                    rustix::net::bind(&socket, &here)
                }
                Ok(()) => bail!("{what}: another process receives there: name another path"),
                Err(_) => bail!("{what}: something else is there: remove it, or name another path"),
            }
        }
        bound => bound,
    };
    bound.map_err(|errno| not_bound(&what, errno))?;
    Ok((socket, Correspondent { there, here: rx.to_owned() }))
}

/// The address of a path.
///
/// # Errors
/// One line, when it is longer than an address can be (unix(7): 107 bytes).
pub fn address(path: &Path) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new(path).map_err(|_| {
        anyhow!("unix:{}: longer than the 107 bytes of a socket's path: name a shorter one, as from the directory it is in", path.display())
    })
}

fn socket(kind: SocketType) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
        .map_err(|errno| anyhow!("socket: {errno}"))
}

fn not_bound(what: &str, errno: Errno) -> anyhow::Error {
    match errno {
        Errno::NOENT => {
            anyhow!("{what}: the directory is not there: make it, or name another path")
        }
        Errno::ACCESS => {
            anyhow!("{what}: nothing may be made in this directory: name another path")
        }
        errno => anyhow!("{what}: bind: {errno}"),
    }
}

fn is_socket(path: &Path) -> bool {
    rustix::fs::stat(path)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}

impl Listener {
    /// Of an abstract socket (unix(7)) with a name of the kernel's choice, for programs
    /// that this one starts: nothing is left behind, and of other users only root is let in.
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and listen(2).
    pub fn without_path() -> io::Result<Listener> {
        let socket = socket(SocketType::STREAM).map_err(io::Error::other)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed())?;
        rustix::net::listen(&socket, 8)?;
        let address = SocketAddrUnix::try_from(rustix::net::getsockname(&socket)?)?;
        let name = address.abstract_name().unwrap_or_default();
        let what = String::from_utf8_lossy(name).into_owned();
        Ok(Listener { socket, path: None, what, is_private: true })
    }

    /// The name of a socket without path.
    pub fn name(&self) -> &str {
        &self.what
    }

    /// One that was passed to this process.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn passed(what: &str, socket: OwnedFd) -> Result<Listener> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(|errno| anyhow!("{what}: {errno}"))?;
        Ok(Listener { socket, path: None, what: what.to_owned(), is_private: false })
    }

    /// The place, for people.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Who has connected, if anybody has.
    pub fn accept(&self) -> Option<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::accept_with(&self.socket, flags).ok()?;
        // A path has an owner and a mode, a name has none.
        (!self.is_private || is_ours(&socket)).then_some(socket)
    }
}

/// Whether this user or root is at the other end.
fn is_ours(socket: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_peercred(socket)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

/// A socket as two descriptors.
///
/// # Errors
/// Those of fcntl(2).
pub fn twice(socket: OwnedFd) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((socket.try_clone()?, socket))
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = rustix::fs::unlink(path);
        }
    }
}

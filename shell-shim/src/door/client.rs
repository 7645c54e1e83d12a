//! The asking side.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{SocketAddrUnix, SocketFlags};
use shmring::observe::Process;

use super::messages::{LONGEST, Reply, Request, decode, encode};
use super::socket;

/// How long somebody has to let us in.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a process answered.
pub struct Answer {
    /// That; never a refusal, which is an error.
    pub reply: Reply,
    /// What came with it.
    pub fds: Vec<OwnedFd>,
    /// The connection, for those who have more to say to each other.
    pub socket: OwnedFd,
}

/// Asks a process for something, and waits for the answer for up to `patience`.
///
/// # Errors
/// One line that names the process: it does not answer, or refuses.
pub fn ask(
    process: &Process,
    request: &Request,
    fds: &[BorrowedFd<'_>],
    patience: Duration,
) -> Result<Answer> {
    connect(process)?.ask(request, fds, patience).with_context(|| who(process))
}

/// Somebody at whose door we are, and who has not been asked yet.
pub struct Connection {
    socket: OwnedFd,
}

/// Goes to the door of a process, from where it can be found: not from within the
/// namespaces of a function.
///
/// # Errors
/// One line that names the process: it has no door, or is not ours.
pub fn connect(process: &Process) -> Result<Connection> {
    find(process.pid).and_then(|door| knock(&door, process.pid)).with_context(|| who(process))
}

fn who(process: &Process) -> String {
    match process.identity.name.as_str() {
        "" => process.pid.to_string(),
        name => format!("{name} ({})", process.pid),
    }
}

/// Connects to this door, which must be that process's.
pub(super) fn knock(door: &Path, pid: u32) -> Result<Connection> {
    let socket = socket::new(SocketFlags::empty()).context("socket")?;
    let patience = Some(PATIENCE);
    set_socket_timeout(&socket, Timeout::Send, patience).context("setsockopt")?;
    let address = SocketAddrUnix::new(door).context("socket")?;
    rustix::net::connect(&socket, &address).map_err(|errno| silent(errno, PATIENCE))?;
    // Whoever listens there must be who was meant, and ours.
    let found = socket::credentials(&socket).context("it cannot be asked: SO_PEERCRED")?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        bail!("belongs to user {0}: only that user may ask it (sudo -u '#{0}' ...)", found.uid());
    }
    if found.pid() != pid as i32 {
        bail!("another process, {}, answers in its place", found.pid());
    }
    Ok(Connection { socket })
}

impl Connection {
    /// Asks, and waits for the answer for up to `patience`.
    ///
    /// # Errors
    /// One line: it does not answer, or refuses.
    pub fn ask(
        self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> Result<Answer> {
        self.send(request, fds, patience)?.answer(patience)
    }

    /// Asks, and does not wait.
    ///
    /// # Errors
    /// One line: it is not there.
    pub fn begin(self, request: &Request, patience: Duration) -> Result<Asked> {
        self.send(request, &[], patience)
    }

    fn send(self, request: &Request, fds: &[BorrowedFd<'_>], patience: Duration) -> Result<Asked> {
        let Connection { socket } = self;
        for which in [Timeout::Send, Timeout::Recv] {
            set_socket_timeout(&socket, which, Some(patience)).context("setsockopt")?;
        }
        socket::send(&socket, &encode(request), fds).map_err(|errno| silent(errno, patience))?;
        Ok(Asked { socket })
    }

    /// Takes one that came from elsewhere.
    pub fn of(socket: OwnedFd) -> Connection {
        Connection { socket }
    }
}

/// Somebody who has been asked. As a descriptor it is readable when the answer is there.
pub struct Asked {
    socket: OwnedFd,
}

impl AsFd for Asked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Asked {
    /// Waits for the answer; `patience` is that of the question.
    ///
    /// # Errors
    /// One line: it does not answer, or refuses.
    pub fn answer(self, patience: Duration) -> Result<Answer> {
        let Asked { socket } = self;
        let mut bytes = vec![0; LONGEST];
        let received = socket::receive(&socket, &mut bytes);
        let (len, fds) = received.map_err(|errno| silent(errno, patience))?;
        if len == 0 {
            return Err(has_ended());
        }
        match decode(&bytes[..len]).map_err(anyhow::Error::msg)? {
            Reply::Refused { why } => bail!(why),
            reply => Ok(Answer { reply, fds, socket }),
        }
    }
}

fn silent(errno: Errno, patience: Duration) -> anyhow::Error {
    match errno {
        Errno::AGAIN => anyhow!("no answer in {} s: is it stopped?", patience.as_secs()),
        Errno::CONNREFUSED | Errno::NOENT | Errno::CONNRESET | Errno::PIPE => has_ended(),
        Errno::TOOBIG | Errno::MSGSIZE => anyhow!("this is more than fits into a request"),
        errno => anyhow!("it cannot be asked: {errno}"),
    }
}

fn has_ended() -> anyhow::Error {
    anyhow!("it has ended")
}

/// Whether a process has a door that we can see.
pub fn is_at(pid: u32) -> bool {
    find(pid).is_ok()
}

/// The door of a process.
fn find(pid: u32) -> Result<PathBuf> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|error| match error.kind() {
        ErrorKind::NotFound => has_ended(),
        _ => anyhow!("it cannot be looked at: {error}"),
    })?;
    let is_door = |path: &PathBuf| {
        let link = fs::read_link(path).unwrap_or_default();
        link.file_name().is_some_and(|name| name.to_string_lossy().starts_with(socket::NAME))
    };
    let door = fds.flatten().map(|fd| fd.path()).find(is_door);
    door.context("it cannot be asked for anything (its -v says why)")
}

//! The process that gets the links.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::record::{LEN, Message};
use super::{Handed, HandoverError};
use crate::{peer, scm};

/// Links that have come, and are the giver's still.
pub struct Taking {
    socket: OwnedFd,
    links: Vec<Handed>,
}

impl Taking {
    /// Waits for all that the process at the other end hands over, and makes links of
    /// it. Nothing has changed hands after an error.
    ///
    /// # Errors
    /// [`HandoverError`]; the giver is told.
    pub fn receive(socket: OwnedFd, patience: Option<Duration>) -> Result<Taking, HandoverError> {
        let mut taking = Taking { socket, links: Vec::new() };
        match taking.receive_all(patience.map(|patience| Instant::now() + patience)) {
            Ok(()) => Ok(taking),
            Err(error) => {
                taking.refuse(&error.to_string());
                Err(error)
            }
        }
    }

    fn receive_all(&mut self, until: Option<Instant>) -> Result<(), HandoverError> {
        let broken = HandoverError::Broken;
        if !peer::is_our_user(&self.socket) {
            return Err(broken("it is of another user"));
        }
        loop {
            let (message, fds) = next(&self.socket, until)?;
            match message {
                Message::Link(record) => self.links.push(Handed::adopt(&record, fds)?),
                Message::All(count) if count as usize == self.links.len() => return Ok(()),
                Message::All(_) => return Err(broken("another number of links than it says")),
                Message::Withdrawn => return Err(HandoverError::Withdrawn),
                Message::Taken | Message::Refused(_) => return Err(broken("a message of mine")),
            }
        }
    }

    /// What they are, before they are taken.
    pub fn links(&self) -> &[Handed] {
        &self.links
    }

    /// Leaves them to the giver, and says why.
    pub fn refuse(self, why: &str) {
        let _ = scm::send(&self.socket, &Message::Refused(why.to_owned()).encode(), &[]);
    }

    /// Takes them: from here on this process owns them, and the giver does not. Returns
    /// the socket, too.
    ///
    /// # Errors
    /// [`HandoverError::Withdrawn`].
    pub fn accept(mut self) -> Result<(Vec<Handed>, OwnedFd), HandoverError> {
        let socket = rustix::io::fcntl_dupfd_cloexec(&self.socket, 0)
            .map_err(|e| HandoverError::System("fcntl(F_DUPFD_CLOEXEC)", e))?;
        match scm::send(&self.socket, &Message::Taken.encode(), &[]) {
            Ok(()) => {}
            // The giver does not listen any more: it is dead, or about to withdraw.
            Err(Errno::PIPE | Errno::CONNRESET) => loop {
                match next(&self.socket, None) {
                    Err(HandoverError::Ended) => break,
                    Ok((Message::Withdrawn, _)) => return Err(HandoverError::Withdrawn),
                    Ok(_) => {}
                    Err(error) => return Err(error),
                }
            },
            Err(errno) => return Err(HandoverError::System("sendmsg", errno)),
        }
        self.links.iter().for_each(Handed::announce);
        Ok((std::mem::take(&mut self.links), socket))
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        // They are the giver's.
        self.links.drain(..).for_each(Handed::leave);
    }
}

/// The next message.
fn next(
    socket: &OwnedFd,
    until: Option<Instant>,
) -> Result<(Message, Vec<OwnedFd>), HandoverError> {
    let mut bytes = [0; LEN + 1];
    loop {
        match scm::recv(socket, &mut bytes) {
            Ok(scm::Received { len: 0, .. }) | Err(Errno::CONNRESET) => {
                return Err(HandoverError::Ended);
            }
            Ok(scm::Received { len, fds, .. }) => {
                let message = Message::decode(&bytes[..len]).map_err(HandoverError::Broken)?;
                return Ok((message, fds));
            }
            Err(Errno::AGAIN) => wait(socket, until)?,
            Err(Errno::INTR) => {}
            Err(Errno::MSGSIZE) => return Err(HandoverError::Broken("a message that is too long")),
            Err(errno) => return Err(HandoverError::System("recvmsg", errno)),
        }
    }
}

fn wait(socket: &OwnedFd, until: Option<Instant>) -> Result<(), HandoverError> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(HandoverError::Silent);
    }
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(HandoverError::System("poll", errno)),
    }
}

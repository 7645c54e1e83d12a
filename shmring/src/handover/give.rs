//! The process that has the links.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::Shutdown;

use super::Handed;
use super::record::{LEN, Message};
use crate::scm;

/// Links on their way. Nobody may use them until it is over.
#[must_use = "the links are closed if this is dropped before it is over"]
pub struct Giving {
    socket: OwnedFd,
    links: Vec<Handed>,
}

/// What became of links that were offered.
pub enum Outcome {
    /// The other process has them, and this is the socket to it.
    Taken(OwnedFd),
    /// They stay here, and why.
    Back(Vec<Handed>, String),
}

impl Giving {
    /// Sends links to the process at the other end of a socket pair.
    ///
    /// # Errors
    /// [`Outcome::Back`] in the place of an error: a link that cannot be handed over, or
    /// nobody there.
    pub fn start(socket: OwnedFd, mut links: Vec<Handed>) -> Result<Giving, Outcome> {
        match send_all(&socket, &mut links) {
            Ok(()) => Ok(Giving { socket, links }),
            Err(why) => {
                // What was sent so far is of no use without the ALL.
                let _ = scm::send(&socket, &Message::Withdrawn.encode(), &[]);
                Err(Outcome::Back(links, why))
            }
        }
    }

    /// Looks whether the other process has said something. [`AsFd`] is readable when it
    /// has.
    ///
    /// # Errors
    /// Not an error: itself, as long as it has not.
    pub fn poll(self) -> Result<Outcome, Giving> {
        let mut bytes = [0; LEN + 1];
        match scm::recv(&self.socket, &mut bytes) {
            Ok(scm::Received { len: 0, .. }) | Err(Errno::CONNRESET) => {
                Ok(Outcome::Back(self.links, "it ended".to_owned()))
            }
            Ok(said) => match Message::decode(&bytes[..said.len]) {
                Ok(Message::Taken) => Ok(self.gone()),
                Ok(Message::Refused(why)) => Ok(Outcome::Back(self.links, why)),
                _ => Ok(self.withdraw("it does not keep to the format")),
            },
            Err(Errno::AGAIN | Errno::INTR) => Err(self),
            Err(error) => Ok(self.withdraw(&format!("recvmsg: {error}"))),
        }
    }

    /// Does not wait any longer. They may be gone nevertheless.
    pub fn withdraw(self, why: &str) -> Outcome {
        // From here on no message can get into our socket.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
        let mut bytes = [0; LEN + 1];
        while let Ok(scm::Received { len: len @ 1.., .. }) = scm::recv(&self.socket, &mut bytes) {
            if Message::decode(&bytes[..len]) == Ok(Message::Taken) {
                return self.gone();
            }
        }
        let _ = scm::send(&self.socket, &Message::Withdrawn.encode(), &[]);
        Outcome::Back(self.links, why.to_owned())
    }

    fn gone(self) -> Outcome {
        self.links.into_iter().for_each(Handed::leave);
        Outcome::Taken(self.socket)
    }
}

impl AsFd for Giving {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn send_all(socket: &OwnedFd, links: &mut [Handed]) -> Result<(), String> {
    // All or none: nothing is sent before it is known to be possible.
    links.iter().try_for_each(Handed::is_possible)?;
    let send = |message: Message, fds: &[BorrowedFd<'_>]| {
        scm::send(socket, &message.encode(), fds).map_err(|errno| match errno {
            Errno::PIPE | Errno::CONNRESET => "it ended".to_owned(),
            errno => format!("sendmsg: {errno}"),
        })
    };
    for link in &mut *links {
        let record = link.record()?;
        send(Message::Link(record), &link.fds())?;
    }
    send(Message::All(links.len() as u32), &[])
}

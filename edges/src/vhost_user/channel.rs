//! The socket of a front end: messages come together piece by piece, with descriptors.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, RecvMsg, ReturnFlags, SendFlags,
};

use super::messages::{HEADER, Header, MOST_REGIONS};

/// A message, and the descriptors that came with it.
#[derive(Debug)]
pub struct Message {
    /// What stands before it.
    pub header: Header,
    /// What follows.
    pub body: Vec<u8>,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
}

/// Why there are no more messages.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The other side has hung up.
    HungUp,
    /// It says something that is no message.
    Wrong(String),
}

/// One connection.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// What is there of the next message, at most all of it.
    bytes: Vec<u8>,
    header: Option<Header>,
    fds: Vec<OwnedFd>,
    /// A message came, at any time.
    pub spoke: bool,
}

impl Channel {
    /// Of a stream socket.
    pub fn new(socket: OwnedFd) -> Channel {
        Channel { socket, bytes: Vec::new(), header: None, fds: Vec::new(), spoke: false }
    }

    /// The next message, if all of it has come. Never waits.
    ///
    /// # Errors
    /// [`End`].
    pub fn next(&mut self) -> Result<Option<Message>, End> {
        loop {
            let size = self.header.map_or(0, |header| header.size);
            let missing = HEADER + size - self.bytes.len();
            // No further than the message: descriptors come with the first of its bytes.
            if missing > 0 && !self.read(missing)? {
                return Ok(None);
            }
            if self.bytes.len() < HEADER + size {
                continue;
            }
            match (self.header, self.bytes.first_chunk()) {
                (None, Some(first)) => {
                    let wrong = |wrong: super::messages::Wrong| End::Wrong(wrong.to_string());
                    self.header = Some(Header::parse(first).map_err(wrong)?);
                }
                (Some(header), _) => {
                    let body = self.bytes.split_off(HEADER);
                    self.bytes.clear();
                    self.header = None;
                    self.spoke = true;
                    return Ok(Some(Message { header, body, fds: std::mem::take(&mut self.fds) }));
                }
                (None, None) => {}
            }
        }
    }

    /// Reads at most `missing` bytes; `false` when there are none at the moment.
    fn read(&mut self, missing: usize) -> Result<bool, End> {
        let at = self.bytes.len();
        self.bytes.resize(at + missing, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_REGIONS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut room = [IoSliceMut::new(&mut self.bytes[at..])];
        let got = rustix::net::recvmsg(&self.socket, &mut room, &mut ancillary, flags);
        let count = got.as_ref().map_or(0, |it: &RecvMsg| it.bytes);
        self.bytes.truncate(at + count);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        match got {
            Ok(RecvMsg { flags, .. }) if flags.contains(ReturnFlags::CTRUNC) => {
                Err(End::Wrong("it sends more descriptors than any message has".to_owned()))
            }
            Ok(_) if self.fds.len() > MOST_REGIONS => {
                Err(End::Wrong("it sends more descriptors than any message has".to_owned()))
            }
            Ok(RecvMsg { bytes: 0, .. }) | Err(Errno::CONNRESET) => Err(End::HungUp),
            Ok(_) | Err(Errno::INTR) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(End::Wrong(format!("recvmsg: {errno}"))),
        }
    }

    /// Answers a message.
    ///
    /// # Errors
    /// [`End`]: also when the other side does not read what it asked for.
    pub fn answer(&self, header: &Header, body: &[u8]) -> Result<(), End> {
        let answer = header.answer(body);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.socket, &answer, flags) {
            Ok(count) if count == answer.len() => Ok(()),
            Ok(_) | Err(Errno::AGAIN) => {
                Err(End::Wrong("it asks and does not read the answers".to_owned()))
            }
            Err(_) => Err(End::HungUp),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

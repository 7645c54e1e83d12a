//! A socket that keeps messages apart, a frame in each: `SOCK_SEQPACKET` as
//! slirp4netns has it, datagrams as QEMU's `-netdev dgram`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use anyhow::Result;
use cable::Edge;
use cable::edge::{NotNow, NotTaken, Watch};
use frames::{ETHERNET_LEN, Framing, MAX_FRAME, VNET_LEN, begins, not_ethernet};
use nix::sys::epoll::EpollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv};
use shmring::board::{Meter, Way};
use shmring::{Bytes, BytesMut};

use crate::guests::{Guests, News};
use crate::joining::{Joining, Source};
use crate::patience::{Absence, Patience};
use crate::shown::meter;
use crate::unix::{Correspondent, Listener};

/// The longest message that has room in a frame.
const LONGEST: usize = MAX_FRAME - VNET_LEN;

/// Messages as an edge. They are complete packets, without a header of their own.
pub struct MessageEdge {
    what: String,
    socket: Option<OwnedFd>,
    /// Where datagrams go.
    to: Option<Correspondent>,
    /// Until a call says otherwise. The socket is watched edge-triggered.
    readable: bool,
    patience: Patience,
    absence: Absence,
    /// The one that came last...
    message: Vec<u8>,
    /// ...and how long it is, until it is taken.
    came_last: Option<usize>,
    /// A datagram that goes out.
    letter: Vec<u8>,
    joining: Joining,
    /// Something that is no frame was told.
    told: bool,
    over: bool,
    guests: Guests,
    /// What `stdpkt ls` shows.
    came: Meter,
    went: Meter,
}

impl MessageEdge {
    /// Of a socket that is connected, or sends `to` an address.
    ///
    /// # Errors
    /// Those of epoll_create1(2) and epoll_ctl(2).
    pub fn new(what: &str, socket: OwnedFd, to: Option<Correspondent>) -> Result<MessageEdge> {
        let mut edge = MessageEdge::empty(what, None)?;
        edge.to = to;
        edge.begin(socket)?;
        Ok(edge)
    }

    /// Of whoever connects, one after the other.
    ///
    /// # Errors
    /// As [`MessageEdge::new`].
    pub fn listen(listener: Listener) -> Result<MessageEdge> {
        let what = listener.what().to_owned();
        MessageEdge::empty(&what, Some(listener))
    }

    fn empty(what: &str, listener: Option<Listener>) -> Result<MessageEdge> {
        Ok(MessageEdge {
            what: what.to_owned(),
            socket: None,
            to: None,
            readable: false,
            patience: Patience::default(),
            absence: Absence::default(),
            message: vec![0; MAX_FRAME],
            came_last: None,
            letter: vec![0; MAX_FRAME],
            joining: Joining::default(),
            told: false,
            over: false,
            guests: Guests::new(listener)?,
            came: meter(what, "packet", Way::In)?,
            went: meter(what, "packet", Way::Out)?,
        })
    }

    fn begin(&mut self, socket: OwnedFd) -> Result<()> {
        self.guests.watch(&socket, EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT, 0)?;
        self.socket = Some(socket);
        (self.readable, self.told) = (true, false);
        self.patience = Patience::default();
        Ok(())
    }

    fn accept(&mut self) {
        if self.socket.is_none()
            && let Some(socket) = self.guests.next()
            && let Err(error) = self.begin(socket)
        {
            say::note!("{}: {error:#}", self.what);
        }
    }

    fn ended(&mut self) {
        self.socket = None;
        self.readable = false;
        self.over = self.guests.is_last();
        self.accept();
    }

    /// Receives one that is a frame; its length.
    fn receive(&mut self) -> Option<usize> {
        loop {
            let socket = self.socket.as_ref()?;
            // There is room for a byte more than in a frame, by which a longer one is noticed.
            match recv(socket, &mut self.message[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) if self.to.is_none() => self.ended(),
                Ok((len, _)) => {
                    let message = &self.message[..len];
                    let Some(wrong) = no_frame(message) else { return Some(len) };
                    self.came.dropped();
                    if !std::mem::replace(&mut self.told, true) {
                        say::error!(
                            "{}: {wrong}, which is no frame; it says {}",
                            self.what,
                            begins(message)
                        );
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    return None;
                }
                // A datagram of ours found nobody.
                Err(Errno::CONNREFUSED) if self.to.is_some() => {}
                Err(_) => self.ended(),
            }
        }
    }
}

impl Source for MessageEdge {
    fn peek(&mut self) -> Option<&[u8]> {
        if self.came_last.is_none() {
            self.came_last = self.receive();
        }
        self.came_last.map(|len| &self.message[..len])
    }

    fn take(&mut self) {
        if let Some(len) = self.came_last.take() {
            self.came.passed(VNET_LEN + len);
        }
    }
}

/// Why a message is no frame.
fn no_frame(message: &[u8]) -> Option<String> {
    let Some(header) = message.first_chunk::<ETHERNET_LEN>() else {
        return Some(format!("a message of {} bytes", message.len()));
    };
    if message.len() > LONGEST {
        return Some(format!("a message of more than {LONGEST} bytes"));
    }
    // A stream's framing in a message: someone has taken one for the other.
    for framing in [Framing::Frames, Framing::Qemu, Framing::Vde] {
        let len = message.len() - framing.prefix();
        if message[..framing.prefix()] == framing.prefix_of(len)[..framing.prefix()] {
            return Some(format!("the length of a {} frame before each", framing.name()));
        }
    }
    not_ethernet(header).map(str::to_owned)
}

impl Edge for MessageEdge {
    fn features(&self) -> u64 {
        0
    }

    fn plugged(&mut self, features: u64) -> Result<()> {
        self.joining = Joining::of(features);
        Ok(())
    }

    fn unplugged(&mut self) -> Result<()> {
        self.joining = Joining::default();
        Ok(())
    }

    fn has_frames(&mut self) -> bool {
        self.came_last.is_some() || self.readable
    }

    fn has_room(&mut self) -> bool {
        !self.patience.is_blocked() || self.patience.gives_up()
    }

    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        self.joining.fill(self, room).ok_or(NotNow)
    }

    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken> {
        let Some(socket) = &self.socket else {
            self.absence.missed(|| format!("nobody connects to {}", self.what));
            return Err(NotTaken::Refused);
        };
        let packet = frame.part(VNET_LEN, frame.len());
        let sent = match &self.to {
            Some(to) => {
                let len = packet.copy_to(0, &mut self.letter);
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::sendto(socket, &self.letter[..len], flags, &to.there)
            }
            None => packet
                .write_after(&[], socket)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        match sent {
            Ok(_) => {
                self.patience.moved();
                self.absence.is_over();
                self.went.passed(frame.len());
                Ok(())
            }
            // Another's full queue gives no event: like a cable that is not there.
            Err(Errno::AGAIN) if self.to.is_none() => {
                self.patience.blocked();
                Err(self.patience.turn_away(&self.what))
            }
            Err(Errno::NOENT | Errno::CONNREFUSED) if let Some(to) = &self.to => {
                self.absence.missed(|| format!("nobody receives at {to}"));
                Err(NotTaken::Refused)
            }
            Err(_) => Err(NotTaken::Refused),
        }
    }

    fn arm(&mut self) -> bool {
        !self.patience.is_due()
    }

    fn watch(&self, watch: &mut Watch<'_>) -> Result<()> {
        watch(self.guests.as_fd(), EpollFlags::EPOLLIN | EpollFlags::EPOLLET)
    }

    fn woken(&mut self) {
        for news in self.guests.news() {
            match news {
                News::Ready(..) => {
                    self.readable = self.socket.is_some();
                    self.patience.unblocked();
                }
                News::Next => self.accept(),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.patience.deadline()
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

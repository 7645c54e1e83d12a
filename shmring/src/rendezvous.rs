//! Two holders of a pipe find each other.
//!
//! The reader listens on a Unix socket named after the pipe, in the user's
//! runtime directory; writers connect. A writer that comes first watches the
//! directory with inotify, and a listener puts its socket there by a rename
//! after `listen(2)`, so the first event a writer sees is one it can act on:
//! neither order needs a sleep or a poll loop. Where the pipe is itself a Unix
//! socket, the writer sends one end of a fresh socket pair through it.

mod connect;
mod listen;
pub(crate) mod survivor;
pub(crate) mod watch;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use crate::address::{PipeEnd, Role};
use crate::error::LinkError;
use crate::handshake::{Malformed, Offer, VERSION};
use crate::link::Link;
use crate::region::RegionError;
use crate::runtime_dir::RuntimeDir;

use connect::Connecting;
use listen::Listening;

/// A rendezvous under way: poll [`AsFd`], then call [`Rendezvous::poll`]; or
/// just [`Rendezvous::wait`].
///
/// A reader's rendezvous goes on after its first link: a FIFO may have several
/// writers, each with a ring of its own, and a writer that was killed may be
/// replaced. A writer's comes to one link; make a new one to connect again.
pub struct Rendezvous {
    common: Common,
    state: State,
}

/// What a rendezvous came to.
#[expect(clippy::large_enum_variant, reason = "there are few of them, and most are links")]
pub enum Event {
    /// A link is up.
    Link(Link),
    /// To a reader that [accepts bytes](Rendezvous::accept_bytes): there are some in the
    /// pipe, so its writer does not know of rings, or has not found this reader yet.
    Bytes,
    /// To such a reader: a writer has found it, has stopped writing, and these bytes
    /// were its last. What it writes now may be frames, so the pipe is not to be read
    /// until there is a link, whose frames come after those bytes, or [`Event::Retracted`].
    WriterStopped(Vec<u8>),
    /// To a writer that [holds](Rendezvous::hold) its greeting back: a reader has
    /// turned up. Once the last byte is written, [`Rendezvous::greet`] it.
    ReaderCame,
    /// The neighbour that turned up went away again, or on with its byte stream.
    Retracted,
}

impl Event {
    /// The link, for who cannot get anything else.
    pub fn into_link(self) -> Option<Link> {
        match self {
            Event::Link(link) => Some(link),
            _ => None,
        }
    }
}

enum State {
    Listening(Listening),
    Connecting(Connecting),
    Done,
}

/// What both sides of a rendezvous need.
struct Common {
    end: PipeEnd,
    dir: RuntimeDir,
    offer: Offer,
    epoll: OwnedFd,
    /// Whether a hang-up of the pipe still means that nobody will come.
    watch_pipe: bool,
    /// Bytes in the pipe are for the holder of this rendezvous, not an error.
    accept_bytes: bool,
    /// What the holder has not been told yet.
    events: VecDeque<Event>,
}

/// What goes through a pipe that is a Unix socket, beside the descriptor that
/// it is about. A neighbour that does not know of rings reads these bytes and
/// thereby closes the descriptor: the writer gets [`LinkError::NeighbourGone`]
/// and may go on writing behind them. So they are the beginning of the stream
/// that most programs read, a pcap file: magic number, version, two zeros.
pub const PROLOGUE: [u8; 16] = *b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0";

/// Rounds of events that one call of [`Rendezvous::poll`] handles: a neighbour
/// that makes new ones all the time does not keep the caller from its other work.
const ROUNDS: usize = 16;

/// Tokens of the epoll instance; pending connections have larger ones.
const PIPE: u64 = 0;
const STATE: u64 = 1;

impl Rendezvous {
    /// Starts to listen or to connect, as the role of `end` says.
    ///
    /// # Errors
    /// [`LinkError`], in particular [`LinkError::Taken`] is reported by
    /// [`Rendezvous::poll`] when the pipe has a reader already.
    pub fn new(end: PipeEnd, dir: &RuntimeDir, offer: Offer) -> Result<Rendezvous, LinkError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|errno| LinkError::System {
            what: end.what().to_owned(),
            call: "epoll_create1",
            errno,
        })?;
        let mut common = Common {
            end,
            dir: dir.clone(),
            offer,
            epoll,
            watch_pipe: false,
            accept_bytes: false,
            events: VecDeque::new(),
        };
        let state = if common.end.is_socket() {
            match common.end.role() {
                Role::Writer => State::Connecting(Connecting::through_socket(&common)?),
                _ => State::Listening(Listening::on_socket(&mut common)?),
            }
        } else if common.end.role() == Role::Writer {
            State::Connecting(Connecting::to_address(&common)?)
        } else {
            match Listening::at_address(&common)? {
                Some(listening) => State::Listening(listening),
                None => State::Connecting(Connecting::to_address(&common)?),
            }
        };
        common.watch_pipe()?;
        Ok(Rendezvous { common, state })
    }

    /// Does what can be done without waiting, up to the next event: call it until
    /// there is none. Who neither accepts bytes nor holds greetings back gets links only.
    ///
    /// # Errors
    /// [`LinkError`]; the rendezvous is over.
    pub fn poll(&mut self) -> Result<Option<Event>, LinkError> {
        if let Some(event) = self.common.events.pop_front() {
            return Ok(Some(event));
        }
        let mut events: Vec<epoll::Event> = Vec::with_capacity(16);
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        for _ in 0..ROUNDS {
            events.clear();
            match epoll::wait(&self.common.epoll, spare_capacity(&mut events), Some(&now)) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(self.common.system("epoll_wait", e)),
            }
            // The neighbour's last words before news of its end.
            events.sort_by_key(|event| std::cmp::Reverse(event.data.u64()));
            for event in &events {
                let token = event.data.u64();
                if token == PIPE && !self.common.watch_pipe {
                    continue;
                }
                let link = match &mut self.state {
                    _ if token == PIPE && !self.common.end.is_socket() => {
                        self.common.pipe_event(event.flags)?;
                        None
                    }
                    State::Listening(listening) => listening.on_event(&mut self.common, token)?,
                    State::Connecting(connecting) => {
                        connecting.on_event(&mut self.common, token)?
                    }
                    State::Done => None,
                };
                if let Some(link) = link {
                    self.common.unwatch_pipe();
                    if let State::Connecting(_) = self.state {
                        self.state = State::Done;
                    }
                    self.common.events.push_back(Event::Link(link));
                }
                if let Some(event) = self.common.events.pop_front() {
                    return Ok(Some(event));
                }
            }
        }
        Ok(None)
    }

    /// Blocks until a link is up.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn wait(&mut self) -> Result<Link, LinkError> {
        loop {
            match self.poll()? {
                Some(Event::Link(link)) => return Ok(link),
                Some(_) => continue,
                None => {}
            }
            let mut fds =
                [rustix::event::PollFd::new(&self.common.epoll, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(self.common.system("poll", e)),
            }
        }
    }

    /// A reader's: bytes in the pipe are no error, and its holder reads them. See
    /// [`Event::Bytes`] and [`Event::WriterStopped`].
    pub fn accept_bytes(&mut self) {
        self.common.accept_bytes = true;
    }

    /// A reader's, once its links have ended: as before the first one, the hang-up of
    /// the pipe means that nobody will come, and bytes in it are news.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn await_next(&mut self) -> Result<(), LinkError> {
        if self.common.watch_pipe { Ok(()) } else { self.common.watch_pipe() }
    }

    /// A writer's: its holder wants to write bytes into the pipe. From now on a
    /// reader that turns up is [`Event::ReaderCame`], and not greeted before
    /// [`Rendezvous::greet`]. `false` when one was greeted already: then nothing may
    /// be written before [`Event::Retracted`].
    pub fn hold(&mut self) -> bool {
        match &mut self.state {
            State::Connecting(connecting) => connecting.hold(),
            _ => false,
        }
    }

    /// Greets the reader that has turned up. The caller has stopped writing, at
    /// the end of a packet. `false` when the reader went away: the caller may write on.
    ///
    /// # Errors
    /// [`LinkError`]; the rendezvous is over.
    pub fn greet(&mut self) -> Result<bool, LinkError> {
        match &mut self.state {
            State::Connecting(connecting) => connecting.greet_held(&self.common),
            _ => Ok(false),
        }
    }

    /// Whether this rendezvous has come to the one link it can come to.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The pipe this rendezvous is about.
    pub fn end(&self) -> &PipeEnd {
        &self.common.end
    }

    /// Gives the pipe back, for another rendezvous on it.
    pub fn into_end(self) -> PipeEnd {
        self.common.end
    }
}

impl AsFd for Rendezvous {
    /// Readable when it is worth calling [`Rendezvous::poll`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.common.epoll.as_fd()
    }
}

impl Common {
    fn system(&self, call: &'static str, errno: Errno) -> LinkError {
        LinkError::System { what: self.end.what().to_owned(), call, errno }
    }

    fn protocol(&self, why: &'static str) -> LinkError {
        LinkError::Protocol { what: self.end.what().to_owned(), why }
    }

    fn malformed(&self, error: Malformed) -> LinkError {
        match error {
            Malformed::Because(why) => self.protocol(why),
            Malformed::Version(theirs) => {
                LinkError::Version { what: self.end.what().to_owned(), theirs, ours: VERSION }
            }
        }
    }

    fn region(&self, error: RegionError) -> LinkError {
        match error {
            RegionError::Refused(why) => self.protocol(why),
            RegionError::System(call, source) => self.system(call, source),
        }
    }

    fn gone(&self) -> LinkError {
        LinkError::NeighbourGone { what: self.end.what().to_owned() }
    }

    fn add(&self, fd: impl AsFd, token: u64, interest: EventFlags) -> Result<(), LinkError> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), interest)
            .map_err(|e| self.system("epoll_ctl", e))
    }

    /// To be called before a watched descriptor is closed or becomes the link's:
    /// closing alone would leave it watched while a forked child has a copy.
    fn remove(&self, fd: impl AsFd) {
        // Fails only for a descriptor that is not there.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Until the first link, the pipe's own hang-up says that nobody will come,
    /// and bytes in it that its writer knows nothing of rings.
    fn watch_pipe(&mut self) -> Result<(), LinkError> {
        let interest = match self.end.role() {
            Role::Reader => EventFlags::IN | EventFlags::RDHUP,
            _ => EventFlags::empty(), // hang-up and error are always reported
        };
        self.add(&self.end, PIPE, interest)?;
        self.watch_pipe = true;
        Ok(())
    }

    fn unwatch_pipe(&mut self) {
        if std::mem::take(&mut self.watch_pipe) {
            self.remove(&self.end);
        }
    }

    fn pipe_event(&mut self, flags: EventFlags) -> Result<(), LinkError> {
        match flags.contains(EventFlags::IN) {
            true if self.accept_bytes => {
                self.events.push_back(Event::Bytes);
                self.unwatch_pipe();
                Ok(())
            }
            true => Err(LinkError::UnawareNeighbour { what: self.end.what().to_owned() }),
            false => Err(self.gone()),
        }
    }

    /// Takes out of the pipe what a writer put there before its HELLO. It writes
    /// no more, so the number of bytes is known; never more than the pipe holds.
    fn tell_leftover(&mut self) -> Result<(), LinkError> {
        let left = rustix::io::ioctl_fionread(&self.end).unwrap_or(0) as usize;
        let mut last = vec![0; left];
        let mut len = 0;
        let mut result = Ok(());
        if left > 0 {
            let pipe = self.reopened_to_read()?;
            while len < left {
                match rustix::io::read(&pipe, &mut last[len..]) {
                    Ok(0) | Err(Errno::AGAIN) => break,
                    Ok(n) => len += n,
                    Err(Errno::INTR) => {}
                    Err(e) => {
                        result = Err(self.system("read", e));
                        break;
                    }
                }
            }
        }
        last.truncate(len);
        self.events.push_back(Event::WriterStopped(last));
        result
    }

    fn reopened_to_read(&self) -> Result<OwnedFd, LinkError> {
        self.end.reopen(rustix::fs::OFlags::RDONLY).map_err(|e| self.system("open", e))
    }
}

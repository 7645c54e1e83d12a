//! Two holders of a pipe find each other.
//!
//! Each publishes itself on the pipe ([`adverts`]), looks who else is there and
//! knocks at his gate ([`gate`]), whoever came first. What they then decide is in
//! [`meeting`]; here is what has descriptors, system calls and a clock. Everything is an
//! event, but for the waits of [`clock`]: they bound what somebody stopped or hostile
//! can keep from others. Where the pipe is itself a Unix socket, the writer sends
//! one end of a fresh socket pair through it instead of knocking.

pub(crate) mod adverts;
mod clock;
mod common;
pub(crate) mod gate;
mod greeter;
mod maker;
mod meeting;
#[cfg(test)]
mod search;
mod strangers;
mod talk;
mod visits;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Weak;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventFlags};
use rustix::io::Errno;

use crate::address::PipeEnd;
use crate::bell::LinkFds;
use crate::error::LinkError;
use crate::handshake::{Kind, Offer, Reason};
use crate::link::Link;
use crate::role::Role;
use crate::runtime_dir::RuntimeDir;

use adverts::Advert;
use clock::{Alarm, Clock};
use common::Common;
use gate::PathGate;
use meeting::{Action, Channel, Meeting};
use strangers::Strangers;
use talk::Talk;

/// A rendezvous under way: poll [`AsFd`], then call [`Rendezvous::poll`]; or
/// just [`Rendezvous::wait`].
///
/// A reader's rendezvous goes on after its first link: a FIFO may have several
/// writers, each with a ring of its own, and a writer that was killed may be
/// replaced. A writer's comes to one link; make a new one to look for another.
pub struct Rendezvous {
    common: Common,
    meeting: Meeting,
    talks: BTreeMap<Channel, Talk>,
    path_gate: Option<PathGate>,
    /// The link that has what no other can have, as far as it lives.
    claimed: Weak<LinkFds>,
    /// Where its neighbour's answer will come.
    asked: Option<OwnedFd>,
    clock: Clock,
    /// How often we looked who is there, and gave up on one that we greeted; each makes
    /// the next wait longer.
    looks: u32,
    disappointments: u32,
    strangers: Strangers,
    /// A writer has stopped writing on our account.
    stopped: bool,
    over: bool,
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
    /// Somebody is at the other end with whom there can be no link, and this says
    /// why and what to do. Others may still come.
    Trouble(LinkError),
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

/// What goes through a pipe that is a Unix socket, beside the descriptor that
/// it is about. A neighbour that does not know of rings reads these bytes and
/// thereby closes the descriptor: the writer gets [`LinkError::NeighbourGone`]
/// and may go on writing behind them. So they are the beginning of the stream
/// that most programs read, a pcap file: magic number, version, two zeros.
pub const PROLOGUE: [u8; 16] = *b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0";

/// Rounds of events that one call of [`Rendezvous::poll`] handles: a neighbour
/// that makes new ones all the time does not keep the caller from its other work.
const ROUNDS: usize = 16;

/// Tokens of the epoll instance; those of conversations begin at [`TALKS`]. What
/// happened in a conversation is heard before who knocks.
const PIPE: u64 = 0;
const GATE: u64 = 1;
const PATH_GATE: u64 = 2;
const TIMER: u64 = 3;
const ANSWER: u64 = 4;
const TALKS: u64 = 16;

impl Rendezvous {
    /// Starts to look for the other holders of `end`, as its role says. `dir` is a
    /// second place to meet at, for those who come from another network namespace.
    ///
    /// # Errors
    /// [`LinkError`]. [`LinkError::Taken`] is reported by [`Rendezvous::poll`] when
    /// the pipe has a reader already.
    pub fn new(end: PipeEnd, dir: &RuntimeDir, offer: Offer) -> Result<Rendezvous, LinkError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|errno| LinkError::System {
            what: end.what().to_owned(),
            call: "epoll_create1",
            errno,
        })?;
        let role = end.role();
        let me = end.post().map_or(Advert { nonce: 0, role }, |post| post.advert(role));
        let common = Common {
            end,
            dir: dir.clone(),
            offer,
            epoll,
            watch_pipe: false,
            accept_bytes: false,
            events: VecDeque::new(),
        };
        let mut rendezvous = Rendezvous {
            meeting: if common.end.is_socket() { Meeting::of_two(me) } else { Meeting::new(me) },
            common,
            talks: BTreeMap::new(),
            path_gate: None,
            claimed: Weak::new(),
            asked: None,
            clock: Clock::default(),
            looks: 0,
            disappointments: 0,
            strangers: Strangers::default(),
            stopped: false,
            over: false,
        };
        match rendezvous.common.end.post() {
            Some(_) => rendezvous.begin()?,
            None if role == Role::Writer => rendezvous.knock_through()?,
            None => {} // the neighbour's socket will come through ours
        }
        rendezvous.act()?;
        rendezvous.common.watch_pipe()?;
        Ok(rendezvous)
    }

    /// Opens the gates and publishes them.
    fn begin(&mut self) -> Result<(), LinkError> {
        let Common { end, dir, .. } = &mut self.common;
        let (what, role) = (end.what().to_owned(), end.role());
        let Some(post) = end.post_mut() else { return Ok(()) };
        // Only a second way: who cannot have it can do without.
        self.path_gate = post.path_gate(dir).ok().flatten();
        post.publish(role).map_err(|errno| match errno {
            Errno::AGAIN => LinkError::Protocol { what, why: "it locks the whole pipe" },
            errno => LinkError::System { what, call: "fcntl(F_OFD_SETLK)", errno },
        })?;
        if let Some(post) = self.common.end.post() {
            self.common.add(post, GATE, EventFlags::IN)?;
        }
        if let Some(gate) = &self.path_gate {
            self.common.add(&gate.socket, PATH_GATE, EventFlags::IN)?;
        }
        Ok(())
    }

    /// Does what can be done without waiting, up to the next event: call it until
    /// there is none. Who neither accepts bytes nor holds greetings back gets links and
    /// trouble only.
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
                self.on_event(event.data.u64(), event.flags)?;
                self.act()?;
            }
            if let Some(event) = self.common.events.pop_front() {
                return Ok(Some(event));
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
                Some(Event::Trouble(error)) => return Err(error),
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

    /// From now on frames are not to go aside ([`Channel::Aside`](crate::Channel::Aside)): there is
    /// no way of their own any more.
    pub fn keep_to_rings(&mut self) {
        self.common.offer.keep_to_rings();
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
        self.meeting.hold();
        let greets = self.meeting.is_greeting();
        if greets {
            self.clock.set(Alarm::Patience, Some(Instant::now() + clock::PATIENCE));
            // Without a timer, want of descriptors, the answer is waited for.
            let _ = self.clock.arm(&self.common);
        }
        !greets
    }

    /// Greets the reader that has turned up. The caller has stopped writing, at
    /// the end of a packet. `false` when the reader went away: the caller may write on.
    ///
    /// # Errors
    /// [`LinkError`]; the rendezvous is over.
    pub fn greet(&mut self) -> Result<bool, LinkError> {
        self.meeting.greet();
        self.act()?;
        Ok(self.meeting.is_greeting())
    }

    /// Whether this rendezvous has come to the one link it can come to.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The pipe this rendezvous is about.
    pub fn end(&self) -> &PipeEnd {
        &self.common.end
    }

    /// Gives the pipe back, for another rendezvous on it.
    pub fn into_end(self) -> PipeEnd {
        let mut end = self.common.end;
        if let Some(post) = end.post_mut() {
            post.withdraw();
        }
        end
    }

    fn on_event(&mut self, token: u64, flags: EventFlags) -> Result<(), LinkError> {
        match token {
            PIPE if !self.common.watch_pipe => Ok(()),
            PIPE if !self.common.end.is_socket() => self.common.pipe_event(flags),
            PIPE if self.common.end.role() == Role::Reader => self.receive_socket(),
            // The socket that is the pipe hung up, or carries what nobody expects.
            PIPE => Err(self.common.gone()),
            GATE | PATH_GATE => self.on_gate(token),
            TIMER => self.on_alarm(),
            ANSWER => {
                self.on_answer();
                Ok(())
            }
            _ => self.hear(token - TALKS),
        }
    }

    /// Tells the holder what it has to know of what happened.
    fn tell(&mut self) {
        let linked = matches!(self.common.events.back(), Some(Event::Link(_)));
        if linked {
            self.common.unwatch_pipe();
            self.stopped = false;
            if self.common.end.is_anonymous() {
                // No other neighbour comes to a `|` from elsewhere.
                self.close_path_gate();
            }
        } else if self.stopped && self.talks.values().all(|talk| talk.made.is_none()) {
            self.common.events.push_back(Event::Retracted);
            self.stopped = false;
        }
        let promised = self.meeting.promised().and_then(|channel| self.talks.get(&channel));
        self.clock.set(Alarm::Promise, promised.map(|talk| talk.since + clock::PROMISE));
    }

    /// Does all that the meeting wants done.
    fn act(&mut self) -> Result<(), LinkError> {
        while let Some(action) = self.meeting.action() {
            match action {
                Action::Look if self.common.end.is_socket() => return Err(self.common.gone()),
                Action::Look if self.looks < 2 => self.look()?,
                Action::Look | Action::LookLater => self.look_later(),
                Action::Knock(channel, nonce) => self.knock(channel, nonce)?,
                Action::Come(channel) => self.say(channel, Kind::Come),
                Action::Hello(channel) => self.hello(channel)?,
                Action::Welcome(channel, claim) => self.welcome(channel, claim),
                Action::Refuse(channel) => self.refuse(channel, Reason::Taken),
                Action::Close(channel) => self.hang_up(channel),
                Action::Ask => self.ask()?,
            }
        }
        self.tell();
        self.clock.arm(&self.common)
    }

    fn close_path_gate(&mut self) {
        if let Some(gate) = self.path_gate.take() {
            self.common.remove(&gate.socket);
        }
    }

    fn on_alarm(&mut self) -> Result<(), LinkError> {
        for alarm in self.clock.due() {
            match alarm {
                Alarm::Look => self.look()?,
                Alarm::Patience => {
                    if self.meeting.is_greeting() && self.meeting.is_held() {
                        self.disappointments += 1;
                        self.meeting.give_up();
                        self.retract_if(true);
                    }
                }
                Alarm::Promise => {
                    if let Some(channel) = self.meeting.promised() {
                        self.lose(channel);
                    }
                }
                // As good as an answer: it is there, and may be stopped. But where all or
                // nothing is at stake, nobody is refused on a suspicion.
                Alarm::Answer if self.common.end.role() != Role::Either => {
                    if let Some(asked) = self.asked.take() {
                        self.common.remove(&asked);
                        self.meeting.neighbour_lives();
                    }
                }
                Alarm::Answer => {}
                Alarm::Reach => self.complain_of_reach()?,
            }
        }
        Ok(())
    }
}

impl AsFd for Rendezvous {
    /// Readable when it is worth calling [`Rendezvous::poll`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.common.epoll.as_fd()
    }
}

//! The maker's part: checks a HELLO, makes the rings, hands them over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::clock::{ANSWER as ANSWER_LIMIT, Alarm};
use super::common::Common;
use super::meeting::{Channel, Claim};
use super::talk::{Made, Talk};
use super::{ANSWER, Event, PROLOGUE, Rendezvous};
use crate::bell::{LinkFds, Ringer, is_doorbell};
use crate::error::LinkError;
use crate::handshake::{ALIVE, Channel as Crossing, Kind, Message, Offer, Reason};
use crate::link::{Link, Medium, Peer, halves};
use crate::region::{Geometry, Region};
use crate::role::Role;
use crate::{peer, scm};

impl Rendezvous {
    /// ksh93 and its like: the neighbour's socket comes through the pipe.
    pub(super) fn receive_socket(&mut self) -> Result<(), LinkError> {
        // One more: no message goes on behind a descriptor, so a longer one is none
        // of ours. A look goes on to the descriptors of the next one, though.
        let mut bytes = [0; PROLOGUE.len() + 1];
        let is_ours = |bytes: &[u8], fds: &[OwnedFd]| bytes == PROLOGUE && fds.len() == 1;
        let common = &mut self.common;
        // A look first: bytes of a neighbour that knows nothing of this are not
        // ours to take. It may well begin with the same ones.
        match scm::peek(&common.end, &mut bytes) {
            Ok(seen) if seen.len > 0 && !is_ours(&bytes[..seen.len], &seen.fds) => {
                if !common.accept_bytes {
                    return Err(LinkError::UnawareNeighbour { what: common.end.what().to_owned() });
                }
                common.events.push_back(Event::Bytes);
                common.unwatch_pipe();
                return Ok(());
            }
            _ => {} // whatever else it is, the same comes out below
        }
        match scm::recv(&common.end, &mut bytes) {
            Ok(received) if received.len == 0 => Err(common.gone()),
            Ok(mut received) if is_ours(&bytes[..received.len], &received.fds) => {
                common.unwatch_pipe();
                let socket = received.fds.remove(0);
                if !peer::is_our_user(&socket) {
                    return Err(common.protocol("it belongs to another user"));
                }
                let pid = peer::pid(&socket);
                let channel = self.meeting.brought();
                self.talk(channel, socket, false, pid)
            }
            Ok(_) | Err(Errno::MSGSIZE) => {
                Err(LinkError::UnawareNeighbour { what: common.end.what().to_owned() })
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(Errno::CONNRESET) => Err(common.gone()),
            Err(e) => Err(common.system("recvmsg", e)),
        }
    }

    /// Somebody greets us.
    pub(super) fn on_hello(&mut self, channel: Channel, hello: Message, fds: Vec<OwnedFd>) {
        let hearing = match check_hello(&self.common, &hello, fds) {
            Ok(hearing) => hearing,
            Err(reason) => return self.turn_away(channel, reason),
        };
        let agreed = self.common.offer.agree(&hello.offer);
        let claim = match (agreed.channel, agreed.duplex) {
            (Crossing::Fifo | Crossing::Aside, _) => Claim::Whole,
            (Crossing::Shm, true) => Claim::WayBack,
            (Crossing::Shm, false) => Claim::Forward,
        };
        if !self.meeting.hello(channel, claim) {
            return self.turn_away(channel, Reason::Malformed);
        }
        if let Some(talk) = self.talks.get_mut(&channel) {
            talk.hello = Some((hello, hearing));
        }
    }

    /// Answers the HELLO.
    pub(super) fn welcome(&mut self, channel: Channel, claim: Claim) {
        let Some(talk) = self.talks.get_mut(&channel) else { return };
        let Some((hello, hearing)) = talk.hello.take() else { return };
        let made = make(&mut self.common, talk, &hello, hearing, claim);
        talk.since = Instant::now();
        match made {
            Ok((made, stopped)) => {
                talk.made = Some(made);
                self.stopped |= stopped;
            }
            Err(_) => self.turn_away(channel, Reason::Exhausted),
        }
    }

    /// The greeter is ready.
    pub(super) fn on_ready(&mut self, channel: Channel) {
        let claim = self.meeting.claim(channel);
        let Some(talk) = self.talks.remove(&channel) else { return };
        self.common.remove(&talk.socket);
        if !self.meeting.ready(channel) {
            return self.meeting.closed(channel);
        }
        let Talk { socket, made: Some(made), pid, .. } = talk else { return };
        let peer = Peer { pid, label: made.label };
        let fds = Arc::new(LinkFds::new(socket, made.ringer, made.hearing));
        let Offer { max_frame, channel, features, .. } = made.agreed;
        let label = &self.common.offer.label;
        // Else there are no descriptors left, and dropping it all tells the neighbour.
        if let Ok((tx, rx)) = halves(made.tx, made.rx, &fds, max_frame, label) {
            if claim > Claim::Forward {
                self.claimed = Arc::downgrade(&fds);
            }
            let link = Link { tx, rx, peer, channel, features, max_frame, aside: made.aside };
            self.common.events.push_back(Event::Link(link));
        }
    }

    /// Asks the neighbour of the link that has what others want whether it lives.
    pub(super) fn ask(&mut self) -> Result<(), LinkError> {
        let Some(fds) = self.claimed.upgrade() else {
            self.meeting.neighbour_gone();
            return Ok(());
        };
        let (ours, theirs) = self.common.pair()?;
        let sent = scm::send(&fds.socket, &ALIVE, &[theirs.as_fd()]);
        // For any other reason it may live, and there will be no answer.
        if let Err(Errno::PIPE | Errno::CONNRESET) = sent {
            self.meeting.neighbour_gone();
            return Ok(());
        }
        self.common.add(&ours, ANSWER, EventFlags::IN)?;
        self.asked = Some(ours);
        self.clock.set(Alarm::Answer, Some(Instant::now() + ANSWER_LIMIT));
        Ok(())
    }

    /// It answered, or will not.
    pub(super) fn on_answer(&mut self) {
        let Some(asked) = self.asked.take() else { return };
        let mut bytes = [0; ALIVE.len() + 1];
        let received = scm::recv(&asked, &mut bytes);
        if matches!(received, Err(Errno::AGAIN | Errno::INTR)) {
            self.asked = Some(asked);
            return;
        }
        self.common.remove(&asked);
        self.clock.set(Alarm::Answer, None);
        match received {
            Ok(received) if bytes[..received.len] == ALIVE => self.meeting.neighbour_lives(),
            _ => self.meeting.neighbour_gone(),
        }
    }
}

/// Checks a HELLO; returns the doorbell that came with it.
fn check_hello(common: &Common, hello: &Message, mut fds: Vec<OwnedFd>) -> Result<OwnedFd, Reason> {
    if common.end.role() == Role::Reader && hello.role == Role::Reader {
        return Err(Reason::Taken);
    }
    // A socket that came through the pipe is its own proof.
    let expected = if common.end.is_socket() { 1 } else { 2 };
    if fds.len() != expected {
        return Err(Reason::NoProof);
    }
    let hearing = fds.pop().ok_or(Reason::NoProof)?;
    let role = if writes(hello) { Role::Writer } else { Role::Reader };
    if !fds.iter().all(|proof| common.end.is_proved_by(proof, role)) {
        return Err(Reason::NoProof);
    }
    // Now: a proof kept open would keep the pipe from hanging up.
    drop(fds);
    if !is_doorbell(&hearing) {
        return Err(Reason::Malformed);
    }
    Ok(hearing)
}

fn writes(hello: &Message) -> bool {
    hello.role != Role::Reader
}

/// Makes the media of both directions and hands the neighbour's halves over. Second,
/// whether the neighbour has stopped writing bytes.
fn make(
    common: &mut Common,
    talk: &Talk,
    hello: &Message,
    hearing: OwnedFd,
    claim: Claim,
) -> Result<(Made, bool), LinkError> {
    let mut agreed = common.offer.agree(&hello.offer);
    agreed.duplex &= claim > Claim::Forward;
    let stopped = common.accept_bytes && writes(hello) && !common.end.is_socket();
    if stopped && common.tell_leftover()? {
        // It comes by this process, and so does what follows.
        agreed.keep_to_rings();
    }
    let common = &*common;
    let system = |call| move |e| common.system(call, e);
    let geometry = Geometry::new(agreed.capacity, agreed.max_frame, common.end.id());
    let ring = || Region::create(geometry).map_err(|e| common.region(e));
    let (ringer, their_hearing) = Ringer::new().map_err(system("eventfd"))?;
    let mut handed: Vec<OwnedFd> = Vec::new();
    let mut media = Vec::new();
    let mut aside = None;
    match agreed.channel {
        Crossing::Shm => {
            for _ in 0..1 + usize::from(agreed.duplex) {
                let region = ring()?;
                let memfd = rustix::io::fcntl_dupfd_cloexec(region.memfd(), 0);
                handed.push(memfd.map_err(system("dup"))?);
                media.push(Medium::Ring(region));
            }
        }
        Crossing::Fifo => {
            let access = if writes(hello) { OFlags::RDONLY } else { OFlags::WRONLY };
            let own = common.end.reopen(access).map_err(|e| common.unopened(e))?;
            media.push(Medium::Pipe(own));
            if agreed.duplex {
                let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
                let (read, write) = rustix::pipe::pipe_with(flags).map_err(system("pipe2"))?;
                let (ours, theirs) = if writes(hello) { (write, read) } else { (read, write) };
                media.push(Medium::Pipe(ours));
                handed.push(theirs);
            }
        }
        Crossing::Aside => {
            let (ours, theirs) = common.pair()?;
            aside = Some(ours);
            handed.push(theirs);
            media.extend([Medium::Aside, Medium::Aside]);
        }
    }
    let mut media = media.into_iter();
    let (forward, back) = (media.next(), media.next());
    let (tx, rx) = if writes(hello) { (back, forward) } else { (forward, back) };
    let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
    if !common.end.is_socket() {
        fds.push(common.end.as_fd());
    }
    fds.push(their_hearing.as_fd());
    fds.extend(handed.iter().map(AsFd::as_fd));
    let welcome = Message::new(Kind::Welcome, common.end.role(), &agreed);
    scm::send(&talk.socket, &welcome.encode(), &fds).map_err(system("sendmsg"))?;
    let label = hello.offer.label.clone();
    Ok((Made { tx, rx, ringer, hearing, agreed, aside, label }, stopped))
}

//! Conversations with other holders of the pipe.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::meeting::Channel;
use super::{Rendezvous, TALKS};
use crate::bell::Ringer;
use crate::error::LinkError;
use crate::handshake::{Kind, LEN, Malformed, Message, Offer, Reason};
use crate::link::Medium;
use crate::scm;

/// All of a link but its READY.
pub(super) struct Made {
    pub tx: Option<Medium>,
    pub rx: Option<Medium>,
    pub ringer: Ringer,
    pub hearing: OwnedFd,
    pub agreed: Offer,
    /// See [`Link::aside`](crate::Link::aside).
    pub aside: Option<OwnedFd>,
    pub label: String,
}

/// A conversation with another holder.
pub(super) struct Talk {
    pub socket: OwnedFd,
    /// We made the pair, so what comes has to say who sent it.
    pub is_ours: bool,
    /// The process at the other end, as far as known.
    pub pid: i32,
    /// When the last thing happened that the other is to answer.
    pub since: Instant,
    /// A maker's: a HELLO without an answer, and the doorbell that came with it.
    pub hello: Option<(Message, OwnedFd)>,
    /// A maker's, after its WELCOME: everything for the link but the READY.
    pub made: Option<Made>,
    /// A greeter's, after its HELLO.
    pub ringer: Option<Ringer>,
}

impl Rendezvous {
    /// A conversation begins.
    pub(super) fn talk(
        &mut self,
        channel: Channel,
        socket: OwnedFd,
        is_ours: bool,
        pid: i32,
    ) -> Result<(), LinkError> {
        self.common.add(&socket, TALKS + channel, EventFlags::IN)?;
        let since = Instant::now();
        let talk = Talk { socket, is_ours, pid, since, hello: None, made: None, ringer: None };
        self.talks.insert(channel, talk);
        Ok(())
    }

    pub(super) fn say(&self, channel: Channel, kind: Kind) {
        if let Some(talk) = self.talks.get(&channel) {
            let message = Message::new(kind, self.common.end.role(), &self.common.offer);
            // Who has hung up will be heard to have.
            let _ = scm::send(&talk.socket, &message.encode(), &[]);
        }
    }

    /// We say why not, and that was all.
    pub(super) fn refuse(&mut self, channel: Channel, reason: Reason) {
        if let Some(talk) = self.talks.get(&channel) {
            let message = Message::refuse(self.common.end.role(), &self.common.offer, reason);
            let _ = scm::send(&talk.socket, &message.encode(), &[]);
        }
        self.hang_up(channel);
    }

    pub(super) fn hang_up(&mut self, channel: Channel) {
        if let Some(talk) = self.talks.remove(&channel) {
            self.common.remove(&talk.socket);
        }
    }

    /// The other hung up, or did what is against the rules.
    pub(super) fn lose(&mut self, channel: Channel) {
        let greeted = self.meeting.is_greeting();
        self.hang_up(channel);
        self.meeting.closed(channel);
        self.retract_if(greeted);
    }

    /// Something was said in a conversation, or it has ended.
    pub(super) fn hear(&mut self, channel: Channel) -> Result<(), LinkError> {
        let Some(talk) = self.talks.get_mut(&channel) else { return Ok(()) };
        let mut bytes = [0; LEN + 1];
        let received = match talk.is_ours {
            true => scm::recv_from_our_user(&talk.socket, &mut bytes),
            false => scm::recv(&talk.socket, &mut bytes),
        };
        let received = match received {
            Ok(received) if received.len > 0 => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Ok(_) | Err(Errno::CONNRESET) => {
                self.lose(channel);
                return Ok(());
            }
            Err(e) => return self.misheard(channel, e),
        };
        if let Some(sender) = received.sender {
            talk.pid = sender.pid;
        }
        let message = match Message::decode(&bytes[..received.len]) {
            Ok(message) => message,
            Err(error) => return self.misunderstood(channel, error),
        };
        match message.kind {
            Kind::Come if self.meeting.come(channel) => {
                self.tell_who_came();
                Ok(())
            }
            Kind::Welcome if self.meeting.is_greeted(channel) => {
                self.welcomed(channel, message, received.fds)
            }
            Kind::Refuse if self.meeting.heeds(channel) => Err(self.refused(channel, &message)),
            Kind::Hello if self.meeting.makes(channel) => {
                self.on_hello(channel, message, received.fds);
                Ok(())
            }
            Kind::Ready if received.fds.is_empty() && self.meeting.makes(channel) => {
                self.on_ready(channel);
                Ok(())
            }
            _ if self.meeting.is_greeted(channel) => {
                Err(self.common.protocol("an answer of the wrong kind"))
            }
            _ => {
                self.turn_away(channel, Reason::Malformed);
                Ok(())
            }
        }
    }

    /// Whatever a greeter does wrong costs only its conversation; a maker has
    /// nobody else.
    fn misheard(&mut self, channel: Channel, errno: Errno) -> Result<(), LinkError> {
        if !self.meeting.is_greeted(channel) {
            self.lose(channel);
            return Ok(());
        }
        Err(match errno {
            Errno::MSGSIZE => self.common.protocol("a message of another length"),
            e => self.common.system("recvmsg", e),
        })
    }

    fn misunderstood(&mut self, channel: Channel, error: Malformed) -> Result<(), LinkError> {
        if self.meeting.is_greeted(channel) {
            return Err(self.common.malformed(error));
        }
        self.turn_away(
            channel,
            match error {
                Malformed::Version(_) => Reason::Version,
                Malformed::Because(_) => Reason::Malformed,
            },
        );
        Ok(())
    }

    pub(super) fn turn_away(&mut self, channel: Channel, reason: Reason) {
        self.refuse(channel, reason);
        self.meeting.closed(channel);
    }
}

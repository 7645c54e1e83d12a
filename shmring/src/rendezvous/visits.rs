//! Who is there, and who comes.

use std::os::fd::AsFd;
use std::time::Instant;

use rustix::io::Errno;

use super::adverts::Advert;
use super::clock::{self, Alarm};
use super::gate::{Arrival, Delivery};
use super::meeting::Channel;
use super::{PATH_GATE, Rendezvous};
use crate::error::LinkError;
use crate::peer;

impl Rendezvous {
    pub(super) fn look(&mut self) -> Result<(), LinkError> {
        self.clock.set(Alarm::Look, None);
        self.looks += 1;
        let Some(post) = self.common.end.post() else { return Ok(()) };
        let others = post.others().map_err(|e| self.common.system("fcntl(F_OFD_GETLK)", e))?;
        self.strangers.only(&others);
        self.meeting.saw(&others);
        Ok(())
    }

    pub(super) fn look_later(&mut self) {
        let pause = clock::PAUSE * (1 << self.looks.min(10));
        self.clock.set(Alarm::Look, Some(Instant::now() + pause));
    }

    pub(super) fn knock(&mut self, channel: Channel, nonce: u64) -> Result<(), LinkError> {
        let common = &self.common;
        let Some(post) = common.end.post() else { return Ok(()) };
        let (ours, theirs) = common.pair()?;
        let asked = rustix::net::sockopt::set_socket_passcred(&ours, true);
        asked.map_err(|e| common.system("setsockopt", e))?;
        let sent = post.knock(nonce, common.end.role(), &common.dir, Some(theirs.as_fd()));
        match sent.map_err(|e| common.system("sendmsg", e))? {
            Delivery::Done => self.talk(channel, ours, true, 0),
            Delivery::Nobody => {
                self.meeting.lost(channel);
                self.common.dir.bury(nonce);
                self.strangers.out_of_reach(nonce);
                self.clock.set(Alarm::Reach, self.strangers.due());
                Ok(())
            }
            Delivery::Full => {
                self.meeting.lost(channel);
                self.look_later();
                Ok(())
            }
        }
    }

    /// Somebody knocks.
    pub(super) fn on_gate(&mut self, token: u64) -> Result<(), LinkError> {
        let Some(post) = self.common.end.post() else { return Ok(()) };
        let arrival = match &self.path_gate {
            Some(gate) if token == PATH_GATE => gate.answer(),
            _ => post.answer(),
        };
        let (knock, socket) = match arrival {
            Ok(Arrival::Knock(knock, socket)) => (knock, socket),
            Ok(Arrival::Stranger(knock, sender)) => return self.on_stranger(knock, sender),
            Ok(Arrival::Noise) | Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(e) => return Err(self.common.system("recvmsg", e)),
        };
        let other = Advert { nonce: knock.nonce, role: knock.role };
        // Only who holds the pipe can publish itself there.
        if !peer::is_our_user(&socket) || !post.sees(other) {
            return Ok(());
        }
        let pid = peer::pid(&socket);
        match self.meeting.knocked(other) {
            Some(channel) => {
                self.talk(channel, socket, false, pid)?;
                self.tell_who_came();
                Ok(())
            }
            None => Ok(()),
        }
    }
}

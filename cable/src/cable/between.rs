//! Somebody comes between a cable and its neighbour, or goes away from there.
//!
//! *Insert*: the links of a cable go to the one who comes ([`insert`]), together with the
//! far end of a new link, and this cable goes on with the near end. The cable's pipe stays
//! what it is: when the new link ends, it looks for a neighbour there, and so does whoever
//! was handed over.
//!
//! *Remove*: the cable stops to send ([`Cable::hold`]), so that the one who goes can pass
//! on all that it got. Then its link to the other side comes here ([`Cable::inherit`]):
//! frames go out by that, and come in by it after the last one of the old link.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::epoll::EpollFlags;
use shmring::handover::{Giving, Handed, Outcome};

use super::handover::settle;
use super::{Cable, Wake};
use crate::half::{Half, Joined, Receiver};

/// Gives the links of a cable to the process at the other end of `socket`, with a new
/// link to it, for which it has the pipe `near`: that comes first. Returns the socket.
///
/// # Errors
/// A line for the user: nothing has changed, and why.
pub fn insert(
    cable: &mut Cable,
    near: (u64, u64),
    socket: OwnedFd,
    patience: Duration,
) -> Result<OwnedFd, String> {
    let until = Instant::now() + patience;
    cable.can_change()?;
    let lent = cable.lend();
    let offer = &cable.parts.offer;
    // What the two agreed on is what this side knows how to send.
    let features = lent.first().map_or(offer.features, |old| old.link.features);
    let labels = [offer.label.as_str(), "between"];
    let pair = shmring::pair(offer.capacity, offer.max_frame, features, labels);
    let (here, there) = match pair {
        Ok(pair) => pair,
        Err(error) => {
            cable.get_back(&mut lent.into_iter());
            return Err(format!("{}: no memory for a ring: {error}", cable.what()));
        }
    };
    let here = Handed { link: here, pipe: cable.pipe().map_or((0, 0), |pipe| pipe.id()) };
    let links = std::iter::once(Handed { link: there, pipe: near }).chain(lent).collect();
    match settle(Giving::start(socket, links), until) {
        Outcome::Taken(socket) => {
            cable.lent.clear();
            here.identify(&cable.parts.offer.label);
            cable.notice.joined(&here.link);
            cable.plugged = Some(features);
            cable.first.push(Joined::link(here.link));
            cable.look_at = Some(Instant::now());
            Ok(socket)
        }
        Outcome::Back(links, why) => {
            cable.get_back(&mut links.into_iter().skip(1));
            Err(why)
        }
    }
}

impl Cable {
    /// Whether its links can go to another process, and this cable go on with others.
    ///
    /// # Errors
    /// A line for the user: why not.
    pub fn can_change(&mut self) -> Result<(), String> {
        self.can_lend()?;
        match self.links.iter().any(|(_, joined)| joined.is_kept) {
            false => Ok(()),
            true => Err(format!(
                "{}: the process that holds it (--restart, --idle) has its links, too, and goes on \
                 with these",
                self.what()
            )),
        }
    }

    /// Whether the link with this ring ([`shmring::Tx::ring`]) can be held.
    ///
    /// # Errors
    /// A line for the user: why not.
    pub fn can_hold(&mut self, ring: u64) -> Result<(), String> {
        self.can_change()?;
        let has = |joined: &Joined| joined.tx.as_ref().and_then(|tx| tx.ring()) == Some(ring);
        if self.links.iter().any(|(_, joined)| has(joined) && joined.rx.is_some()) {
            return Ok(());
        }
        Err(format!("{}: it has no such link both ways", self.what()))
    }

    /// Publishes what was sent by the link with this ring, and sends nothing more until the
    /// link is [inherited](Cable::inherit) by another one, or until then.
    pub fn hold(&mut self, ring: u64, until: Instant) {
        for joined in self.links() {
            if joined.tx.as_ref().and_then(|tx| tx.ring()) == Some(ring) {
                joined.held = joined.tx.take();
                joined.held.iter_mut().for_each(|tx| tx.publish());
            }
        }
        self.held_until = Some(until);
    }

    /// Whether a link is held.
    pub fn is_held(&self) -> bool {
        self.links.iter().any(|(_, joined)| joined.held.is_some())
    }

    /// Whether the link with this ring is held.
    pub fn holds(&self, ring: u64) -> bool {
        let has = |joined: &Joined| joined.held.as_ref().and_then(|tx| tx.ring()) == Some(ring);
        self.links.iter().any(|(_, joined)| has(joined))
    }

    /// Sends again.
    pub fn release(&mut self) {
        self.held_until = None;
        for joined in self.links() {
            if let Some(mut tx) = joined.held.take() {
                // What happened to it meanwhile was not heard.
                let _ = tx.woken();
                joined.tx = Some(tx);
            }
        }
    }

    /// This link goes on where the one that is held ends. The caller drives a
    /// [`Switch`](crate::Switch), which takes it into use before the next turn.
    pub fn inherit(&mut self, handed: Handed) {
        handed.identify(&self.parts.offer.label);
        self.notice.joined(&handed.link);
        self.held_until = None;
        let held = self.links.iter().find(|(_, joined)| joined.held.is_some());
        if let Some((serial, _)) = held {
            self.bequeathed = Some((*serial, handed.link));
            self.look_at = Some(Instant::now());
        }
    }

    /// Takes an inherited link into use.
    pub(super) fn enter_on(
        &mut self,
        serial: u32,
        link: shmring::Link,
        wake: &mut Wake<'_>,
    ) -> Result<()> {
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        let Some((_, joined)) = self.links.iter_mut().find(|link| link.0 == serial) else {
            return Ok(());
        };
        joined.held = None; // its frames have been passed on
        joined.agreed = Some((link.peer, link.features));
        self.plugged = Some(link.features);
        joined.tx = link.tx;
        if let Some(tx) = &joined.tx {
            wake(serial, Half::Tx, tx.as_fd(), edge)?;
        }
        if let Some(rx) = link.rx.map(Receiver::new) {
            wake(serial, Half::Rx, rx.as_fd(), edge)?;
            joined.rx = Some(match joined.rx.take() {
                Some(old) => old.then(rx),
                None => rx,
            });
        }
        Ok(())
    }
}

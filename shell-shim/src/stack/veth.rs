//! An interface that is one end of a veth pair: the other end is a neighbour's.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use cable::Edge;
use cable::edge::{NotNow, NotTaken, Watch};
use frames::FEATURES;
use nix::sys::epoll::EpollFlags;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, State};
use rtnetlink::sys::Socket;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rustix::net::{RecvFlags, recv};
use shmring::{Bytes, BytesMut};

use super::ask;
use crate::door::socket;

/// `RTNLGRP_LINK` (`include/uapi/linux/rtnetlink.h`): something happened to an interface.
const LINKS: u32 = 1;
/// Said to the neighbour once whoever sends to it gets an answer.
const READY: &[u8] = b"ready";

/// One end of a veth pair. No frame of it comes here: the kernel moves them.
pub struct Veth {
    name: String,
    /// To the neighbour.
    aside: OwnedFd,
    news: Socket,
    /// The kernel would send by it.
    runs: bool,
    /// The neighbour is ready.
    is_met: bool,
    /// It was told that this side is.
    has_told: bool,
}

impl Veth {
    /// The interface `name`, which is there and still down.
    ///
    /// # Errors
    /// Those of netlink(7).
    pub fn new(name: &str, aside: OwnedFd) -> Result<Veth> {
        let news = ask::socket(NETLINK_ROUTE, &[LINKS]).context("rtnetlink")?;
        let name = name.to_owned();
        Ok(Veth { name, aside, news, runs: false, is_met: false, has_told: false })
    }

    /// Whether frames get to the neighbour, which is ready for them.
    pub fn is_ready(&self) -> bool {
        self.runs && self.is_met
    }

    /// Whether the neighbour was ready before it ended.
    pub fn was_met(&mut self) -> bool {
        self.woken();
        self.is_met
    }

    /// All else is ready here: the neighbour is to know, once frames get here.
    pub fn announce(&mut self) {
        if self.runs && !self.has_told {
            // A neighbour that is gone is heard of by the link.
            let _ = socket::send(&self.aside, READY, &[]);
            self.has_told = true;
        }
    }
}

/// Whether both ends are up, and the kernel sends: it takes note of the carrier before it does,
/// and what it gets meanwhile it drops. Where it does not answer, frames may be lost.
fn runs(name: &str) -> bool {
    let is = |it: &LinkAttribute| matches!(it, LinkAttribute::IfName(found) if found == name);
    let up = |it: &LinkAttribute| matches!(it, LinkAttribute::OperState(State::Up));
    let mut runs = false;
    let asked = ask::socket(NETLINK_ROUTE, &[]).and_then(|socket| {
        ask::each(&socket, RouteNetlinkMessage::GetLink(LinkMessage::default()), |answer| {
            if let RouteNetlinkMessage::NewLink(link) = answer {
                runs |= link.attributes.iter().any(is) && link.attributes.iter().any(up);
            }
        })
    });
    runs || asked.is_err()
}

impl Edge for Veth {
    fn features(&self) -> u64 {
        FEATURES
    }

    fn plugged(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    /// The kernel has taken the interface away.
    fn unplugged(&mut self) -> Result<()> {
        Ok(())
    }

    fn has_frames(&mut self) -> bool {
        false
    }

    fn has_room(&mut self) -> bool {
        true
    }

    fn fill(&mut self, _: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        Err(NotNow)
    }

    fn take(&mut self, _: Bytes<'_>) -> Result<(), NotTaken> {
        Err(NotTaken::Refused)
    }

    fn watch(&self, watch: &mut Watch<'_>) -> Result<()> {
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        watch(self.news.as_fd(), edge)?;
        watch(self.aside.as_fd(), edge)
    }

    fn woken(&mut self) {
        ask::forget(&self.news);
        self.runs = self.runs || runs(&self.name);
        // Whatever else comes means nothing.
        let mut bytes = [0; READY.len() + 1];
        if !self.is_met
            && let Ok((len, _)) = recv(&self.aside, &mut bytes, RecvFlags::DONTWAIT)
        {
            self.is_met = bytes[..len] == *READY;
        }
    }
}

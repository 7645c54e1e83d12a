//! What waits between sockets and interfaces, by rtnetlink(7).

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2};
use rtnetlink::sys::Socket;
use rtnetlink::sys::protocols::NETLINK_ROUTE;

use super::Left;
use crate::stack::ask;

/// `RTNLGRP_NEIGH` (`include/uapi/linux/rtnetlink.h`): what is known of a next hop changed.
const NEIGHBOURS: u32 = 3;

pub(super) struct Queues {
    asks: Socket,
    hears: Socket,
}

impl Queues {
    pub fn new() -> Result<Queues> {
        let open = |groups: &[u32]| ask::socket(NETLINK_ROUTE, groups).context("rtnetlink");
        Ok(Queues { asks: open(&[])?, hears: open(&[NEIGHBOURS])? })
    }

    pub fn news(&self) -> BorrowedFd<'_> {
        self.hears.as_fd()
    }

    pub fn forget_news(&self) {
        ask::forget(&self.hears);
    }

    pub fn add(&self, left: &mut Left) -> Result<()> {
        let question = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        ask::each(&self.asks, question, |answer| {
            if let RouteNetlinkMessage::NewNeighbour(next_hop) = answer {
                let asks = next_hop.header.state == NeighbourState::Incomplete;
                left.unresolved += u64::from(asks);
            }
        })
        .context("neighbours")?;
        let question = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        ask::each(&self.asks, question, |answer| {
            if let RouteNetlinkMessage::NewQueueDiscipline(queue) = answer
                // One below it is counted in it already.
                && queue.header.parent == TcHandle::ROOT
            {
                left.queued += queue.attributes.iter().map(packets).sum::<u64>();
            }
        })
        .context("queueing disciplines")
    }
}

fn packets(attribute: &TcAttribute) -> u64 {
    let TcAttribute::Stats2(stats) = attribute else { return 0 };
    let lengths = stats.iter().map(|stats| match stats {
        TcStats2::Queue(queue) => u64::from(queue.qlen),
        _ => 0,
    });
    lengths.sum()
}

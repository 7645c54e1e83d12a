//! What sockets hold, by sock_diag(7).

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSING, TCP_FIN_WAIT1, TCP_LAST_ACK,
};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags,
};
use rtnetlink::sys::Socket;
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;

use super::Left;
use super::census::Census;
use crate::stack::ask;

/// `SKNLGRP_INET_TCP_DESTROY`, `.._UDP_DESTROY` and the same for IPv6
/// (`include/uapi/linux/sock_diag.h`): a socket is gone. That of a UDP socket comes
/// when its last datagram has left.
const GONE: [u32; 4] = [1, 2, 3, 4];

pub(super) struct Sockets {
    asks: Socket,
    hears: Socket,
    census: Census,
}

impl Sockets {
    pub fn new() -> Result<Sockets> {
        let open = |groups: &[u32]| ask::socket(NETLINK_SOCK_DIAG, groups).context("sock_diag");
        Ok(Sockets { asks: open(&[])?, hears: open(&GONE)?, census: Census::new() })
    }

    pub fn news(&self) -> BorrowedFd<'_> {
        self.hears.as_fd()
    }

    pub fn forget_news(&self) {
        ask::forget(&self.hears);
    }

    pub fn add_unsent(&self, left: &mut Left, cut_off: &[IpAddr]) -> Result<()> {
        let states = StateFlags::ESTABLISHED
            | StateFlags::CLOSE_WAIT
            | StateFlags::FIN_WAIT1
            | StateFlags::CLOSING
            | StateFlags::LAST_ACK;
        self.each(IPPROTO_TCP, states, |socket| {
            let from = socket.socket_id.source_address.to_canonical();
            // With an inode it is a program's: one that --setup left there.
            if socket.inode != 0 || cut_off.contains(&from) {
                return;
            }
            // The end of a connection counts as a byte, until it is acknowledged.
            let ends = [TCP_FIN_WAIT1, TCP_CLOSING, TCP_LAST_ACK].contains(&socket.state);
            let bytes = u64::from(socket.send_queue);
            left.connections += u64::from(ends || bytes > 0);
            left.bytes += bytes.saturating_sub(u64::from(ends));
        })
    }

    pub fn unread(&self, at: &[IpAddr]) -> Result<u64> {
        let mut unread = 0;
        let open = StateFlags::all() - StateFlags::TIME_WAIT;
        for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
            self.each(protocol, open.clone(), |socket| {
                let address = socket.socket_id.source_address.to_canonical();
                if address.is_unspecified() || at.contains(&address) {
                    unread += u64::from(socket.recv_queue);
                }
            })?;
        }
        Ok(unread)
    }

    fn each(
        &self,
        protocol: u8,
        states: StateFlags,
        mut each: impl FnMut(&InetResponseHeader),
    ) -> Result<()> {
        let name = if protocol == IPPROTO_TCP { "TCP" } else { "UDP" };
        let v4 = (AF_INET, SocketId::new_v4(), name.to_owned());
        let v6 = (AF_INET6, SocketId::new_v6(), format!("{name}6"));
        for (family, socket_id, name) in [v4, v6] {
            if !self.census.may_have(&name) {
                continue;
            }
            let (states, extensions) = (states.clone(), ExtensionFlags::empty());
            let request = InetRequest { family, protocol, extensions, states, socket_id };
            let answered = ask::each(&self.asks, SockDiagMessage::InetRequest(request), |answer| {
                if let SockDiagMessage::InetResponse(answer) = answer {
                    each(&answer.header);
                }
            });
            answered.context("sock_diag")?;
        }
        Ok(())
    }
}

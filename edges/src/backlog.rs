//! Frames that wait in a TAP, and how their senders hear of it.

use frames::{MARK_LEN, VNET_LEN};
use shmring::BytesMut;

/// A frame that is shorter could have been larger, had its sender waited. Bytes.
pub const SMALL: usize = 16 << 10;

/// So many frames in a row without the TAP once being empty: its reader is behind. A quarter of
/// what waits in a TAP at most (`txqueuelen`, 1000). With fewer a connection over a long path is
/// held back more often than it is with these, with more the small frames wait for longer than they need.
const MANY: usize = 250;

/// Active queue management, as RFC 7567 asks of whoever holds a queue.
///
/// A TAP takes frames off their socket's account (`skb_orphan` in `tun_net_xmit` of
/// `drivers/net/tun.c`), so that nothing holds TCP back where frames wait: each small write goes
/// out as a frame of its own, until the TAP drops them. Told that its frames wait
/// (RFC 3168) it sends fewer and larger ones, which take less work a byte. Those that are large
/// already gain nothing by it.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Read since the TAP was empty.
    frames: usize,
}

impl Backlog {
    /// The TAP was found empty.
    pub fn is_over(&mut self) {
        self.frames = 0;
    }

    /// One more frame was read, the first `len` bytes of `frame`: it is marked where it should be.
    #[inline]
    pub fn look(&mut self, frame: &mut BytesMut<'_>, len: usize) {
        self.frames += 1;
        if self.frames > MANY && len < SMALL {
            mark(frame, len);
        }
    }
}

#[cold]
fn mark(frame: &mut BytesMut<'_>, len: usize) {
    let mut begin = [0; MARK_LEN];
    let begin = &mut begin[..len.saturating_sub(VNET_LEN).min(MARK_LEN)];
    frame.as_bytes().copy_to(VNET_LEN, begin);
    if frames::mark(begin) {
        frame.copy_from(VNET_LEN, begin);
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{IpEcn, Ipv4Header, LaxNetSlice, LaxSlicedPacket, PacketBuilder};

    use super::*;

    /// A frame whose sender listens.
    fn frame(payload: usize) -> Vec<u8> {
        let mut ip = Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, [10; 4], [11; 4]).unwrap();
        ip.ecn = IpEcn::Ect0;
        let mut out = vec![0; VNET_LEN];
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = etherparse::IpHeaders::Ipv4(ip, Default::default());
        link.ip(ip).udp(1, 2).write(&mut out, &vec![0; payload]).unwrap();
        out
    }

    /// Reads it, and says whether it was marked.
    fn reads(backlog: &mut Backlog, payload: usize) -> bool {
        let mut frame = frame(payload);
        let len = frame.len();
        backlog.look(&mut BytesMut::of_slice(&mut frame), len);
        let packet = LaxSlicedPacket::from_ethernet(&frame[VNET_LEN..]).unwrap();
        let Some(LaxNetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4: {packet:?}") };
        assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum());
        ip.header().ecn() == IpEcn::CongestionExperienced
    }

    #[test]
    fn small_frames_that_wait_behind_many_are_marked() {
        let mut backlog = Backlog::default();
        assert!((0..MANY).all(|_| !reads(&mut backlog, 100)));
        assert!((0..10).all(|_| reads(&mut backlog, 100)));
        assert!(!reads(&mut backlog, 30_000), "it could not be much larger");
        assert!(reads(&mut backlog, 1400));
        backlog.is_over();
        assert!(!reads(&mut backlog, 100));
    }

    #[test]
    fn what_is_no_packet_stays_as_it_is() {
        let mut backlog = Backlog { frames: MANY };
        for len in [0, 5, VNET_LEN, VNET_LEN + 3, 60] {
            let mut bytes = vec![0x55; 60];
            backlog.look(&mut BytesMut::of_slice(&mut bytes), len);
            assert_eq!(bytes, [0x55; 60]);
        }
    }
}

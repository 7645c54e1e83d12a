//! TCP's timestamps (RFC 7323, section 3), by which a packet answers one of the other direction.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpOptionElement, TransportSlice};

use crate::MARK_LEN;

/// Bytes from the Ethernet header on within which [`Timestamps::of`] finds what it needs: what
/// [`mark`](crate::mark) looks at and the longest TCP header.
pub const TIMESTAMPS_LEN: usize = MARK_LEN + 60;

/// Of a packet of TCP. Nothing is checked, neither checksums nor whether somebody waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamps {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    /// TSval: the clock of its sender, mostly milliseconds.
    value: u32,
    /// TSecr: the last value that had come the other way.
    echo: u32,
}

impl Timestamps {
    /// `packet` is its begin, [`TIMESTAMPS_LEN`] bytes or all of it. None of a packet without any.
    pub fn of(packet: &[u8]) -> Option<Timestamps> {
        let sliced = LaxSlicedPacket::from_ethernet(packet).ok()?;
        let (from, to): (IpAddr, IpAddr) = match sliced.net.as_ref()? {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into())
            }
            LaxNetSlice::Ipv6(ip) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into())
            }
            LaxNetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return None };
        let (value, echo) = tcp.options_iterator().find_map(|option| match option {
            Ok(TcpOptionElement::Timestamp(value, echo)) => Some((value, echo)),
            _ => None,
        })?;
        let (from, to) = ((from, tcp.source_port()), (to, tcp.destination_port()));
        Some(Timestamps { from, to, value, echo })
    }

    /// Whether both are of the same connection and direction.
    pub fn is_of_sender_of(&self, other: &Timestamps) -> bool {
        (self.from, self.to) == (other.from, other.to)
    }

    /// Whether its sender had got `other`, or a later packet, before.
    pub fn answers(&self, other: &Timestamps) -> bool {
        // Serial numbers: half of all are later.
        let is_later = self.echo.wrapping_sub(other.value) < 1 << 31;
        (self.from, self.to) == (other.to, other.from) && is_later
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, TcpOptionElement::*, VlanId};
    use proptest::prelude::*;

    use super::*;

    /// A packet from port `from` to port `to` with those options.
    fn packet(v6: bool, tag: bool, from: u16, to: u16, options: &[TcpOptionElement]) -> Vec<u8> {
        let mut out = Vec::new();
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        macro_rules! on {
            ($link:expr) => {{
                let (a, b) = if from < to { (1, 2) } else { (2, 1) };
                let ip = if v6 {
                    $link.ipv6([a; 16], [b; 16], 64)
                } else {
                    $link.ipv4([a; 4], [b; 4], 64)
                };
                let tcp = ip.tcp(from, to, 7, 100).options(options).unwrap();
                tcp.write(&mut out, &[0; 200]).unwrap();
            }};
        }
        if tag {
            on!(link.single_vlan(VlanId::try_new(7).unwrap()))
        } else {
            on!(link)
        }
        out
    }

    fn stamps(v6: bool, tag: bool, from: u16, to: u16, value: u32, echo: u32) -> Timestamps {
        let packet = packet(v6, tag, from, to, &[Noop, Noop, Timestamp(value, echo)]);
        let all = Timestamps::of(&packet).unwrap();
        assert_eq!(Timestamps::of(&packet[..TIMESTAMPS_LEN]), Some(all), "its begin is enough");
        all
    }

    #[test]
    fn an_answer_is_of_the_other_direction_and_not_before() {
        for (v6, tag) in [(false, false), (false, true), (true, false), (true, true)] {
            let asked = stamps(v6, tag, 1, 2, u32::MAX, 5);
            for (from, to, echo, answers) in [
                (2, 1, u32::MAX, true),
                (2, 1, 3, true), // the clock is over its end
                (2, 1, u32::MAX - 1, false),
                (1, 2, u32::MAX, false),
                (3, 1, u32::MAX, false),
                (2, 0, u32::MAX, false),
            ] {
                let seen = stamps(v6, tag, from, to, 9, echo);
                assert_eq!(seen.answers(&asked), answers, "{seen:?}");
            }
            assert!(!stamps(!v6, tag, 2, 1, 9, u32::MAX).answers(&asked));
        }
    }

    #[test]
    fn a_connection_has_two_senders() {
        let one = stamps(false, false, 1, 2, 5, 5);
        assert!(stamps(false, true, 1, 2, 7, 8).is_of_sender_of(&one));
        for other in [stamps(false, false, 2, 1, 5, 5), stamps(false, false, 1, 3, 5, 5)] {
            assert!(!other.is_of_sender_of(&one));
        }
    }

    #[test]
    fn what_has_no_timestamps_has_none() {
        let without = packet(false, false, 1, 2, &[Noop, MaximumSegmentSize(1460)]);
        assert_eq!(Timestamps::of(&without), None);
        let mut udp = Vec::new();
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        link.ipv4([1; 4], [2; 4], 64).udp(1, 2).write(&mut udp, &[8; 40]).unwrap();
        assert_eq!(Timestamps::of(&udp), None);
        let with = packet(false, false, 1, 2, &[Timestamp(1, 2)]);
        let least = with.len() - 200;
        for len in 0..with.len() {
            assert_eq!(Timestamps::of(&with[..len]).is_some(), len >= least, "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut tcp = packet(false, false, 1, 2, &[Timestamp(1, 2)]);
            let at = bytes.len() % tcp.len();
            let end = tcp.len().min(at + bytes.len());
            tcp[at..end].copy_from_slice(&bytes[..end - at]);
            let _ = (Timestamps::of(&bytes), Timestamps::of(&tcp));
        }
    }
}

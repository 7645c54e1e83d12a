//! What tells of a TCP packet which one of the other direction it answers: its numbers
//! and its timestamps (RFC 7323, section 3).

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpOptionElement, TransportSlice};

use crate::MARK_LEN;

/// Bytes from the Ethernet header on within which [`Segment::of`] finds what it needs: what
/// [`mark`](crate::mark) looks at and the longest TCP header. Behind long extension headers of
/// IPv6 it may not.
pub const SEGMENT_LEN: usize = MARK_LEN + 60;

/// A packet of TCP with timestamps. Nothing is checked, neither checksums nor whether somebody
/// waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    /// The number of its first byte.
    sequence: u32,
    /// The number that its sender expects next.
    acknowledges: u32,
    /// TSval: the clock of its sender, mostly milliseconds.
    value: u32,
    /// TSecr: the last value that had come the other way.
    echo: u32,
}

impl Segment {
    /// `packet` is its begin, [`SEGMENT_LEN`] bytes or all of it. None of one that has no timestamps,
    /// or has them behind an option that is not known.
    pub fn of(packet: &[u8]) -> Option<Segment> {
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
        let (sequence, acknowledges) = (tcp.sequence_number(), tcp.acknowledgment_number());
        Some(Segment { from, to, sequence, acknowledges, value, echo })
    }

    /// Whether both are of the same connection and direction.
    pub fn is_of_sender_of(&self, other: &Segment) -> bool {
        (self.from, self.to) == (other.from, other.to)
    }

    /// Whether its sender had got the first byte of `other`.
    pub fn acknowledges(&self, other: &Segment) -> bool {
        self.goes_back_to(other) && is_later(self.acknowledges, other.sequence)
    }

    /// Whether its sender had got a packet that was sent after `other`, by the clock of who
    /// sent these.
    pub fn is_after_answer(&self, other: &Segment) -> bool {
        self.goes_back_to(other) && is_later(self.echo, other.value)
    }

    fn goes_back_to(&self, other: &Segment) -> bool {
        (self.from, self.to) == (other.to, other.from)
    }
}

/// Of serial numbers half of all are later than one.
fn is_later(number: u32, than: u32) -> bool {
    (1..1 << 31).contains(&number.wrapping_sub(than))
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, TcpOptionElement::*, VlanId};
    use proptest::prelude::*;

    use super::*;

    /// The parts that vary of a packet.
    #[derive(Clone, Copy)]
    struct Is {
        v6: bool,
        tag: bool,
        ports: (u16, u16),
        numbers: (u32, u32),
    }

    const PLAIN: Is = Is { v6: false, tag: false, ports: (1, 2), numbers: (7, 8) };

    fn packet(is: Is, options: &[TcpOptionElement]) -> Vec<u8> {
        let mut out = Vec::new();
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let (from, to) = is.ports;
        macro_rules! on {
            ($link:expr) => {{
                let (a, b) = if from < to { (1, 2) } else { (2, 1) };
                let ip = if is.v6 {
                    $link.ipv6([a; 16], [b; 16], 64)
                } else {
                    $link.ipv4([a; 4], [b; 4], 64)
                };
                let tcp = ip.tcp(from, to, is.numbers.0, 100).ack(is.numbers.1);
                tcp.options(options).unwrap().write(&mut out, &[0; 200]).unwrap();
            }};
        }
        if is.tag {
            on!(link.single_vlan(VlanId::try_new(7).unwrap()))
        } else {
            on!(link)
        }
        out
    }

    fn segment(is: Is, value: u32, echo: u32) -> Segment {
        let packet = packet(is, &[Noop, Noop, Timestamp(value, echo)]);
        let all = Segment::of(&packet).unwrap();
        assert_eq!(Segment::of(&packet[..SEGMENT_LEN]), Some(all), "its begin is enough");
        all
    }

    #[test]
    fn an_answer_is_of_the_other_direction_and_later() {
        for (v6, tag) in [(false, false), (false, true), (true, false), (true, true)] {
            let is = |ports, numbers| Is { v6, tag, ports, numbers };
            let asked = segment(is((1, 2), (u32::MAX, 5)), u32::MAX, 5);
            for (ports, number, answers) in [
                ((2, 1), 0, true), // numbers go round
                ((2, 1), 3, true),
                ((2, 1), u32::MAX, false), // that is of the one before
                ((2, 1), u32::MAX - 1, false),
                ((1, 2), 3, false),
                ((3, 1), 3, false),
                ((2, 0), 3, false),
            ] {
                let by_number = segment(is(ports, (9, number)), 9, u32::MAX);
                assert_eq!(by_number.acknowledges(&asked), answers, "{by_number:?}");
                assert!(!by_number.is_after_answer(&asked), "{by_number:?}");
                let by_time = segment(is(ports, (9, u32::MAX)), 9, number);
                assert_eq!(by_time.is_after_answer(&asked), answers, "{by_time:?}");
                assert!(!by_time.acknowledges(&asked), "{by_time:?}");
            }
            let other = Is { v6: !v6, ..is((2, 1), (9, 3)) };
            assert!(!segment(other, 9, 3).acknowledges(&asked));
        }
    }

    #[test]
    fn a_connection_has_two_senders() {
        let one = segment(PLAIN, 5, 5);
        assert!(segment(Is { tag: true, numbers: (1, 1), ..PLAIN }, 7, 8).is_of_sender_of(&one));
        for ports in [(2, 1), (1, 3)] {
            assert!(!segment(Is { ports, ..PLAIN }, 5, 5).is_of_sender_of(&one));
        }
    }

    #[test]
    fn what_has_no_timestamps_has_none() {
        let without = packet(PLAIN, &[Noop, MaximumSegmentSize(1460)]);
        assert_eq!(Segment::of(&without), None);
        let mut udp = Vec::new();
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        link.ipv4([1; 4], [2; 4], 64).udp(1, 2).write(&mut udp, &[8; 40]).unwrap();
        assert_eq!(Segment::of(&udp), None);
        let with = packet(PLAIN, &[Timestamp(1, 2)]);
        let least = with.len() - 200;
        for len in 0..with.len() {
            assert_eq!(Segment::of(&with[..len]).is_some(), len >= least, "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut tcp = packet(PLAIN, &[Timestamp(1, 2)]);
            let at = bytes.len() % tcp.len();
            let end = tcp.len().min(at + bytes.len());
            tcp[at..end].copy_from_slice(&bytes[..end - at]);
            let _ = (Segment::of(&bytes), Segment::of(&tcp));
        }
    }
}

//! Explicit Congestion Notification (RFC 3168): a packet's sender hears that it waited.

use etherparse::LaxSlicedPacket;

use crate::ip::header_of;

/// The bits of ECN, the last two of an IP header's traffic class: nobody listens,
/// and congestion was met. The other two values say that the sender listens (section 5).
const NOT_ECT: u8 = 0b00;
const CE: u8 = 0b11;

/// Bytes from the Ethernet header on within which [`mark`] finds what it needs: two VLAN tags and
/// the longest IPv4 header.
pub const MARK_LEN: usize = crate::ETHERNET_LEN + 8 + 60;

/// Marks a packet as one that met congestion; `packet` is its begin, [`MARK_LEN`] bytes or all
/// of it. Returns whether it is now marked and was not before: one whose sender does not listen
/// stays as it is.
pub fn mark(packet: &mut [u8]) -> bool {
    let Some((ip, v6)) = ip_header(packet) else { return false };
    // The traffic class is the second byte, or begins in the middle of the first.
    let shift = if v6 { 4 } else { 0 };
    let bits = packet[ip + 1] >> shift & CE;
    if bits == NOT_ECT || bits == CE {
        return false;
    }
    packet[ip + 1] |= CE << shift;
    if !v6 {
        let checksum = &mut packet[ip + 10..ip + 12];
        let before = u16::from_be_bytes([checksum[0], checksum[1]]);
        checksum.copy_from_slice(&grown(before, u16::from(CE - bits)).to_be_bytes());
    }
    true
}

/// Where the IP header is, and whether it is one of IPv6.
fn ip_header(packet: &[u8]) -> Option<(usize, bool)> {
    let sliced = LaxSlicedPacket::from_ethernet(packet).ok()?;
    let (header, v6) = header_of(&sliced)?;
    // It is a subslice of the packet.
    Some((header.as_ptr() as usize - packet.as_ptr() as usize, v6))
}

/// The checksum of a header, one word of which became larger (RFC 1624, equation 3).
fn grown(checksum: u16, by: u16) -> u16 {
    let (sum, carry) = (!checksum).overflowing_add(by);
    !(sum + u16::from(carry))
}

#[cfg(test)]
mod tests {
    use etherparse::{IpEcn, Ipv4Header, Ipv6Header, PacketBuilder, VlanId};
    use proptest::prelude::*;

    use super::*;

    /// A packet whose sender says that of ECN, `id` in its IPv4 header.
    fn packet(v6: bool, tags: u8, ecn: IpEcn, id: u16) -> Vec<u8> {
        let mut ipv4 = Ipv4Header::new(8, 64, etherparse::IpNumber::UDP, [10; 4], [11; 4]).unwrap();
        (ipv4.ecn, ipv4.identification) = (ecn, id);
        let traffic_class = 0b1011_0100 | ecn.value();
        let ipv6 = Ipv6Header { traffic_class, hop_limit: 9, ..Default::default() };
        let ip = if v6 {
            etherparse::IpHeaders::Ipv6(ipv6, Default::default())
        } else {
            etherparse::IpHeaders::Ipv4(ipv4, Default::default())
        };
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let tag = VlanId::try_new(7).unwrap();
        let mut out = Vec::new();
        macro_rules! on {
            ($link:expr) => {
                $link.ip(ip).udp(1, 2).write(&mut out, &[1; 30]).unwrap()
            };
        }
        match tags {
            0 => on!(link),
            1 => on!(link.single_vlan(tag)),
            _ => on!(link.double_vlan(tag, tag)),
        }
        out
    }

    #[test]
    fn whose_sender_listens_is_marked_and_stays_valid() {
        for (v6, tags) in [(false, 0), (false, 1), (false, 2), (true, 0), (true, 1), (true, 2)] {
            for ecn in [IpEcn::Ect0, IpEcn::Ect1] {
                // Sums of all kinds, with and without a carry.
                for id in (0..=u16::MAX).step_by(if v6 { 1 << 15 } else { 7 }) {
                    let mut seen = packet(v6, tags, ecn, id);
                    assert!(mark(&mut seen));
                    let expected = packet(v6, tags, IpEcn::CongestionExperienced, id);
                    assert_eq!(seen, expected, "{v6} {tags} {ecn:?} {id}");
                    assert!(!mark(&mut seen), "once is enough");
                }
            }
        }
    }

    #[test]
    fn whose_sender_does_not_listen_stays() {
        let mut arp = vec![0xff; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        let unheard = [packet(false, 1, IpEcn::NotEct, 5), packet(true, 0, IpEcn::NotEct, 5), arp];
        for before in unheard {
            let mut seen = before.clone();
            assert!(!mark(&mut seen));
            assert_eq!(seen, before);
        }
    }

    #[test]
    fn its_begin_is_enough() {
        for v6 in [false, true] {
            let whole = packet(v6, 2, IpEcn::Ect0, 5);
            let least = crate::ETHERNET_LEN + 8 + if v6 { 40 } else { 20 };
            for len in 0..whole.len() {
                let mut seen = whole[..len].to_vec();
                assert_eq!(mark(&mut seen), len >= least, "{len}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_stay_but_for_the_bits(bytes in proptest::collection::vec(any::<u8>(), 0..MARK_LEN)) {
            let mut seen = bytes.clone();
            let marked = mark(&mut seen);
            let differ = seen.iter().zip(&bytes).filter(|(now, before)| now != before).count();
            prop_assert_eq!((1..=3).contains(&differ), marked);
        }
    }
}

//! The IP header of a packet.

use etherparse::{LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket};

/// The header, if nothing but VLAN tags is before it, and whether it is one of IPv6.
pub(crate) fn header_of<'a>(packet: &'a LaxSlicedPacket<'_>) -> Option<(&'a [u8], bool)> {
    let only_tags = packet.link_exts.iter().all(|it| matches!(it, LaxLinkExtSlice::Vlan(_)));
    let header = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => (ip.header().slice(), false),
        LaxNetSlice::Ipv6(ip) => (ip.header().slice(), true),
        LaxNetSlice::Arp(_) => return None,
    };
    only_tags.then_some(header)
}

//! The header of an IP packet that may be cut off anywhere behind its addresses.

use std::net::Ipv6Addr;

use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice,
};

use super::Datagram;

/// What an IP header and its extensions say.
pub(super) struct Ip<'a> {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    /// Of the payload, behind all extension headers that can be seen.
    pub protocol: IpNumber,
    pub payload: &'a [u8],
    /// The datagram that it is a fragment of, and whether a later one than the first.
    pub fragment: Option<(Datagram, bool)>,
}

impl<'a> Ip<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Ip<'a>> {
        let mut ip = match bytes.first()? >> 4 {
            4 => Ip::v4(bytes)?,
            6 => Ip::v6(bytes)?,
            _ => return None,
        };
        while ip.protocol == IpNumber::AUTHENTICATION_HEADER && !ip.is_later() {
            let header = IpAuthHeaderSlice::from_slice(ip.payload).ok();
            ip.skip(header.map(|header| (header.next_header(), header.slice().len())));
        }
        Some(ip)
    }

    fn v4(bytes: &'a [u8]) -> Option<Ip<'a>> {
        let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
        let [source, destination] =
            [header.source_addr(), header.destination_addr()].map(|it| it.to_ipv6_mapped());
        let (protocol, id) = (header.protocol(), header.identification().into());
        let datagram = Datagram { source, destination, id, protocol: protocol.0 };
        let fragment = header
            .is_fragmenting_payload()
            .then(|| (datagram, header.fragments_offset().value() != 0));
        // 0 in a frame to be segmented that is longer than the field can say.
        let end = match usize::from(header.total_len()) {
            0 => bytes.len(),
            len => len.min(bytes.len()),
        };
        let payload = bytes.get(header.slice().len()..end).unwrap_or_default();
        Some(Ip { source, destination, protocol, payload, fragment })
    }

    fn v6(bytes: &'a [u8]) -> Option<Ip<'a>> {
        let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
        let (source, destination) = (header.source_addr(), header.destination_addr());
        let rest = &bytes[header.slice().len()..];
        let end = match usize::from(header.payload_length()) {
            0 => rest.len(),
            len => len.min(rest.len()),
        };
        let (protocol, payload) = (header.next_header(), &rest[..end]);
        let mut ip = Ip { source, destination, protocol, payload, fragment: None };
        while !ip.is_later() {
            match ip.protocol {
                IpNumber::IPV6_HEADER_HOP_BY_HOP
                | IpNumber::IPV6_ROUTE_HEADER
                | IpNumber::IPV6_DESTINATION_OPTIONS => {
                    let header = Ipv6RawExtHeaderSlice::from_slice(ip.payload).ok();
                    ip.skip(header.map(|header| (header.next_header(), header.slice().len())));
                }
                IpNumber::AUTHENTICATION_HEADER => {
                    let header = IpAuthHeaderSlice::from_slice(ip.payload).ok();
                    ip.skip(header.map(|header| (header.next_header(), header.slice().len())));
                }
                IpNumber::IPV6_FRAGMENTATION_HEADER => {
                    let header = Ipv6FragmentHeaderSlice::from_slice(ip.payload).ok();
                    if let Some(header) = header.as_ref().filter(|it| it.is_fragmenting_payload()) {
                        let id = header.identification();
                        let datagram = Datagram { source, destination, id, protocol: 0 };
                        ip.fragment = Some((datagram, header.fragment_offset().value() != 0));
                    }
                    ip.skip(header.map(|header| (header.next_header(), header.slice().len())));
                }
                _ => break,
            }
        }
        Some(ip)
    }

    /// What follows a later fragment's header is the middle of something.
    fn is_later(&self) -> bool {
        matches!(self.fragment, Some((_, true)))
    }

    /// Goes on behind an extension header; None is one that is cut off.
    fn skip(&mut self, header: Option<(IpNumber, usize)>) {
        let behind = header.and_then(|(next, len)| Some((next, self.payload.get(len..)?)));
        (self.protocol, self.payload) = behind.unwrap_or((IpNumber::IPV6_NO_NEXT_HEADER, &[]));
    }
}

//! Ethernet addresses that follow from IP addresses.

use std::net::IpAddr;

/// The Ethernet address of the interface with this IP address. One and the same
/// each time, so that whoever replaces a function that was killed has the address
/// which its neighbours remember; no other function on a link has the IP address.
pub fn mac_of(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match address {
        IpAddr::V4(address) => address.octets(),
        // FNV-1a: as good as the address itself for a few neighbours.
        IpAddr::V6(address) => address
            .octets()
            .iter()
            .fold(0x811c_9dc5_u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
            .to_be_bytes(),
    };
    // Locally administered, unicast.
    [0x02, b'r', a, b, c, d]
}

/// The Ethernet address that a packet to this IP address goes to, where nobody
/// routes it: that of [`mac_of`], or of the group (RFC 1112, RFC 2464).
pub fn destination(address: IpAddr) -> [u8; 6] {
    match address {
        IpAddr::V4(address) if address.is_broadcast() => [0xff; 6],
        IpAddr::V4(address) if address.is_multicast() => {
            let [_, b, c, d] = address.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(address) if address.is_multicast() => {
            let [.., a, b, c, d] = address.octets();
            [0x33, 0x33, a, b, c, d]
        }
        address => mac_of(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_address_tells_neighbours_apart_and_stays() {
        let mac = |text: &str| mac_of(text.parse().unwrap());
        assert_eq!(mac("10.0.1.2"), [0x02, b'r', 10, 0, 1, 2]);
        assert_ne!(mac("fd00::1"), mac("fd00::2"));
        assert_eq!(mac("fd00::1"), mac("fd00:0:0::1"));
    }

    #[test]
    fn groups_have_addresses_of_their_own() {
        let mac = |text: &str| destination(text.parse().unwrap());
        assert_eq!(mac("10.0.1.2"), mac_of("10.0.1.2".parse().unwrap()));
        assert_eq!(mac("255.255.255.255"), [0xff; 6]);
        assert_eq!(mac("239.129.1.2"), [0x01, 0x00, 0x5e, 1, 1, 2]);
        assert_eq!(mac("ff02::1:ff00:5"), [0x33, 0x33, 0xff, 0, 0, 5]);
    }
}

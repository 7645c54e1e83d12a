//! Which addresses an interface can have. The kernel takes some that cannot work.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail};
use ipnet::IpNet;

/// Whether `address` can be that of one interface in its network.
///
/// # Errors
/// What it is instead, and an address that can.
pub fn check(address: &IpNet) -> Result<()> {
    let ip = address.addr();
    let never = match ip {
        ip if ip.is_loopback() => "is the machine itself, on lo",
        ip if ip.is_multicast() => "is that of a group (multicast)",
        ip if ip.is_unspecified() => "stands for no address",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "is that of everybody (broadcast)",
        IpAddr::V4(ip) if ip.octets()[0] >= 240 => "is reserved (RFC 1112)",
        _ => "",
    };
    if !never.is_empty() {
        let like = if ip.is_ipv4() { "192.168.0.1/24" } else { "2001:db8::1/64" };
        bail!("{never}: name an address of the link's network, like {like}");
    }
    // In networks of two or one, all addresses are somebody's (RFC 3021, RFC 6164).
    if address.prefix_len() + 2 > address.max_prefix_len() {
        return Ok(());
    }
    let what = match ip {
        // With IPv6, that of any of its routers (RFC 4291, section 2.6.1).
        ip if ip == address.network() => "is its network's own address",
        ip if ip.is_ipv4() && ip == address.broadcast() => "is its network's broadcast address",
        _ => return Ok(()),
    };
    match address.hosts().find(|host| *host != address.network()) {
        Some(host) => bail!("{what}: {host}/{} would do, for one", address.prefix_len()),
        None => bail!("{what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_interface_can_have() {
        for (address, words) in [
            ("127.0.0.1/8", "the machine itself"),
            ("127.1.2.3/32", "the machine itself"),
            ("::1/128", "like 2001:db8::1/64"),
            ("224.0.0.1/24", "multicast"),
            ("ff02::1/64", "multicast"),
            ("0.0.0.0/0", "no address"),
            ("::/0", "no address"),
            ("255.255.255.255/32", "broadcast"),
            ("241.0.0.1/24", "reserved"),
            ("10.0.0.0/24", "network's own address: 10.0.0.1/24 would do"),
            ("10.0.0.4/30", "network's own address: 10.0.0.5/30 would do"),
            ("10.0.0.255/24", "broadcast address: 10.0.0.1/24 would do"),
            ("fd00::/64", "network's own address: fd00::1/64 would do"),
        ] {
            let error = check(&address.parse().unwrap()).expect_err(address).to_string();
            assert!(error.contains(words), "{address}: {error}");
        }
    }

    #[test]
    fn what_one_can() {
        for address in [
            "10.0.0.1/24",
            "10.0.0.254/24",
            "10.0.0.0/31",
            "10.0.0.1/31",
            "10.0.0.0/32",
            "10.0.1.0/23",
            "10.0.0.255/23",
            "fd00::1/64",
            "fd00::ffff:ffff:ffff:ffff/64",
            "fd00::/127",
            "fd00::/128",
            "fe80::1/64",
        ] {
            check(&address.parse().unwrap()).expect(address);
        }
    }
}

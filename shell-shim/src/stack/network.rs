//! What the user asked the function's network to look like, and whether it
//! can work. Nothing here touches the kernel.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;

use super::addresses;

/// The MTUs of a TAP, in bytes: `MIN_MTU` and `MAX_MTU` less the Ethernet
/// header (`tun_net_initialize` in `drivers/net/tun.c`). The vnet header does
/// not count.
pub const MTU: RangeInclusive<u32> = 68..=65_535 - 14;

/// The largest IP packet of an interface unless the user says otherwise, in bytes.
pub const DEFAULT_MTU: u32 = 1500;

/// Below this an interface has no IPv6 (`IPV6_MIN_MTU`, RFC 8200), in bytes.
pub const IPV6_MIN_MTU: u32 = 1280;

/// The name of a function's switch.
pub const BRIDGE: &str = "br0";

/// All that is to be configured.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// The interfaces, which exist already.
    pub interfaces: Vec<Interface>,
    /// Routes over gateways.
    pub routes: Vec<Route>,
    /// Default gateways, at most one a family.
    pub gateways: Vec<IpAddr>,
    /// Whether the interfaces are ports of [`BRIDGE`], which has their addresses.
    pub bridge: bool,
}

/// One interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The largest packet, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Its addresses, each with the length of its network's prefix.
    pub addresses: Vec<IpNet>,
    /// Its Ethernet address; the kernel's choice if none.
    pub mac: Option<[u8; 6]>,
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network it leads to; host bits are ignored.
    pub dest: IpNet,
    /// The gateway.
    pub via: IpAddr,
}

impl Interface {
    /// Whether an IPv6 address was asked for.
    pub fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(|address| matches!(address, IpNet::V6(_)))
    }
}

impl Network {
    /// Checks what the kernel would refuse with less of an explanation.
    ///
    /// # Errors
    /// One line: an MTU out of range or too small for IPv6; a multicast
    /// Ethernet address; an address that no interface can have, or twice; a route
    /// given twice or not needed; a gateway that no interface reaches, that is the
    /// function itself or of another family than its route.
    pub fn check(&self) -> Result<()> {
        for Interface { name, mtu, mac, .. } in &self.interfaces {
            ensure!(
                MTU.contains(mtu),
                "interface {name}: MTU {mtu}: {} to {} is possible",
                MTU.start(),
                MTU.end()
            );
            ensure!(
                mac.is_none_or(|mac| mac[0] & 1 == 0 && mac != [0; 6]),
                "interface {name}: not the Ethernet address of a single interface: the first byte must be even, not all zero"
            );
        }
        for interface in self.interfaces.iter().filter(|interface| interface.has_ipv6()) {
            let Interface { name, mtu, .. } = interface;
            ensure!(
                *mtu >= IPV6_MIN_MTU,
                "interface {name}: MTU {mtu}: IPv6 needs {IPV6_MIN_MTU} at least"
            );
        }
        for Interface { name, addresses, .. } in &self.interfaces {
            for (at, address) in addresses.iter().enumerate() {
                let context = || format!("interface {name}: {address}");
                addresses::check(address).with_context(context)?;
                ensure!(
                    !addresses[..at].contains(address),
                    "{}: given twice: leave one out",
                    context()
                );
            }
        }
        let routes: Vec<Route> = self.routed().collect();
        for (at, route) in routes.iter().enumerate() {
            self.check_route(route, &routes[..at])?;
        }
        Ok(())
    }

    fn check_route(&self, route: &Route, before: &[Route]) -> Result<()> {
        let Route { dest, via } = route;
        if before.iter().any(|other| other.dest.trunc() == dest.trunc()) {
            ensure!(
                dest.prefix_len() == 0,
                "route {dest} via {via}: another leads there: leave one out"
            );
            bail!("gateway {via}: there is another default gateway of its family: leave one out");
        }
        let out = self.outgoing(*route)?;
        for Interface { name, addresses, .. } in &self.interfaces {
            ensure!(
                addresses.iter().all(|address| address.trunc() != dest.trunc()),
                "route {dest} via {via}: {name} is in that network itself: leave the route out"
            );
        }
        let network = out.addresses.iter().find(|it| it.contains(via)).map(|it| it.trunc());
        let host = network.and_then(|it| IpNet::new(*via, it.prefix_len()).ok());
        host.as_ref().map_or(Ok(()), addresses::check).with_context(|| format!("gateway {via}"))
    }

    /// The routes, then the default gateways as routes.
    pub fn routed(&self) -> impl Iterator<Item = Route> {
        let defaults = self.gateways.iter().map(|&via| {
            let dest = match via {
                IpAddr::V4(_) => IpNet::V4(Default::default()),
                IpAddr::V6(_) => IpNet::V6(Default::default()),
            };
            Route { dest, via }
        });
        self.routes.iter().copied().chain(defaults)
    }

    /// The interface by which the gateway of `route` is reached: the one with
    /// the longest prefix around it.
    ///
    /// # Errors
    /// One line, where there is none.
    pub fn outgoing(&self, Route { dest, via }: Route) -> Result<&Interface> {
        ensure!(
            dest.addr().is_ipv4() == via.is_ipv4(),
            "route {dest} via {via}: the gateway must be of the network's family"
        );
        let addresses = || {
            self.interfaces.iter().flat_map(|i| i.addresses.iter().map(move |address| (i, address)))
        };
        ensure!(
            addresses().all(|(_, address)| address.addr() != via),
            "gateway {via} is this function's own address: name the neighbour's"
        );
        addresses()
            .filter(|(_, address)| address.contains(&via))
            .max_by_key(|(_, address)| address.prefix_len())
            .map(|(interface, _)| interface)
            .with_context(|| {
                format!("gateway {via}: no interface has an address in its network: give one, as --right CIDR around {via}")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(
        interfaces: &[(&str, &[&str])],
        routes: &[(&str, &str)],
        gateways: &[&str],
    ) -> Network {
        Network {
            interfaces: interfaces
                .iter()
                .map(|(name, addresses)| Interface {
                    name: (*name).to_owned(),
                    mtu: 1500,
                    addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
                    mac: None,
                })
                .collect(),
            routes: routes
                .iter()
                .map(|(d, v)| Route { dest: d.parse().unwrap(), via: v.parse().unwrap() })
                .collect(),
            gateways: gateways.iter().map(|g| g.parse().unwrap()).collect(),
            bridge: false,
        }
    }

    #[test]
    fn the_longest_prefix_leads_to_the_gateway() {
        let net = network(
            &[("left", &["10.0.0.1/8"]), ("right", &["10.1.0.1/16", "fd00::1/64"])],
            &[],
            &[],
        );
        for (via, name) in [("10.1.2.3", "right"), ("10.2.0.1", "left"), ("fd00::2", "right")] {
            let via: IpAddr = via.parse().unwrap();
            let dest =
                Network { gateways: vec![via], ..Network::default() }.routed().next().unwrap().dest;
            assert_eq!(dest.prefix_len(), 0);
            assert_eq!(net.outgoing(Route { dest, via }).unwrap().name, name);
        }
    }

    #[test]
    fn gateways_that_cannot_work() {
        let left: &[(&str, &[&str])] = &[("left", &["10.0.0.1/24"])];
        for (bad, word) in [
            (network(left, &[], &["10.0.1.1"]), "no interface"),
            (network(left, &[], &["10.0.0.1"]), "own address"),
            (network(left, &[("10.9.0.0/16", "fd00::1")], &[]), "family"),
            (network(left, &[], &["fd00::1"]), "no interface"),
            (network(&[], &[], &["10.0.0.1"]), "no interface"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
        network(left, &[("10.9.0.0/16", "10.0.0.2")], &["10.0.0.3"]).check().unwrap();
    }

    #[test]
    fn what_is_given_twice_or_not_needed() {
        let left: &[(&str, &[&str])] = &[("left", &["10.0.0.1/24", "fd00::1/64"])];
        for (bad, word) in [
            (network(left, &[("10.0.0.0/24", "10.0.0.2")], &[]), "left is in that network"),
            (network(left, &[("fd00::/64", "fd00::2")], &[]), "left is in that network"),
            (
                network(left, &[("10.9.0.0/16", "10.0.0.2"), ("10.9.0.0/16", "10.0.0.3")], &[]),
                "another leads there",
            ),
            (network(left, &[("0.0.0.0/0", "10.0.0.2")], &["10.0.0.3"]), "another default gateway"),
            (network(left, &[], &["fd00::2", "fd00::3"]), "another default gateway"),
            (network(left, &[], &["10.0.0.255"]), "gateway 10.0.0.255"),
            (network(left, &[], &["10.0.0.0"]), "gateway 10.0.0.0"),
            (network(&[("left", &["10.0.0.1/24", "10.0.0.1/24"])], &[], &[]), "given twice"),
            (network(&[("left", &["224.0.0.1/24"])], &[], &[]), "interface left: 224.0.0.1/24"),
        ] {
            let error = format!("{:#}", bad.check().unwrap_err());
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
        // A part of a connected network may well be somewhere else.
        network(left, &[("10.0.0.128/25", "10.0.0.2")], &["10.0.0.3", "fd00::2"]).check().unwrap();
    }

    #[test]
    fn sizes_and_ethernet_addresses() {
        let mut net = network(&[("left", &["10.0.0.1/24"])], &[], &[]);
        for (mtu, good) in [(67, false), (68, true), (65_521, true), (65_522, false)] {
            net.interfaces[0].mtu = mtu;
            assert_eq!(net.check().is_ok(), good, "{mtu}");
        }
        net.interfaces[0].mtu = 1279;
        net.check().unwrap();
        net.interfaces[0].addresses.push("fd00::1/64".parse().unwrap());
        assert!(net.check().unwrap_err().to_string().contains("IPv6 needs 1280"));
        net.interfaces[0].mtu = 1280;
        for (mac, good) in
            [([2, 0, 0, 0, 0, 1], true), ([1, 0, 0, 0, 0, 1], false), ([0; 6], false)]
        {
            net.interfaces[0].mac = Some(mac);
            assert_eq!(net.check().is_ok(), good, "{mac:?}");
        }
    }
}

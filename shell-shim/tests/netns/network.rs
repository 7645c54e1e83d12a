//! TAPs, their configuration, and what goes wrong with it.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edges::tap::{Offloads, Tap};
use shell_shim::stack::namespace::enter;
use shell_shim::stack::network::{Interface, Network, Route};
use shell_shim::stack::{netlink, sysctl};

use super::{lacking, readable};

pub fn interface(name: &str, addresses: &[&str]) -> Interface {
    let addresses = addresses.iter().map(|a| a.parse().expect("an address")).collect();
    Interface { name: name.to_owned(), mtu: 1500, addresses, mac: None }
}

pub fn tap(name: &str) -> Result<Tap> {
    Tap::create(name).map_err(|error| match File::options().write(true).open("/dev/net/tun") {
        Ok(_) => error,
        Err(_) => lacking("/dev/net/tun")(error),
    })
}

/// Which of the function's addresses speaks to `peer`.
pub fn source_for(peer: &str) -> Result<String> {
    let any = if peer.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(peer).with_context(|| format!("no route to {peer}"))?;
    Ok(socket.local_addr()?.ip().to_string())
}

pub fn configuration() -> Result<()> {
    enter().map_err(lacking("namespaces"))?;
    ensure!(source_for("127.0.0.1:9").is_err(), "still in the host's network");
    let (left, right) = (tap("left")?, tap("right")?);
    left.set_offload(Offloads { csum: true, tso4: true, tso6: true })?;
    right.set_offload(Offloads { csum: true, tso4: true, tso6: false })?;
    right.set_offload(Offloads::default())?;

    let mut network = Network {
        interfaces: vec![
            interface("left", &["192.168.0.254/24", "fd00::1/64"]),
            interface("right", &["8.8.8.4/24", "8.8.4.6/30"]),
        ],
        routes: vec![Route { dest: "10.1.2.3/8".parse()?, via: "192.168.0.1".parse()? }],
        gateways: vec!["8.8.8.8".parse()?, "fd00::2".parse()?],
        bridge: false,
    };
    network.interfaces[0].mac = Some([2, 0, 0, 0, 0, 7]);
    network.interfaces[0].mtu = 65_521;
    let start = Instant::now();
    netlink::configure(&network)?;
    say::line!("configuration: two interfaces in {:?}", start.elapsed());

    UdpSocket::bind("[fd00::1]:0").context("the IPv6 address cannot be used at once")?;
    for (peer, source) in [
        ("127.0.0.1:9", "127.0.0.1"),
        ("192.168.0.9:9", "192.168.0.254"),
        ("10.9.9.9:9", "192.168.0.254"),
        ("1.2.3.4:9", "8.8.8.4"),
        ("8.8.4.5:9", "8.8.4.6"),
        ("[2001:db8::1]:9", "fd00::1"),
    ] {
        ensure!(source_for(peer)? == source, "{peer} is reached from {}", source_for(peer)?);
    }
    let seen = fs::read_to_string("/proc/self/net/dev")?;
    ensure!(
        seen.contains("left:") && seen.contains("right:") && seen.lines().count() == 5,
        "{seen}"
    );

    sysctl::forward(None)?;
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        ensure!(fs::read_to_string(format!("/proc/sys/{key}"))?.trim() == "1", "{key}");
    }
    sysctl::set("net.ipv4.conf.left.rp_filter = 2")?;
    right.set_carrier(false)?;
    right.set_carrier(true)
}

pub fn refusals() -> Result<()> {
    enter().map_err(lacking("namespaces"))?;
    let _left = tap("left")?;
    let _vlan = tap("eth0.100")?;
    let twice = interface("left", &["10.0.0.1/24", "10.0.0.1/24"]);
    let network = |interface, gateways: &[&str]| Network {
        interfaces: vec![interface],
        gateways: gateways.iter().map(|g| g.parse().expect("an address")).collect(),
        ..Network::default()
    };
    for (result, expected) in [
        (Tap::create("left").map(drop), "interface left exists already"),
        (Tap::create("lo").map(drop), "interface lo exists already"),
        (netlink::configure(&network(twice, &[])), "10.0.0.1/24: given twice"),
        (
            netlink::configure(&network(interface("nosuch", &[]), &[])),
            "interface nosuch: it does not exist",
        ),
        (
            netlink::configure(&network(interface("left", &["10.2.0.1/24"]), &["10.3.0.1"])),
            "gateway 10.3.0.1",
        ),
        (
            netlink::configure(&network(
                interface("left", &["10.2.0.1/24"]),
                &["10.2.0.2", "10.2.0.3"],
            )),
            "gateway 10.2.0.3: there is another default gateway",
        ),
        (sysctl::set("net.ipv4.nosuch=1"), "sysctl net.ipv4.nosuch: unknown"),
        (sysctl::set("net.ipv4.conf.left.rp_filter=x"), "the kernel refuses the value"),
        (sysctl::set("net.ipv4.tcp_congestion_control=nosuch"), "the kernel has no `nosuch`"),
        (sysctl::set("net.ipv4.tcp_available_congestion_control=x"), "may not be written"),
        (
            sysctl::set("net.ipv4.conf.eth0.100.rp_filter=1"),
            "write net/ipv4/conf/eth0.100/rp_filter",
        ),
        (sysctl::set("kernel.hostname=x"), "only net.*"),
    ] {
        let error =
            format!("{:#}", result.err().with_context(|| format!("not refused: {expected}"))?);
        say::line!("refusals: {error}");
        ensure!(error.contains(expected) && !error.contains('\n'), "{error}, not {expected}");
    }
    Ok(())
}

pub fn idle_is_silent() -> Result<()> {
    enter().map_err(lacking("namespaces"))?;
    let left = tap("left")?;
    sysctl::forward(None)?;
    netlink::configure(&Network {
        interfaces: vec![interface("left", &["10.0.0.1/24"])],
        ..Network::default()
    })?;
    if readable(&left, Duration::from_secs(6))? {
        let mut frame = [0; 2048];
        let length = nix::unistd::read(&left, &mut frame)?;
        bail!("an idle interface sent {:02x?}", &frame[..length]);
    }
    Ok(())
}

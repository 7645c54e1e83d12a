//! Configures the interfaces, addresses and routes of this process's network
//! namespace, over rtnetlink(7).

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Error, Result, bail};
use ipnet::IpNet;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};

use super::network::{BRIDGE, DEFAULT_MTU, Interface, Network, Route};
use super::{next_hops, sysctl};

/// Makes the network as asked for: `lo` and each interface up, then the
/// routes. IPv6 addresses can be used at once, without duplicate detection.
///
/// An interface without IPv6 addresses has IPv6 off (`disable_ipv6`) and, idle,
/// sends nothing. One with them sends no router solicitations and no duplicate
/// detection, but tells within its first seconds which multicast groups it
/// joined.
///
/// # Errors
/// As [`Network::check`], or one line with what the kernel refused.
pub fn configure(network: &Network) -> Result<()> {
    network.check()?;
    talk(async |handle| {
        let lo = handle.link().change(LinkUnspec::new_with_name("lo").up().build());
        lo.execute().await.map_err(refused).context("interface lo")?;
        make(&handle, network, &mut Made::default()).await
    })
}

/// Makes one more interface, which exists already, or port of the switch.
///
/// # Errors
/// As [`configure`].
pub fn add(interface: &Interface, port: bool) -> Result<()> {
    Network { interfaces: vec![interface.clone()], ..Network::default() }.check()?;
    let name = &interface.name;
    talk(async |handle| {
        silence(interface);
        bring_up(&handle, interface, port).await?;
        for address in &interface.addresses {
            add_address(&handle, name, address).await?;
        }
        Ok(())
    })
    .with_context(|| format!("interface {name}"))
}

/// What was made that does not go with the function's own interfaces.
#[derive(Default)]
pub(super) struct Made {
    /// Interfaces that were there before.
    pub given: Vec<String>,
    /// Addresses of these...
    pub addresses: Vec<(String, IpNet)>,
    /// ...and routes over them.
    pub routes: Vec<(Route, String)>,
    /// [`BRIDGE`].
    pub bridge: bool,
}

pub(super) async fn make(handle: &Handle, network: &Network, made: &mut Made) -> Result<()> {
    let is_given = |interface: &Interface| made.given.contains(&interface.name);
    network.interfaces.iter().filter(|it| !is_given(it)).for_each(silence);
    let bridge = network.bridge.then(|| switch(&network.interfaces));
    if let Some(bridge) = &bridge {
        let make = handle.link().add(LinkBridge::new(BRIDGE).build());
        make.execute().await.map_err(refused).context(BRIDGE)?;
        silence(bridge);
        made.bridge = true;
    }
    for interface in network.interfaces.iter().chain(&bridge) {
        let port = network.bridge && interface.name != BRIDGE;
        let context = || format!("interface {}", interface.name);
        let is_given = made.given.contains(&interface.name);
        if !is_given {
            bring_up(handle, interface, port).await.with_context(context)?;
        }
        for address in interface.addresses.iter().filter(|_| !port) {
            add_address(handle, &interface.name, address).await.with_context(context)?;
            if is_given {
                made.addresses.push((interface.name.clone(), *address));
            }
        }
    }
    for route in network.routed() {
        let Route { dest, via } = route;
        let out = if network.bridge { BRIDGE } else { &network.outgoing(route)?.name };
        add_route(handle, route, out).await.with_context(|| format!("route {dest} via {via}"))?;
        if made.given.iter().any(|given| given == out) {
            made.routes.push((route, out.to_owned()));
        }
    }
    Ok(())
}

/// Makes a veth pair: `name` here, `peer` in the network namespace `there`. Both are down.
///
/// The kernel takes note of a carrier at once only where the two ends have different
/// indexes (`net/core/link_watch.c`, `linkwatch_urgent_event`), else once a second.
/// In two new namespaces both would be 2, so this end, in one that is this process's own, gets
/// one above those that the kernel gives.
///
/// # Errors
/// One line with what the kernel refused.
pub fn add_veth(name: &str, peer: &str, there: BorrowedFd<'_>) -> Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(1 << 16);
    // Relaxed: a number for each, in no order with anything.
    let index = NEXT.fetch_add(1, Ordering::Relaxed);
    let peer = LinkUnspec::new_with_name(peer).setns_by_fd(there.as_raw_fd()).build();
    let info = InfoData::Veth(InfoVeth::Peer(peer));
    talk(async |handle| {
        let pair = LinkVeth::new(name, "").index(index).set_info_data(info).build();
        let made = handle.link().add(pair).execute().await;
        made.map_err(|error| match error {
            rtnetlink::Error::NetlinkError(message) if message.raw_code() == -libc::EPERM => {
                Error::msg(
                    "no right to change the other network, which is of another user namespace",
                )
            }
            error => refused(error),
        })
    })
    .context("veth pair")
}

/// Runs a conversation with the kernel.
pub(super) fn talk(conversation: impl AsyncFnOnce(Handle) -> Result<()>) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("rtnetlink")?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection().context("rtnetlink: no socket")?;
        let connection = tokio::spawn(connection);
        conversation(handle).await?;
        // A request that could not be sent ends the connection, which looks like the
        // end of an answer.
        if connection.is_finished() {
            bail!("rtnetlink: a request could not be sent, as when memory runs out");
        }
        Ok(())
    })
}

/// Turns off what IPv6 would send unasked; without an address of its own it
/// is turned off whole, as a forwarding interface would still announce the
/// groups of all routers (`dev_forward_change` in `net/ipv6/addrconf.c`).
///
/// Where `/proc/sys` is read-only, in some containers, all that is sent: a
/// nuisance, no failure. The interface must still be down.
fn silence(interface: &Interface) {
    let conf = format!("net/ipv6/conf/{}", interface.name);
    let settings: &[_] = if interface.has_ipv6() {
        &[("accept_ra", "0"), ("router_solicitations", "0"), ("accept_dad", "0")]
    } else {
        &[("disable_ipv6", "1")]
    };
    // An interface with an MTU too small for IPv6 has none of these either.
    for (key, value) in settings {
        let _ = sysctl::write(&format!("{conf}/{key}"), value);
    }
}

/// The switch of these interfaces, as an interface: it has their addresses and the
/// Ethernet address of the first.
fn switch(ports: &[Interface]) -> Interface {
    Interface {
        name: BRIDGE.to_owned(),
        mtu: ports.iter().map(|port| port.mtu).min().unwrap_or(DEFAULT_MTU),
        addresses: ports.iter().flat_map(|port| port.addresses.iter().copied()).collect(),
        mac: ports.iter().find_map(|port| port.mac),
    }
}

/// `port`: whether it is a port of the switch.
async fn bring_up(handle: &Handle, interface: &Interface, port: bool) -> Result<()> {
    let index = if_nametoindex(interface.name.as_str()).map_err(|errno| match errno {
        Errno::ENODEV => Error::msg("it does not exist"),
        other => other.into(),
    })?;
    let mut link = LinkUnspec::new_with_index(index).mtu(interface.mtu).up();
    if port {
        link = link.controller(if_nametoindex(BRIDGE)?);
    } else if let Some(mac) = interface.mac {
        link = link.address(mac.to_vec());
    }
    handle.link().change(link.build()).execute().await.map_err(refused)?;
    next_hops::ask_again_soon(handle, index);
    Ok(())
}

async fn add_address(handle: &Handle, interface: &str, address: &IpNet) -> Result<()> {
    let index = if_nametoindex(interface)?;
    let mut request = handle.address().add(index, address.addr(), address.prefix_len());
    if let IpNet::V6(_) = address {
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    }
    request.execute().await.map_err(refused).with_context(|| format!("address {address}"))
}

async fn add_route(handle: &Handle, route: Route, out: &str) -> Result<()> {
    handle.route().add(message(route, out)?).execute().await.map_err(refused)
}

pub(super) fn message(Route { dest, via }: Route, out: &str) -> Result<RouteMessage> {
    Ok(RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(dest.network(), dest.prefix_len())?
        .gateway(via)?
        .output_interface(if_nametoindex(out)?)
        .build())
}

/// The kernel's reason, in a line.
pub(super) fn refused(error: rtnetlink::Error) -> Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => match message.raw_code().abs() {
            libc::EPERM => Error::msg(
                "no right to configure the network (CAP_NET_ADMIN): run as an ordinary user or as root, in a container with `--cap-add NET_ADMIN`",
            ),
            _ => Error::new(message.to_io()).context("the kernel refuses it"),
        },
        other => Error::msg(other.to_string()),
    }
}

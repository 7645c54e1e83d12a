//! How soon the kernel learns the Ethernet addresses of its next hops, and learns that
//! they have changed.

use std::io;

use nix::net::if_::if_nametoindex;
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::neighbour_table::{
    NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;

use super::ask;
use super::network::BRIDGE;

/// Has Ethernet addresses asked for every 50 ms, for 3 s as before, where the kernel
/// would do so each second. A question or its answer gets lost where a cable is being
/// plugged in: the neighbour has it already, and this kernel is not done with the news,
/// or the cable on a router's other side is not there yet. That comes with each
/// restart, and the news of it reaches neither of those that wait.
///
/// Not by sysctl: a user namespace does not see these (`neigh_sysctl_register`).
pub fn ask_again_soon(handle: &Handle, interface: u32) {
    const EACH_MS: u64 = 50;
    const TIMES: u32 = 60;
    for (family, table) in
        [(AddressFamily::Inet, "arp_cache"), (AddressFamily::Inet6, "ndisc_cache")]
    {
        let mut message = NeighbourTableMessage::default();
        message.header.family = family;
        message.attributes = vec![
            NeighbourTableAttribute::Name(table.to_owned()),
            NeighbourTableAttribute::Parms(vec![
                NeighbourTableParameter::Ifindex(interface),
                NeighbourTableParameter::RetransTime(EACH_MS),
                NeighbourTableParameter::McastProbes(TIMES),
            ]),
        ];
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::SetNeighbourTable(message));
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        // Where the kernel refuses, and without IPv6, it is slower, no failure.
        let _ = handle.clone().request(message).map(drop);
    }
}

/// Another neighbour has come to an interface in the place of one that ended: what the
/// kernel knows of next hops there stays in use and is asked for again at once, each
/// where it was (as RFC 4436 has it). Who has another address is found after three
/// questions, instead of half a minute later.
pub fn ask_anew(interface: &str) {
    // Where the kernel refuses it finds out by itself, later.
    let _ = probe(&[interface, BRIDGE]);
}

fn probe(interfaces: &[&str]) -> io::Result<()> {
    let indices: Vec<_> = interfaces.iter().filter_map(|name| if_nametoindex(*name).ok()).collect();
    let socket = ask::socket(NETLINK_ROUTE, &[])?;
    let mut known = Vec::new();
    let question = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
    ask::each(&socket, question, |answer| {
        use NeighbourState::{Delay, Reachable, Stale};
        if let RouteNetlinkMessage::NewNeighbour(next_hop) = answer
            && indices.contains(&next_hop.header.ifindex)
            && matches!(next_hop.header.state, Reachable | Stale | Delay)
        {
            known.push(next_hop);
        }
    })?;
    for mut next_hop in known {
        next_hop.header.state = NeighbourState::Probe;
        next_hop.attributes.retain(|attribute| {
            matches!(
                attribute,
                NeighbourAttribute::Destination(_) | NeighbourAttribute::LinkLayerAddress(_)
            )
        });
        let request = RouteNetlinkMessage::NewNeighbour(next_hop);
        ask::send(&socket, request, NLM_F_REQUEST | NLM_F_REPLACE)?;
    }
    Ok(())
}

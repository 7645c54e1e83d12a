//! What a function has of a network namespace that exists: TAPs that are there, and what
//! does not go with the function's own interfaces.

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use super::netlink::{Made, make, message, refused, talk};
use super::network::{BRIDGE, Network};

/// What a function was lent, and gives back when this is dropped.
pub struct Lent(Made);

/// As [`configure`](super::netlink::configure), in a namespace that exists, whose own things
/// stay as they are: `given` are interfaces that were there before.
///
/// # Errors
/// As there, and one line about an interface that cannot be taken.
pub fn configure(network: &Network, given: Vec<String>) -> Result<Lent> {
    network.check()?;
    if network.bridge {
        if let Some(name) = given.first() {
            bail!("--bridge: {name} is not the function's: give it to the switch by at=tap:{name}");
        }
        ensure!(
            !exists(BRIDGE),
            "{BRIDGE} is there already: remove it (ip link del {BRIDGE}), or leave out --bridge"
        );
    }
    for name in &given {
        ensure!(is_up(name)?, "interface {name} is down: `ip link set {name} up` first");
    }
    // Dropped where the rest is refused, it gives back what there is so far.
    let mut lent = Lent(Made { given, ..Made::default() });
    talk(async |handle| make(&handle, network, &mut lent.0).await)?;
    Ok(lent)
}

/// Whether there is an interface of that name.
pub fn exists(name: &str) -> bool {
    if_nametoindex(name).is_ok()
}

fn is_up(name: &str) -> Result<bool> {
    let mut all = getifaddrs().context("getifaddrs")?;
    Ok(all.any(|it| it.interface_name == name && it.flags.contains(InterfaceFlags::IFF_UP)))
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Made { addresses, routes, bridge, .. } = &self.0;
        if !*bridge && addresses.is_empty() && routes.is_empty() {
            return;
        }
        // What somebody else has removed meanwhile is gone as well.
        let _ = talk(async |handle| {
            if *bridge {
                let bridge = if_nametoindex(BRIDGE)?;
                let _ = handle.link().del(bridge).execute().await.map_err(refused);
            }
            for (route, out) in routes.iter() {
                let _ = handle.route().del(message(*route, out)?).execute().await;
            }
            for (name, address) in addresses.iter() {
                let _ = handle.address().del(of(name, address)?).execute().await;
            }
            Ok(())
        });
    }
}

/// An address of an interface.
fn of(name: &str, address: &IpNet) -> Result<AddressMessage> {
    let mut message = AddressMessage::default();
    message.header.index = if_nametoindex(name)?;
    message.header.prefix_len = address.prefix_len();
    message.header.family = match address {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.attributes =
        vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    Ok(message)
}

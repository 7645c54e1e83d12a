//! Programs that chains use.

use super::Item;
use crate::host::find_program;

/// Some that do the same, what for, and Debian's package of the first.
const PROGRAMS: [(&[&str], &str, &str); 11] = [
    (&["ping"], "a first look at a chain", "iputils-ping"),
    (&["ip"], "a look at a function from inside", "iproute2"),
    (&["iptables", "nft"], "NAT and firewalls (--setup)", "iptables"),
    (&["passt", "slirp4netns"], "stdpkt uplink", "passt"),
    (&["tcpdump"], "captures", "tcpdump"),
    (&["tshark", "wireshark"], "captures", "tshark"),
    (&["vde_plug"], "stdpkt join vde", "vdeplug"),
    (
        &["qemu-system-x86_64", "qemu-system-aarch64"],
        "machines at stdpkt join vhost-user",
        "qemu-system",
    ),
    (&["dnsmasq"], "DHCP and DNS in a chain", "dnsmasq-base"),
    (&["ssh"], "a chain over two machines", "openssh-client"),
    (&["dot"], "stdpkt ls --dot", "graphviz"),
];

pub fn items() -> Vec<Item> {
    PROGRAMS.iter().map(|(names, what_for, package)| item(names, what_for, package)).collect()
}

fn item(names: &'static [&'static str], what_for: &str, package: &str) -> Item {
    match names.iter().find_map(|name| find_program(name)) {
        Some(path) => Item::ok(names[0], path.display().to_string()),
        None => {
            Item::missing(names[0], format!("for {what_for}"), format!("apt-get install {package}"))
        }
    }
}

//! Names of kinds of links (<https://www.tcpdump.org/linktypes.html>).

/// What people call a kind of link, of those that one meets.
pub(super) fn link_name(link: u16) -> Option<&'static str> {
    Some(match link {
        0 => "BSD loopback",
        6 => "token ring",
        7 => "ARCNET",
        8 => "SLIP",
        9 => "PPP",
        10 => "FDDI",
        12 | 14 | 101 => "raw IP",
        50 => "PPP in HDLC",
        104 => "Cisco HDLC",
        105 => "802.11",
        107 => "frame relay",
        108 => "OpenBSD loopback",
        109 => "OpenBSD encapsulated IP",
        113 | 276 => "Linux cooked",
        117 => "PF log",
        119 | 127 | 163 => "802.11 with radio",
        187 | 201 | 251 | 256 => "Bluetooth",
        189 | 220 | 249 => "USB",
        192 => "PPI",
        195 | 215 | 230 | 283 => "802.15.4",
        197 => "ERF",
        227 => "CAN",
        228 => "IPv4",
        229 => "IPv6",
        231 => "D-Bus",
        239 => "NFLOG",
        252 => "Wireshark's exported PDUs",
        253 => "netlink",
        274 => "mPackets",
        _ => return None,
    })
}

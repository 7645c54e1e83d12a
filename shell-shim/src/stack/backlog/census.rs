//! Whether there are sockets at all. To list them, the kernel goes through the table of all
//! namespaces' connections, which takes a millisecond where it is large; how many this one has it knows.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// `/proc/net/sockstat`, and that for IPv6, of the network namespace in which it was opened.
pub(super) struct Census([Option<File>; 2]);

impl Census {
    /// Where there is no such file, there may be sockets.
    pub fn new() -> Census {
        let open = |name: &str| File::open(format!("/proc/thread-self/net/{name}")).ok();
        Census([open("sockstat"), open("sockstat6")])
    }

    /// Whether there may be sockets of a protocol, as `TCP` or `UDP6`: no, if there is a number and it is 0.
    pub fn may_have(&self, protocol: &str) -> bool {
        let mut text = [0; 1024];
        !self.0.iter().flatten().any(|file| {
            let len = file.read_at(&mut text, 0).unwrap_or(0);
            in_use(&String::from_utf8_lossy(&text[..len]), protocol) == Some(0)
        })
    }
}

/// `TCP: inuse 3 orphan 0 ...`: those that are bound, listen or are connected, with a program or without;
/// none that only waits for late packets (`net/ipv4/proc.c`).
fn in_use(text: &str, protocol: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(": inuse "));
    let (_, rest) = lines.find(|(name, _)| *name == protocol)?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn what_is_in_use_stands_after_its_name() {
        let text =
            "sockets: used 49\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 193\nUDP: inuse 0 mem 0\n";
        assert_eq!(in_use(text, "TCP"), Some(1));
        assert_eq!(in_use(text, "UDP"), Some(0));
        assert_eq!(in_use(text, "TCP6"), None);
        assert_eq!(in_use("TCP: inuse", "TCP"), None);
    }

    #[test]
    fn a_socket_may_be_there_when_it_is() {
        let census = Census::new();
        let _tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let _udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
        assert!(census.may_have("TCP") && census.may_have("UDP"));
        assert!(tcp6.is_err() || census.may_have("TCP6"));
        assert!(census.may_have("no such protocol"));
    }
}

//! What TCP in a new network namespace inherits from the host and what does not suit a chain.
//!
//! Where `/proc/sys` is read-only it stays: slower is better than not at all.

use super::sysctl;

const CONGESTION_CONTROL: &str = "net.ipv4.tcp_congestion_control";
const ECN: &str = "net.ipv4.tcp_ecn";
/// Least, default and most bytes of a connection's receive buffer.
const RECEIVE_BUFFERS: &str = "net.ipv4.tcp_rmem";

/// The most that is left of the last of these. A connection's window is half of it to
/// nearly all.
const RECEIVE_BUFFER: u64 = 3 << 20;

/// Changes it in this process's namespace, which is a new one.
pub fn suit_chain() {
    unpace();
    limit_windows();
    listen();
}

/// Connections that begin here offer ECN (RFC 3168), which all of Linux accepts: whoever reads a
/// TAP tells by it that frames wait (`edges/src/backlog.rs`).
fn listen() {
    let _ = sysctl::write(ECN, "1");
}

/// BBR (`net/ipv4/tcp_ipv4.c`, `tcp_set_default_congestion_control`) sends by
/// the clock, at the rate that it believes the path to have. Between functions
/// there is no path to share with others, so all that it does is to let the
/// processors wait: less than half the goodput. Reno is in every kernel and
/// allowed in every namespace.
fn unpace() {
    if sysctl::read(CONGESTION_CONTROL).is_some_and(|inherited| inherited.starts_with("bbr")) {
        let _ = sysctl::write(CONGESTION_CONTROL, "reno");
    }
}

/// Recent kernels let a receive buffer grow to 32 MiB, for paths of many milliseconds. A TAP
/// takes up to 1000 frames off their socket's account (`drivers/net/tun.c`,
/// `skb_orphan` in `tun_net_xmit`), so the window alone tells TCP that the link is behind:
/// with a large one each small write goes out as a frame of its own, and waits in the TAP
/// for milliseconds or is dropped there. `docs/performance/log.md` has what this gains.
fn limit_windows() {
    if let Some(limited) = sysctl::read(RECEIVE_BUFFERS).as_deref().and_then(limited) {
        let _ = sysctl::write(RECEIVE_BUFFERS, &limited);
    }
}

/// [`RECEIVE_BUFFERS`] with no more than [`RECEIVE_BUFFER`]; `None` where it has no more.
fn limited(inherited: &str) -> Option<String> {
    let sizes = inherited.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>();
    let [least, default, most] = sizes.ok()?[..] else { return None };
    let [least, default] = [least, default].map(|size| size.min(RECEIVE_BUFFER));
    (most > RECEIVE_BUFFER).then(|| format!("{least} {default} {RECEIVE_BUFFER}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_buffer_is_limited_and_never_enlarged() {
        let most = RECEIVE_BUFFER;
        let expected = format!("4096 131072 {most}");
        assert_eq!(limited("4096\t131072\t33554432"), Some(expected));
        assert_eq!(limited("4096 9000000 33554432"), Some(format!("4096 {most} {most}")));
        for enough in [format!("4096 131072 {most}"), "4096\t87380\t1048576".into()] {
            assert_eq!(limited(&enough), None);
        }
        for no_sizes in ["", "1 2", "1 2 3 33554432", "4096 131072 much"] {
            assert_eq!(limited(no_sizes), None);
        }
    }
}

//! What TCP in a new network namespace inherits from the host and what does not suit a chain.
//!
//! Where `/proc/sys` is read-only it stays: slower is better than not at all.

use super::sysctl;

const CONGESTION_CONTROL: &str = "net.ipv4.tcp_congestion_control";
/// Of both IPv4 and IPv6. 1: offered and accepted; 2, the default: accepted.
const ECN: &str = "net.ipv4.tcp_ecn";

/// Changes it in this process's namespace, which is a new one.
pub fn suit_chain() {
    unpace();
    listen();
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

/// By ECN (RFC 3168) whoever reads a TAP tells TCP that frames wait there
/// (`edges/src/backlog.rs`). `docs/performance/log.md` has what this gains.
fn listen() {
    let _ = sysctl::write(ECN, "1");
}

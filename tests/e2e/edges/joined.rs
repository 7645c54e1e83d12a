//! Streams through sockets that know no offloads: cut on the way in, joined on the way out.

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

/// Sends a file from one function to another, through a socket; bytes that a frame had on
/// average where it arrived.
fn sent_through(format: &str, [one, other]: [&str; 2], tcp: [&str; 2]) -> u64 {
    let scene = Scene::new();
    let at = format!("at={format}:unix:s");
    let outcome = scene.sh(&format!(
        "head -c 20000000 /dev/urandom >sent
         stdpkt run --left {other},{at} -- sh -c '
             socat -u {listen}:5000 OPEN:got,creat; grep left: /proc/net/dev' & other=$!
         until [ -S s ]; do sleep 0.05; done
         stdpkt run --right {one},{at} -- socat -u OPEN:sent {connect}:5000,retry=100,interval=0.1
         wait $other; cmp sent got && echo same",
        listen = tcp[0],
        connect = tcp[1],
    ));
    assert!(outcome.out.ends_with("same\n"), "{format}: {outcome:?}");
    scene.assert_nothing_left();
    let (_, counters) = outcome.out.split_once("left:").expect("counters");
    let mut counters = counters.split_whitespace().map(|it| it.parse::<u64>().expect("a number"));
    let [bytes, frames] = [counters.next(), counters.next()].map(Option::unwrap);
    println!("{format}, {one}: {bytes} bytes in {frames} frames");
    bytes / frames
}

#[test]
fn segments_are_joined_where_they_come_in() {
    need_functions!("socat", "cmp", "grep");
    for (addresses, tcp) in [
        (["10.0.0.1/24", "10.0.0.2/24"], ["TCP-LISTEN", "TCP:10.0.0.2"]),
        (["fd00::1/64", "fd00::2/64"], ["TCP6-LISTEN", "TCP6:[fd00::2]"]),
    ] {
        // A frame that is cut is written at once, and read so.
        for format in ["qemu", "vde"] {
            assert!(sent_through(format, addresses, tcp) > 2000, "{format}");
        }
        // Of messages there may always be just one.
        sent_through("packet", addresses, tcp);
        // Where frames are kept whole there is nothing to join, nor in captures.
        sent_through("frames", addresses, tcp);
        assert!(sent_through("pcap", addresses, tcp) < 1515);
    }
}

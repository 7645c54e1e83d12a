//! Unchanged programs of measurement, through two functions. No claim is made
//! on how fast it is: that is the benches' business.

use serde_json::Value;

use crate::support::chains::two;
use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

/// A server in the first function, started before the links are up, and a
/// client in the second.
fn measure(options: &str, server: &str, client: &str) -> Outcome {
    let scene = Scene::new();
    let outcome =
        scene.sh(&two(&format!("{options} --setup '{server}'"), &format!("{options} -- {client}")));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    scene.assert_nothing_left();
    outcome
}

/// A server that goes to the background before it listens on a port, given in
/// the kernel's hexadecimal.
fn once_it_listens(server: &str, port: &str) -> String {
    format!("{server} until grep -q :{port} /proc/net/tcp /proc/net/tcp6; do sleep 0.02; done")
}

fn netperf(test: &str, field: &str, more: &str) {
    for channel in ["--channel shm", "--channel fifo"] {
        let client = format!("netperf -H 10.0.0.1 -l1 -P0 -t {test} -- -o {field} {more}");
        let outcome = measure(channel, "netserver -4 >/dev/null", &client);
        let value = outcome.out.lines().rev().find_map(|line| line.trim().parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "{test}: {outcome:?}");
        println!("{test} {channel}: {field} {}", value.unwrap_or_default());
    }
}

/// 450 datagrams each of a sender that listens and of one that does not (ECN, the last two bits of
/// `IP_TOS`).
const FLOOD: &str = "import socket
for listens in 2, 0:
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, listens)
    for _ in range(450): out.sendto(bytes(1000), ('10.0.0.1', 9))
";

/// One function is stopped while the other sends these to it, and shows what its kernel then counted.
const LATE: &str = "
sh -c 'echo $$ >pid; exec stdpkt run --ring 64K --right 10.0.0.1/24 -- sh -c \"
    until [ -e over ]; do sleep 0.02; done; grep IpExt: /proc/net/netstat\"' \
| stdpkt run --ring 64K --left 10.0.0.2/24 -- sh -c '
    ping -q -c1 -w9 10.0.0.1; touch ready; until [ -e stopped ]; do sleep 0.02; done
    python3 flood.py; touch flooded; ping -q -c1 -w9 10.0.0.1; touch over' >/dev/null & chain=$!
until [ -e ready ]; do sleep 0.02; done; kill -STOP $(cat pid); touch stopped
until [ -e flooded ]; do sleep 0.02; done; kill -CONT $(cat pid); wait $chain
";

#[test]
fn of_frames_that_wait_behind_many_those_are_marked_whose_sender_listens() {
    need_functions!("python3", "ping");
    let scene = Scene::new();
    std::fs::write(scene.path("flood.py"), FLOOD).expect("scene");
    let outcome = scene.sh(LATE);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    // Names, then numbers; of all but the last function a chain shows the output as its own errors.
    let lines = outcome.err.lines().filter(|line| line.starts_with("IpExt:"));
    let lines = lines.map(|line| line.split_whitespace().skip(1));
    let [names, numbers] = &lines.map(Vec::from_iter).collect::<Vec<_>>()[..] else {
        panic!("{outcome:?}")
    };
    let count = |name| -> u32 {
        let at = names.iter().position(|it| *it == name).expect(name);
        numbers[at].parse().expect("a number")
    };
    let (marked, not_yet, unheard) = (count("InCEPkts"), count("InECT0Pkts"), count("InNoECTPkts"));
    assert_eq!(marked + not_yet, 450, "{outcome:?}");
    assert!(not_yet >= 250 && marked > 50 && unheard >= 450, "{outcome:?}");
}

#[test]
fn a_connection_listens() {
    need_functions!();
    let scene = Scene::new();
    let outcome = scene.sh(&two("", "-- cat /proc/sys/net/ipv4/tcp_ecn"));
    assert_eq!((outcome.status, outcome.out.trim()), (0, "1"), "{outcome:?}");
}

#[test]
fn netperf_tcp_stream_gets_through() {
    need_functions!("netperf", "netserver");
    netperf("TCP_STREAM", "THROUGHPUT", "-m 65536");
}

#[test]
fn netperf_udp_stream_gets_through() {
    need_functions!("netperf", "netserver");
    netperf("UDP_STREAM", "REMOTE_RECV_THROUGHPUT", "-m 1400 -R 1");
}

#[test]
fn netperf_tcp_rr_gets_through() {
    need_functions!("netperf", "netserver");
    netperf("TCP_RR", "THROUGHPUT", "");
}

#[test]
fn iperf3_gets_through_both_ways() {
    need_functions!("iperf3");
    for channel in ["--channel shm", "--channel fifo"] {
        for more in ["", "-R", "-u -b 10M"] {
            let client = format!("iperf3 -c 10.0.0.1 -t1 -J {more}");
            let server = once_it_listens("iperf3 -s -D;", "1451");
            let outcome = measure(channel, &server, &client);
            let report: Value = serde_json::from_str(&outcome.out).expect("JSON");
            let end = &report["end"];
            let sum = if more.contains("-u") { &end["sum"] } else { &end["sum_received"] };
            let rate = sum["bits_per_second"].as_f64();
            assert!(rate.is_some_and(|rate| rate > 0.0), "{more}: {outcome:?}");
            println!("iperf3 {channel} {more}: {:.3e} bit/s", rate.unwrap_or_default());
        }
    }
}

#[test]
fn stdpkt_perf_gets_through() {
    need_functions!();
    for channel in ["--channel shm", "--channel fifo"] {
        for more in ["", "--rr"] {
            let client = format!("stdpkt perf client 10.0.0.1 --seconds 1 --json {more}");
            let server = once_it_listens("stdpkt perf server --bind 0.0.0.0 &", "1452");
            let outcome = measure(channel, &server, &client);
            let report: Value = serde_json::from_str(&outcome.out).expect("JSON");
            let numbers = report.as_object().expect("an object").values();
            assert!(numbers.filter_map(Value::as_f64).any(|n| n > 0.0), "{report}");
            println!("stdpkt perf {channel} {more}: {report}");
        }
    }
}

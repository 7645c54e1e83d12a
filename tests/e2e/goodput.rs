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

/// With a larger one small writes wait in the TAP, or are dropped there.
#[test]
fn a_connections_window_is_no_larger_than_a_link_needs_but_where_it_is_asked_for() {
    need_functions!();
    let most = |options: &str| {
        let client = format!("{options} -- cat /proc/sys/net/ipv4/tcp_rmem");
        let scene = Scene::new();
        let outcome = scene.sh(&two("", &client));
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let sizes = outcome.out.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>();
        *sizes.expect("sizes").last().expect("three sizes")
    };
    let inherited = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").expect("tcp_rmem");
    let inherited: u64 = inherited.split_whitespace().last().unwrap().parse().expect("a size");
    assert_eq!(most(""), inherited.min(3 << 20));
    assert_eq!(most("--sysctl \"net.ipv4.tcp_rmem=4096 131072 8388608\""), 8 << 20);
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

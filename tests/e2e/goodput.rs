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

/// Small writes, each a frame of its own, for so many seconds or until their sender is told that they wait
/// (ECN); in how many it was.
const FLOOD: &str = "import socket, sys, time
def told():
    names, numbers = [line.split() for line in open('/proc/net/netstat') if line.startswith('TcpExt:')]
    return int(numbers[names.index('TCPDeliveredCE')])
out = socket.create_connection(('10.0.0.1', 9))
out.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and not told():
    for _ in range(10000): out.send(bytes(500))
print(told())
";

const SINK: &str = "import socket
here = socket.create_server(('10.0.0.1', 9)).accept()[0]
while here.recv(1 << 20): pass
";

/// In how many frames a sender is told, with that between the two functions.
fn told(between: &str, seconds: u32) -> u32 {
    let scene = Scene::new();
    std::fs::write(scene.path("flood.py"), FLOOD).expect("scene");
    std::fs::write(scene.path("sink.py"), SINK).expect("scene");
    let server = once_it_listens("python3 sink.py &", "0009");
    let server = format!("--setup '{server}' {between}");
    let outcome = scene.sh(&two(&server, &format!("-- python3 flood.py {seconds}")));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    scene.assert_nothing_left();
    outcome.out.trim().parse().expect("a number")
}

#[test]
fn a_sender_whose_frames_wait_is_told() {
    need_functions!("python3");
    assert!(told("", 30) > 0);
}

#[test]
fn a_sender_over_a_long_path_is_not_held_back() {
    need_functions!("python3");
    assert_eq!(told("| stdpkt wire --delay 25ms --limit 100000", 3), 0);
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

//! Programs in the middle of a link, and captures at its ends.

use super::said;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

#[test]
fn text_filters_work_on_both_directions_of_a_live_link() {
    need_functions!("ping", "awk", "sed");
    for filter in [
        "awk '$2 != \"020000000004\"'",
        "mawk '$2 != \"020000000004\"'",
        "busybox awk '$2 != \"020000000004\"'",
        "sed -e 's/8100 00 01 //'",
        "grep -v 020000000004",
    ] {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "stdpkt run --right 10.0.0.1/24 -- ping -q -c3 -i0.05 -W5 10.0.0.2 \
             | stdpkt each -- {filter} | stdpkt run --left 10.0.0.2/24"
        ));
        assert!(said(&outcome).contains(" 0% packet loss"), "{filter}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn one_direction_is_filtered_and_the_other_passes() {
    need_functions!("ping", "awk");
    let scene = Scene::new();
    // The echoes are lost, not the questions: the far side has answered.
    let outcome = scene.sh("stdpkt run --right 10.0.0.1/24 -- sh -c '
             ip neigh add 10.0.0.2 lladdr 02:72:0a:00:00:02 dev right
             ping -q -c2 -i0.05 -W1 10.0.0.2' \
         | stdpkt each --only right-to-left -- awk '$4 != \"0800\"' \
         | stdpkt run --left 10.0.0.2/24");
    assert!(said(&outcome).contains("100% packet loss"), "{outcome:?}");
    // The words of the two functions and of a broken link are others.
    assert!(outcome.err.contains("awk dropped 2 of "), "{outcome:?}");
    assert!(outcome.err.contains(" frames from right to left"), "{outcome:?}");
    scene.assert_nothing_left();
}

/// The function of docs/edges.md, as it stands there.
#[test]
fn a_function_in_python_with_scapy() {
    need_functions!("ping", "scapy3");
    let scene = Scene::new();
    let document = include_str!("../../../docs/edges.md");
    let (_, rest) = document.split_once("```python\n").expect("a function");
    let (function, _) = rest.split_once("```").expect("its end");
    std::fs::write(scene.path("ttl.py"), function).expect("scene");
    // Not one that a user's own Python comes before, which has no scapy of Debian's.
    // It may take seconds to start.
    let outcome = scene.sh(
        "stdpkt run --right 10.0.0.1/24 -- sh -c 'for n in $(seq 30); do ping -c1 -W1 10.0.0.2 && exit; done' \
         | stdpkt each --format pcap -- /usr/bin/python3 -u ttl.py | stdpkt run --left 10.0.0.2/24",
    );
    assert_eq!(said(&outcome).matches("ttl=7").count(), 1, "{outcome:?}");
    scene.assert_nothing_left();
}

/// As docs/edges.md has it.
#[test]
fn captures_around_a_firewall_test_its_rules() {
    need_functions!("bash", "iptables", "ip", "scapy3", "tcpdump");
    let scene = Scene::new();
    let document = include_str!("../../../docs/edges.md");
    let (_, rest) = document.split_once("## A test of rules").expect("the chapter");
    let line = rest.split("```").nth(1).and_then(|it| it.strip_prefix("sh\n")).expect("a line");
    let outcome = scene.start_in(
        &["bash"],
        &format!(
            "/usr/bin/python3 -c \"
from scapy.all import *
wrpcap('in.pcap', [Ether(src='02:00:00:00:00:09', dst='02:72:0a:00:00:01') / IP(src='10.0.0.9', dst='10.0.1.2')
    / UDP(sport=1000 + n, dport=53 if n % 2 else 80) for n in range(1000)])\"
             set -o pipefail
             {line}
             echo $?; tcpdump -n -r out.pcap udp and not port 53 | wc -l"
        ),
    );
    let outcome = outcome.end();
    assert_eq!(outcome.out, "500\n0\n0\n", "{outcome:?}");
    scene.assert_nothing_left();
}

/// LACP, LLDP and STP.
#[test]
fn frames_for_the_next_station_alone_pass_a_link() {
    need_functions!("python3", "tcpdump");
    let scene = Scene::new();
    let sender = "import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('right', 0))
for end, rest in (('02', '8809' + '01' * 50), ('0e', '88cc' + '02' * 50), ('00', '0026424203' + '00' * 40)):
    s.send(bytes.fromhex('0180c20000' + end + '020000000001' + rest))
";
    std::fs::write(scene.path("send.py"), sender).expect("scene");
    let outcome = scene.sh("stdpkt run --right none -- sh -c 'sleep 1; python3 send.py' \
         | stdpkt run --left none -- tcpdump -n -e -i left -c 3 ether src 02:00:00:00:00:01");
    for frame in ["LACPv1", "LLDP", "STP"] {
        assert!(outcome.out.contains(frame), "{frame}: {outcome:?}");
    }
    scene.assert_nothing_left();
}

//! Programs in the middle of a link.

use super::said;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

#[test]
fn text_filters_work_on_both_directions_of_a_live_link() {
    need_functions!("ping", "awk", "sed", "busybox");
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

/// EtherPIPE's filter, on frames that have the tag it takes out.
#[test]
fn a_tag_is_taken_out_by_sed() {
    need_functions!("ping", "sed");
    let scene = Scene::new();
    let outcome = scene.sh("stdpkt run --right 10.0.0.1/24 -- ping -q -c3 -i0.05 -W5 10.0.0.2 \
         | stdpkt each --only left-to-right -- sed -e 's/ 0800 / 8100 00 01 08 00 /' \
         | stdpkt tee x.pcap \
         | stdpkt each --only left-to-right -- sed -e 's/8100 00 01 //' \
         | stdpkt run --left 10.0.0.2/24; stdpkt dump --format hex <x.pcap");
    assert!(said(&outcome).contains(" 0% packet loss"), "{outcome:?}");
    assert!(outcome.out.matches(" 8100 00 01 08 00 ").count() >= 3, "{outcome:?}");
    scene.assert_nothing_left();
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

/// What a filter adds does not hide what it drops.
#[test]
fn frames_that_are_added_do_not_stand_for_those_that_are_dropped() {
    need_functions!("ping", "awk");
    let scene = Scene::new();
    // Echoes are dropped, and each question is passed on twice.
    let outcome = scene.sh("stdpkt run --right 10.0.0.1/24 -- sh -c '
             ip neigh add 10.0.0.2 lladdr 02:72:0a:00:00:02 dev right
             ping -q -c2 -i0.05 -W1 10.0.0.2' \
         | stdpkt each --only left-to-right -- awk '{ print } $4 == \"0800\" { $2 = \"020000000009\"; print }' \
         | stdpkt each --only right-to-left -- awk '$4 != \"0800\" { print } $4 == \"0800\" { $2 = \"020000000009\"; print }' \
         | stdpkt run --left 10.0.0.2/24");
    let lines = |part: &str| outcome.err.lines().filter(|line| line.contains(part)).count();
    assert_eq!(lines("awk added 2 frames to "), 1, "{outcome:?}");
    assert_eq!(lines("awk dropped or changed 2 of "), 1, "{outcome:?}");
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
         | stdpkt run --left none -- tcpdump --immediate-mode -n -e -i left -c 3 ether src 02:00:00:00:00:01");
    for frame in ["LACPv1", "LLDP", "STP"] {
        assert!(outcome.out.contains(frame), "{frame}: {outcome:?}");
    }
    scene.assert_nothing_left();
}

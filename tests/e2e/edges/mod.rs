//! Links whose other end is no function: programs, sockets, interfaces.

mod remote;
mod uplink;
mod vde;

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

const PING: &str = "ping -q -c2 -i0.05 -W5 10.0.0.2";

/// CMD's words are on standard error where standard output is a link.
fn said(outcome: &Outcome) -> String {
    format!("{}{}", outcome.out, outcome.err)
}

fn assert_pinged(outcome: &Outcome) {
    assert!(said(outcome).contains(" 0% packet loss"), "{outcome:?}");
    assert_eq!(outcome.status, 0, "{outcome:?}");
}

#[test]
fn a_function_is_started_by_another_program() {
    need_functions!("ping");
    for elsewhere in ["", "sh -c '\"$@\"' sh", "unshare -r"] {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "stdpkt run --right 10.0.0.1/24 -- {PING} \
             | stdpkt join --left frames -- {elsewhere} stdpkt run --left 10.0.0.2/24,at=frames:stdio"
        ));
        assert_pinged(&outcome);
        scene.assert_nothing_left();
    }
}

#[test]
fn functions_meet_at_sockets_in_each_format() {
    need_functions!("ping");
    for at in
        ["frames:unix:s", "qemu:unix:s", "vde:unix:s", "pcap:unix:s", "hex:unix:s", "packet:unix:s"]
    {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "stdpkt run --left 10.0.0.2/24,at={at} -- sleep 1000 & other=$!
             until [ -S s ]; do sleep 0.05; done
             stdpkt run --right 10.0.0.1/24,at={at} -- {PING}; status=$?
             kill $other; wait; exit $status"
        ));
        assert_pinged(&outcome);
        assert!(!scene.path("s").exists(), "{at}: the socket is left");
        scene.assert_nothing_left();
    }
}

#[test]
fn datagrams_go_both_ways() {
    need_functions!("ping");
    let scene = Scene::new();
    let outcome = scene.sh(&format!(
        "stdpkt run --left 10.0.0.2/24,at=packet:dgram:a:b -- sleep 1000 & other=$!
         until [ -S a ]; do sleep 0.05; done
         stdpkt run --right 10.0.0.1/24,at=packet:dgram:b:a -- {PING}; status=$?
         kill $other; wait; exit $status"
    ));
    assert_pinged(&outcome);
    scene.assert_nothing_left();
}

#[test]
fn who_listens_serves_one_after_the_other() {
    need_functions!("ping");
    let scene = Scene::new();
    let outcome = scene.sh(&format!(
        "stdpkt run --left 10.0.0.2/24,at=qemu:unix:s -- sleep 1000 & other=$!
         until [ -S s ]; do sleep 0.05; done
         for round in 1 2 3; do
             stdpkt run --right 10.0.0.1/24,at=qemu:unix:s -- {PING} || exit
         done
         kill $other; wait; exit 0"
    ));
    assert_eq!(said(&outcome).matches(" 0% packet loss").count(), 3, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn formats_that_are_mixed_up_are_told() {
    need_functions!("ping");
    let formats = ["frames", "qemu", "vde"];
    for (one, other) in formats.iter().flat_map(|one| formats.map(|other| (*one, other))) {
        if one == other {
            continue;
        }
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "stdpkt run --left 10.0.0.2/24,at={one}:unix:s & other=$!
             until [ -S s ]; do sleep 0.05; done
             stdpkt run --right 10.0.0.1/24,at={other}:unix:s -- ping -q -c1 -W1 10.0.0.2
             kill $other; wait"
        ));
        assert!(
            outcome.err.contains(&format!("no stream of {one} frames")),
            "{other} as {one}: {outcome:?}"
        );
        scene.assert_nothing_left();
    }
}

#[test]
fn a_program_that_is_no_end_of_a_link_is_told() {
    need_functions!("ping");
    for (command, status, line) in [
        ("echo hello, this is text", 125, "it says \"hello, this is text"),
        ("printf '\\052\\000\\000\\000half'", 125, "within a frame: 4 bytes of 42"),
        ("true", 125, "true ended before it got or wrote a frame"),
        ("false", 1, "false ended with status 1"),
        ("sh -c 'kill -9 $$'", 137, "sh ended with status 137, as after signal 9"),
        ("no-such-program", 127, "no-such-program"),
    ] {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "stdpkt run --right 10.0.0.1/24 2>/dev/null | stdpkt join --left frames -- {command}"
        ));
        assert_eq!(outcome.status, status, "{command}: {outcome:?}");
        assert!(outcome.err.contains(line), "{command}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn a_program_that_never_reads_holds_nobody_up() {
    need_functions!("ping", "dd");
    let scene = Scene::new();
    // It takes no frame, and its pipe is soon full: the sender goes on all the same.
    let outcome = scene.sh("stdpkt run --right 10.0.0.1/24 -- sh -c '
             ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev right
             for n in $(seq 40); do ping -q -c1 -W0.05 -s 60000 10.0.0.2; done; sleep 1.5
             ping -q -c3 -W0.05 -s 60000 10.0.0.2' \
         | stdpkt join --left frames -- sleep 1000");
    assert!(outcome.err.contains("takes nothing for 1 s"), "{outcome:?}");
    scene.assert_nothing_left();
}

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
    scene.assert_nothing_left();
}

#[test]
fn interfaces_without_addresses_make_a_switch() {
    need_functions!("ping", "mkfifo");
    let scene = Scene::new();
    let outcome = scene.sh(
        "mkfifo c
         stdpkt run --link e,at=c,ip=10.0.0.3/24 -- sleep 1000 & third=$!
         stdpkt run --right 10.0.0.1/24 -- sh -c 'ping -q -c1 -W5 10.0.0.2 && ping -q -c1 -W5 10.0.0.3' \
         | stdpkt run --left none --right none --link c,at=c --bridge \
         | stdpkt run --left 10.0.0.2/24
         kill $third; wait",
    );
    assert_eq!(said(&outcome).matches(" 0% packet loss").count(), 2, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_tap_that_exists_is_an_edge_and_a_namespace_that_exists_is_joined() {
    need_functions!("root", "ping", "unshare", "ip");
    let scene = Scene::new();
    // A namespace that stands for the host.
    let outcome = scene.sh(
        "exec unshare -n sh -c '
             ip tuntap add t0 mode tap; ip addr add 10.0.0.2/24 dev t0; ip link set t0 up
             ip tuntap add t1 mode tap multi_queue; ip addr add 10.0.1.2/24 dev t1; ip link set t1 up
             ip link add sw type bridge
             stdpkt run --left 10.0.0.1/24,at=tap:t0 -- ping -q -c1 -W5 10.0.0.2
             stdpkt run --left 10.0.1.1/24,at=tap:t1 -- ping -q -c1 -W5 10.0.1.2
             stdpkt run --left 10.0.0.1/24,at=tap:t0 & holder=$!
             until ip -br link show t0 | grep -q LOWER_UP; do sleep 0.05; done
             for tap in t0 sw none; do stdpkt run --left 10.0.0.1/24,at=tap:$tap; echo status $?; done
             kill $holder; wait
             stdpkt run --netns host --left 10.2.0.1/24 -- true | cat
             stdpkt run --netns host --right 10.2.0.1/24 -- ping -q -c1 -W5 10.2.0.2 \
                 | stdpkt run --left 10.2.0.2/24
             ip -br link show | grep -c right
         '",
    );
    assert_eq!(said(&outcome).matches(" 0% packet loss").count(), 3, "{outcome:?}");
    assert_eq!(outcome.out.matches("status 125").count(), 3, "{outcome:?}");
    assert!(outcome.out.ends_with("0\n"), "an interface is left: {outcome:?}");
    for said in ["tap:t0 is in use by another process", "tap:sw is no TAP", "tap:none is not there"]
    {
        assert!(outcome.err.contains(said), "{said}: {outcome:?}");
    }
    scene.assert_nothing_left();
}

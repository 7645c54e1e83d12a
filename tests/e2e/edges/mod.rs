//! Links whose other end is no function: programs, sockets, interfaces.

mod documents;
mod each;
mod ends;
mod existing;
mod joined;
mod losses;
mod mistakes;
mod moved;
mod remote;
pub(super) mod uplink;
mod vde;
mod vde_demo;
mod vde_plugin;
mod xdp;

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

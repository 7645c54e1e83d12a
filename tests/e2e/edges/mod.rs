//! Links whose other end is no function: programs, sockets, interfaces.

mod documents;
mod each;
mod mistakes;
mod remote;
pub(super) mod uplink;
mod vde;
mod vde_plugin;

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

/// The paper's firewall, `IF0=tap0 ... IF1=tap1`: each client is in a namespace behind a switch
/// that has the TAP.
#[test]
fn a_firewall_between_two_taps_with_clients_outside() {
    need_functions!("root", "ping", "unshare", "ip", "iptables", "socat");
    let scene = Scene::new();
    let outcome = scene.sh(
        "exec unshare -n -m sh -c '
             mount --make-rprivate /; mount -t tmpfs none /run; mkdir /run/netns
             for n in 0 1; do
                 ip tuntap add tap$n mode tap user 0; ip link set tap$n up
                 ip netns add c$n; ip link add v$n type veth peer name eth0 netns c$n
                 ip link add sw$n type bridge
                 for port in v$n tap$n; do ip link set $port master sw$n up; done
                 ip link set sw$n up; ip -n c$n link set eth0 up
                 ip -n c$n addr add 10.0.$n.2/24 dev eth0
                 ip -n c$n route add default via 10.0.$n.1
             done
             stdpkt run --left 10.0.0.1/24,at=tap:tap0 --right 10.0.1.1/24,at=tap:tap1 --forward \
                 --setup \"iptables -P FORWARD DROP; iptables -A FORWARD -p icmp -j ACCEPT\" & firewall=$!
             ip netns exec c1 socat TCP-LISTEN:80,fork,reuseaddr SYSTEM:\"echo through\" & server=$!
             for n in $(seq 50); do ip netns exec c0 ping -q -c1 -W1 10.0.1.2 && break; done
             ip netns exec c0 socat -u TCP:10.0.1.2:80,connect-timeout=1 - ; echo connect $?
             kill $server $firewall; wait
         '",
    );
    assert!(said(&outcome).contains(" 0% packet loss"), "{outcome:?}");
    assert!(outcome.out.ends_with("connect 1\n"), "{outcome:?}");
    scene.assert_nothing_left();
}

//! Interfaces and namespaces that exist.

use super::said;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

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

#[test]
fn a_tap_that_is_deleted_is_named_and_the_function_ends() {
    need_functions!("root", "ping", "unshare", "ip");
    for chain in [
        "stdpkt run --left 10.0.0.1/24,at=tap:t0 -- sh -c 'touch up; sleep 1000'",
        "stdpkt run --right 10.0.0.1/24 -- sh -c 'touch up; sleep 1000' | stdpkt join tap:t0",
        "stdpkt run --right none | stdpkt run --netns host --left 10.0.0.1/24,dev=t0 -- sh -c 'touch up; sleep 1000'",
        "stdpkt run --right none -- sh -c 'touch up; sleep 1000' | stdpkt run --netns host --left 10.0.0.1/24,dev=t0",
    ] {
        let scene = Scene::new();
        std::fs::write(
            scene.path("host"),
            format!(
                "ip tuntap add t0 mode tap; ip link set t0 up
                 {chain} & chain=$!
                 until [ -e up ]; do sleep 0.05; done
                 ip link del t0; wait $chain; echo $?"
            ),
        )
        .expect("scene");
        let outcome = scene.sh("exec unshare -n sh host");
        assert_eq!(outcome.out, "125\n", "{chain}: {outcome:?}");
        assert!(outcome.err.contains("tap:t0 is gone: somebody has deleted it"), "{outcome:?}");
        assert_eq!(outcome.err.matches("stdpkt: ").count(), 1, "{outcome:?}");
        scene.assert_nothing_left();
    }
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

/// `dev=`: the host's own stack has the TAP, and the function only the link behind it.
#[test]
fn a_tap_that_exists_is_the_interface_itself() {
    need_functions!("root", "ping", "unshare", "ip");
    let scene = Scene::new();
    let outcome = scene.sh(
        "exec unshare -n sh -c '
             ip link set lo up; ip tuntap add tap0 mode tap; ip link set tap0 up
             look() { ip -4 addr show dev tap0 | grep inet; ip link show tap0 | grep -o -e mtu.*qdisc -e ether.*; ip route; }
             before=$(look)
             stdpkt run --netns host --right 10.0.0.1/24,dev=tap0 -- ping -q -c2 -i0.1 -W5 10.0.0.2 \
                 | stdpkt run --left 10.0.0.2/24
             ip addr add 10.0.0.1/24 dev tap0
             stdpkt run --netns host --right none,dev=tap0 -- ping -q -c2 -i0.1 -W5 10.0.0.2 \
                 | stdpkt run --left 10.0.0.2/24
             stdpkt run --netns host --right 10.0.0.1/24,dev=tap0 | cat
             ip addr del 10.0.0.1/24 dev tap0
             [ \"$before\" = \"$(look)\" ] && echo as it was || echo \"$before, then $(look)\"
             stdpkt run --netns host --right none,dev=tap0 --bridge | cat
             ip link set tap0 down; stdpkt run --netns host --right none,dev=tap0 | cat
             stdpkt run --netns host --right none,dev=lo | cat
             stdpkt run --netns host --left none --right none --bridge </dev/null 2>/dev/null; ip link show br0
             stdpkt run --right 10.0.0.1/24,dev=eth7 -- ip -br link show eth7 | stdpkt run --left 10.0.0.2/24
         '",
    );
    let all = said(&outcome);
    assert_eq!(all.matches(" 0% packet loss").count(), 2, "{outcome:?}");
    for line in [
        "as it was",
        "address 10.0.0.1/24: the kernel refuses it",
        "give it to the switch by at=tap:tap0",
        "`ip link set tap0 up` first",
        "lo is no TAP",
        "\"br0\" does not exist",
        "eth7 ",
    ] {
        assert!(all.contains(line), "{line}: {outcome:?}");
    }
    scene.assert_nothing_left();
}

/// What a switch in a namespace that exists needs goes with the function.
#[test]
fn a_switch_leaves_a_namespace_that_exists() {
    need_functions!("root", "unshare", "ip", "mkfifo");
    let scene = Scene::new();
    let outcome = scene.sh("mkfifo f; exec unshare -n sh -c '
             stdpkt run --netns host --link port,at=f --bridge & switch=$!
             until ip link show port >/dev/null 2>&1; do sleep 0.05; done
             stdpkt run --netns host --link other,at=f --bridge
             kill $switch; wait $switch; ip -br link show'");
    assert!(outcome.err.contains("ip link del br0"), "{outcome:?}");
    assert!(!outcome.out.contains("br0") && !outcome.out.contains("port"), "{outcome:?}");
    scene.assert_nothing_left();
}

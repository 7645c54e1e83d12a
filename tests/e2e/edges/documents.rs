//! The lines of docs/edges.md and docs/many-machines.md, as they stand there, with the real
//! programs. Those about scapy are in `examples`.

use super::remote::{between_hosts, with_ssh};
use super::said;
use super::uplink::{SERVER, on_the_host};
use crate::examples::{EDGES, blocks_of};
use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene, stdpkt};

const MACHINES: &str = include_str!("../../../docs/many-machines.md");

/// Until the other host is there.
const AGAIN: &str = "sh -c 'until ping -c3 -W1 10.0.0.2; do :; done'";

/// All lines below a heading, which are so many.
fn lines(document: &'static str, heading: &str, count: usize) -> Vec<&'static str> {
    let lines = blocks_of(document, heading, "sh");
    assert_eq!(lines.len(), count, "a line more or less below {heading}: give it a test");
    lines
}

fn assert_answered(outcome: &Outcome, times: usize) {
    let said = said(outcome);
    assert_eq!(said.matches("3 received, 0% packet loss").count(), times, "{outcome:?}");
}

#[test]
fn another_machine_through_ssh() {
    need_functions!("root", "ip", "ss", "unshare", "ping", "sshd", "ssh", "ssh-keygen");
    let line = lines(EDGES, "Another machine or container", 1)[0];
    assert_eq!(lines(MACHINES, "Through ssh", 1)[0], line);
    let scene = Scene::new();
    let outcome = with_ssh(&scene, &format!("{line} echo ${{PIPESTATUS[@]}}"));
    assert_answered(&outcome, 1);
    assert_eq!(outcome.out, "0 0\n", "{outcome:?}");
    scene.assert_nothing_left();
}

/// The line, and on the other host the line with the addresses exchanged.
#[test]
fn hosts_are_joined_by_vxlan() {
    need_functions!("root", "ip", "ping", "unshare");
    let line = lines(MACHINES, "VXLAN", 1)[0];
    let other = line.replace("192.0.2.2", "192.0.2.1").replace("10.0.0.1/24", "10.0.0.2/24");
    let other = other.replace("ping -c3 10.0.0.2", "sleep 1000 & wait");
    let scene = Scene::new();
    std::fs::write(
        scene.path("other"),
        format!("trap 'kill $(jobs -p); wait' TERM; cd $(mktemp -d -p .)\n{other}"),
    )
    .expect("scene");
    let line = line.replace("ping -c3 10.0.0.2", AGAIN);
    let outcome = between_hosts(
        &scene,
        &format!(
            "ip netns exec far bash other & far=$!
             {line}
             kill $(jobs -p); wait"
        ),
    );
    assert!(said(&outcome).contains(" 0% packet loss"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn hosts_are_joined_by_vxvde() {
    need_functions!("root", "ip", "ping", "unshare", "vde_plug");
    let line = lines(MACHINES, "vxvde", 1)[0];
    let far = line.replace("10.0.0.1/24", "10.0.0.2/24").replace("ping -c3 10.0.0.2", "sleep 1000");
    let near = line.replace("ping -c3 10.0.0.2", AGAIN);
    let scene = Scene::new();
    std::fs::write(scene.path("other"), far).expect("scene");
    let outcome = between_hosts(
        &scene,
        &format!(
            "ip route add 239.0.0.0/8 dev near; ip -n far route add 239.0.0.0/8 dev far
             ip netns exec far bash other & far=$!
             {near}
             for pid in $(ip netns pids far); do kill $pid; done; wait"
        ),
    );
    assert!(said(&outcome).contains(" 0% packet loss"), "{outcome:?}");
    scene.assert_nothing_left();
}

/// Both hosts' lines; the near one's by root and by an ordinary user.
#[test]
fn hosts_are_joined_by_wireguard() {
    const HEADING: &str = "WireGuard inside a function";
    need_functions!(
        "root",
        "user namespaces",
        "ip",
        "unshare",
        "setpriv",
        "ping",
        "passt",
        "wg",
        "wireguard-go"
    );
    let [near, far] = lines(MACHINES, HEADING, 2)[..] else { unreachable!("two lines") };
    let config = blocks_of(MACHINES, HEADING, "ini")[0];
    for who in ["", "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all"] {
        let scene = Scene::new();
        // The build's directory may be closed to others.
        std::fs::remove_file(scene.path("bin/stdpkt")).expect("scene");
        std::fs::copy(stdpkt(), scene.path("bin/stdpkt")).expect("scene");
        for (name, text) in [("near", near), ("far", far), ("wg.conf", config)] {
            std::fs::write(scene.path(name), text).expect("scene");
        }
        let outcome = on_the_host(
            &scene,
            "",
            &format!(
                r#"umask 077; wg genkey >near.key; wg genkey >far.key; mkdir there; mv far there
                 key() {{ echo "s,$1,$2,"; }}
                 sed -e "$(key OWN $(cat far.key))" -e "$(key OTHER $(wg pubkey <near.key))"                      -e 's/^Endpoint.*//' -e 's/^PrivateKey/ListenPort = 51820\n&/'                      -e 's/^AllowedIPs.*/AllowedIPs = 10.9.0.1\/32, 10.0.0.0\/24/' wg.conf >there/wg.conf
                 sed -i -e "$(key OWN $(cat near.key))" -e "$(key OTHER $(wg pubkey <far.key))" wg.conf
                 ip -n inet addr add 10.1.0.1/24 dev lo
                 (cd there; ip netns exec inet bash far)
                 umask 0; mknod tun c 10 200; mount --bind tun /dev/net/tun; chmod 755 .; chmod 644 wg.conf
                 {who} bash near; echo near $?
                 kill $(ip netns pids inet)"#
            ),
        );
        assert_answered(&outcome, 1);
        assert!(
            outcome.out.contains(
                "near 0
"
            ),
            "{who}: {outcome:?}"
        );
        scene.assert_nothing_left();
    }
}

#[test]
fn a_program_in_the_middle() {
    need_functions!("bash", "ping", "awk", "scapy3");
    let heading = "A program in the middle";
    let scene = Scene::new();
    let outcome = scene.start_in(&["bash"], lines(EDGES, heading, 1)[0]).end();
    assert_answered(&outcome, 1);
    std::fs::write(scene.path("ttl.py"), blocks_of(EDGES, heading, "python")[0]).expect("scene");
    std::os::unix::fs::symlink("/usr/bin/python3", scene.path("bin/python3")).expect("scene");
    assert!(EDGES.contains("`... | stdpkt each --format pcap -- python3 -u ttl.py | ...`"));
    // It may take seconds to start.
    let outcome = scene
        .sh("stdpkt run --right 10.0.0.1/24 -- sh -c 'until ping -c1 -W1 10.0.0.2; do :; done' \
         | stdpkt each --format pcap -- python3 -u ttl.py | stdpkt run --left 10.0.0.2/24");
    assert!(said(&outcome).contains("ttl=7"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn the_real_network() {
    need_functions!("root", "ip", "unshare", "python3", "curl", "passt", "tcpdump");
    for line in lines(EDGES, "The real network, without root", 2) {
        let scene = Scene::new();
        std::fs::write(scene.path("server.py"), SERVER).expect("scene");
        let outcome = on_the_host(
            &scene,
            "",
            &format!(
                "echo nameserver 192.0.2.1 >resolv; mount --bind resolv $(realpath /etc/resolv.conf)
                 ip netns exec inet python3 server.py & server=$!
                 until [ -e serves ]; do sleep 0.05; done
                 {line}
                 echo $?; kill $server; wait"
            ),
        );
        assert!(said(&outcome).contains("from the network"), "{line}: {outcome:?}");
        assert!(outcome.out.contains("0\n"), "{line}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn interfaces_of_the_host_and_a_switch() {
    need_functions!("root", "bash", "unshare", "ip", "ping", "iptables");
    let [taps, itself, switch] = lines(EDGES, "Interfaces and namespaces of the host", 3)[..]
    else {
        unreachable!("three lines");
    };
    let scene = Scene::new();
    let script = format!(
        "( {taps} ) & firewall=$!
         until ip -br link show tap0 | grep -q LOWER_UP; do
             ip link set tap0 up; ip addr replace 10.0.0.2/24 dev tap0; sleep 0.1
         done 2>/dev/null
         until ping -c3 -W1 10.0.0.1; do :; done
         kill $(jobs -p); pkill -P $firewall; wait
         {switch}
         wait
         ip link del tap0; {itself}"
    );
    std::fs::write(scene.path("host"), script).expect("scene");
    let outcome = scene.sh("exec unshare -n bash host");
    assert_answered(&outcome, 3);
    scene.assert_nothing_left();
}

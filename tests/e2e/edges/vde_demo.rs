//! The virtual demonstration of VDE's talk with links for its networks, and VDE's other
//! plugins around ours or beside it.

use super::remote::{between_hosts, with_ssh};
use super::said;
use super::uplink::on_the_host;
use super::vde_plugin::with_plugin;
use crate::examples::{EDGES, blocks_of};
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::vm::guest::{self, machine, need_guests};
use crate::vm::{BOOT, up};

const HEADING: &str = "The virtual demonstration";

/// A link's two ends, whose CMD has no part in it.
const NEAR: &str = "ip address add 10.0.0.1/24 dev vde0; ip link set vde0 up; exec <&- >&2; \
                    until ping -q -c1 -W1 10.0.0.2; do :; done";
const FAR: &str = "ip address add 10.0.0.2/24 dev vde0; ip link set vde0 up; exec <&-; \
                   echo $$ >far; exec sleep 1000";

/// Pings until somebody answers.
const PING: &str = "sh -c 'until ping -q -c1 -W1 10.0.0.2; do :; done'";

fn assert_documented(line: &str) {
    let section = EDGES.split("\n## ").find(|section| section.starts_with(HEADING));
    assert!(section.is_some_and(|section| section.contains(line)), "not in docs/edges.md: {line}");
}

/// As it stands in the document, but that the machine is ours and tells from whom it is asked.
#[test]
fn a_namespace_a_router_and_a_machine() {
    need_guests!("iptables", "socat", "vdens");
    let scene = Scene::new();
    let script = up("8.8.8.8") + "while :; do nc -l -p 1000 -e netstat -tn; done";
    let machine = machine(&scene, "vm", &script) + " -pidfile vm";
    let chain = blocks_of(EDGES, HEADING, "sh")[0]
        .replace("qemu-system-x86_64 -m 1G server.img", &machine)
        .replace(
            "until ping -c3 8.8.8.8 >&2; do :; done",
            "until socat -u TCP:8.8.8.8:1000 STDERR; do sleep 0.2; done; kill $(cat vm)",
        );
    let outcome = scene.start_sh(&with_plugin(&chain)).end_within(BOOT);
    let outcome = outcome
        .unwrap_or_else(|| panic!("{}\n{}", guest::said(&scene, "vm"), scene.everything_said()));
    let asked = outcome.err.lines().find(|line| line.contains("ESTABLISHED"));
    assert!(asked.is_some_and(|line| line.contains("8.8.8.4:")), "{outcome:?}");
    scene.assert_nothing_left();
}

/// What is on the link is seen in its middle.
#[test]
fn frames_are_tagged_and_encrypted() {
    need_functions!("ip", "ping", "tcpdump", "vdens", "vde_plug vlan://", "vde_plug agno://");
    for (plugin, seen) in [("vlan://3", "vlan 3, p 0, ethertype"), ("agno://KEY", "(0xa6de)")] {
        assert_documented(&format!("vdens '{}", plugin.replace("KEY", "/path/to/key{stdpkt://}")));
        let scene = Scene::new();
        // Behind agno, which hides the end of the link, a vdens has its CMD's end only, of which it does
        // not hear while it moves a frame: either one is ended then.
        let plugin = plugin.replace("KEY", scene.path("key").to_str().expect("UTF-8"));
        let outcome = scene.sh(&with_plugin(&format!(
            "echo 00112233445566778899aabbccddeeff >key
             (timeout -k 1 15 vdens '{plugin}{{stdpkt://}}' sh -c '{NEAR}'; kill $(cat far)) \
             | stdpkt tee x.pcap | timeout -k 1 20 vdens '{plugin}{{stdpkt://}}' sh -c '{FAR}'
             tcpdump -enr x.pcap"
        )));
        assert!(outcome.err.contains(" 0% packet loss"), "{outcome:?}");
        assert!(outcome.out.contains(seen), "{outcome:?}");
        assert!(!outcome.out.contains("ICMP echo") || plugin.contains("vlan"), "{outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn slirp_is_reached_by_dpipe_and_the_plugin() {
    need_functions!("root", "ip", "mkfifo", "socat", "dpipe", "vde_plug", "vde_plug slirp://");
    const GET: &str = "socat -u TCP:192.0.2.1:8000,retry=50,interval=0.1 OPEN:got,creat";
    const DPIPE: &str = "dpipe vde_plug stdpkt://fifo = vde_plug slirp://";
    assert_documented(DPIPE);
    assert_documented("vde_plug stdpkt:// slirp://");
    const ADDRESS: &str = "10.0.2.15/24 --gateway 10.0.2.2";
    for line in [
        format!(
            "mkfifo fifo; {DPIPE} & stdpkt run --link e,at=fifo,ip={ADDRESS} -- {GET}; \
             echo $?; kill $!"
        ),
        format!(
            "stdpkt run --right {ADDRESS} -- {GET} | vde_plug stdpkt:// slirp://; \
             echo ${{PIPESTATUS[0]}}"
        ),
    ] {
        let scene = Scene::new();
        let outcome = on_the_host(
            &scene,
            "",
            &with_plugin(&format!(
                "ip netns exec inet socat TCP-LISTEN:8000,fork,reuseaddr SYSTEM:'echo from the network' & server=$!
                 {line}; kill $server; wait; cat got"
            )),
        );
        assert_eq!(outcome.out, "0\nfrom the network\n", "{line}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn hosts_are_joined_by_the_plugin_and_vxvde() {
    need_functions!("root", "ip", "ping", "unshare", "vde_plug");
    const PLUG: &str = "vde_plug stdpkt:// vxvde://239.1.2.3";
    assert_documented(PLUG);
    let scene = Scene::new();
    let outcome = between_hosts(
        &scene,
        &with_plugin(&format!(
            "ip route add 239.0.0.0/8 dev near; ip -n far route add 239.0.0.0/8 dev far
             ip netns exec far sh -c 'stdpkt run --right 10.0.0.2/24 -- sleep 1000 | {PLUG}' &
             stdpkt run --right 10.0.0.1/24 -- {PING} | {PLUG}
             for pid in $(ip netns pids far); do kill $pid; done; wait"
        )),
    );
    assert!(said(&outcome).contains(" 0% packet loss"), "{outcome:?}");
    scene.assert_nothing_left();
}

/// Any command may carry the frames, as ssh does. It has an environment of its own.
#[test]
fn a_fifo_is_reached_through_a_command() {
    need_functions!("mkfifo", "ping", "vde_plug");
    assert_documented("vde_plug stdpkt:// 'cmd://vde_plug stdpkt:///path/to/fifo'");
    let scene = Scene::new();
    let mark = crate::support::procs::MARK;
    let outcome = scene.sh(&with_plugin(&format!(
        "mkfifo fifo
         stdpkt run --link e,at=fifo,ip=10.0.0.2/24 -- sleep 1000 & far=$!
         stdpkt run --right 10.0.0.1/24 -- {PING} \
         | vde_plug stdpkt:// \"cmd://env {mark}=${mark} VDEPLUGIN_PATH=$VDEPLUGIN_PATH vde_plug stdpkt://fifo\"
         kill $far; wait $far"
    )));
    assert!(said(&outcome).contains(" 0% packet loss"), "{outcome:?}");
    scene.assert_nothing_left();
}

/// The same on another host.
#[test]
fn a_fifo_of_another_host_is_reached_through_ssh() {
    need_functions!("root", "ip", "ss", "unshare", "ping", "sshd", "ssh", "ssh-keygen", "vde_plug");
    assert_documented("vde_plug stdpkt:// 'cmd://ssh host vde_plug stdpkt:///path/to/fifo'");
    let scene = Scene::new();
    let mark = crate::support::procs::MARK;
    let outcome = with_ssh(
        &scene,
        &with_plugin(&format!(
            "mkfifo fifo
             ip netns exec far stdpkt run --link e,at=fifo,ip=10.0.0.2/24 -- sleep 1000 & far=$!
             stdpkt run --right 10.0.0.1/24 -- {PING} \
             | vde_plug stdpkt:// \"cmd://env {mark}=${mark} ssh -F $PWD/k/ssh host env VDEPLUGIN_PATH=$VDEPLUGIN_PATH vde_plug stdpkt://$PWD/fifo\"
             kill $far; wait $far"
        )),
    );
    assert!(said(&outcome).contains(" 0% packet loss"), "{outcome:?}");
    scene.assert_nothing_left();
}

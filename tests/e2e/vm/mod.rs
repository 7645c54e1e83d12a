//! Virtual machines at the ends of links: QEMU, with an emulated processor.

pub(super) mod guest;
mod mistakes;
mod restarts;
mod testpmd;

use std::time::Duration;

use guest::{machine, machine_with, need_guests, said};
use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::procs::Process;
use crate::support::scene::{Outcome, Scene};
use crate::support::wait_until;

/// A machine boots in 4 s, and in many times that on a busy host.
pub const BOOT: Duration = Duration::from_secs(180);

/// Asks until somebody answers.
const FIND: &str = "until ping -q -c1 -W1 $1 >/dev/null; do :; done";

/// Runs a script to its end, which machines take their time for where others want the
/// processor, too.
fn play(scene: &Scene, script: &str) -> Outcome {
    let outcome = scene.start_sh(script).end_within(BOOT);
    outcome.unwrap_or_else(|| {
        let logs = ["vm", "client", "server"].map(|name| said(scene, name));
        panic!("not within {BOOT:?}: {}\n{logs:?}", scene.everything_said())
    })
}

/// A function's CMD that sleeps.
fn sleeper(scene: &Scene) -> Option<Process> {
    scene.processes().into_iter().find(|it| it.name == "sleep")
}

/// The first lines of a guest's script: its address, and how it finds somebody.
pub fn up(address: &str) -> String {
    format!("ip addr add {address}/24 dev eth0; ip link set eth0 up\nfind() {{ {FIND}; }}\n")
}

/// 8 MiB each way, and again until the function has seen segments of more than one packet of
/// both. How TCP cuts what it sends depends on how fast an emulated processor is; that none
/// was cut on its way does not: the guest's card then counts more than the function sent.
#[test]
fn a_machine_joins_a_function_and_whole_segments_cross() {
    need_guests!("socat", "tcpdump");
    let scene = Scene::new();
    let script = up("10.0.0.2")
        + "find 10.0.0.1
           ping -q -c3 10.0.0.1
           both() {
               dd if=/dev/zero bs=64k count=128 | nc 10.0.0.1 1000
               nc 10.0.0.1 1001 </dev/null | wc -c
           }
           both
           until grep eth0 /proc/net/dev | nc 10.0.0.1 1002; do both; done
           sleep 1000";
    let outcome = play(
        &scene,
        &format!(
            "stdpkt run --right 10.0.0.1/24 -- sh -c '
             tcpdump -c3 -i right greater 3000 and tcp and src 10.0.0.2 & theirs=$!
             tcpdump -c3 -i right greater 3000 and tcp and dst 10.0.0.2 & ours=$!
             socat -u TCP-LISTEN:1000,reuseaddr,fork SYSTEM:\"wc -c\" &
             socat -U TCP-LISTEN:1001,reuseaddr,fork SYSTEM:\"head -c 8388608 /dev/zero\" &
             wait $theirs $ours
             socat -u TCP-LISTEN:1002,reuseaddr STDERR
             grep right /proc/net/dev >&2' \
         | stdpkt join --left vhost-user -- {}",
            machine(&scene, "vm", &script)
        ),
    );
    let log = said(&scene, "vm");
    assert!(log.contains(" 0% packet loss"), "{log}\n{outcome:?}");
    assert!(log.contains("8388608"), "{log}\n{outcome:?}");
    assert!(outcome.err.contains("8388608"), "{log}\n{outcome:?}");
    // proc_net(5): eight numbers of what was received, eight of what was sent.
    let count = |name, column: usize| -> u64 {
        let line = outcome.err.lines().find_map(|line| line.trim().strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().nth(column)?.parse().ok());
        number.unwrap_or_else(|| panic!("{name}: {outcome:?}"))
    };
    assert!(count("eth0:", 1) <= count("right:", 9), "cut on their way: {outcome:?}");
    scene.assert_nothing_left();
}

/// Counts frames that come off the ring at a function's right side, and those of them that are
/// longer than a packet can be.
const COUNTERS: &str = "table netdev count {
    counter long { }
    counter seen { }
    chain came {
        type filter hook ingress device right priority 0
        meta length > 1500 counter name long
        counter name seen
    }
}";

/// What the switch has counted: long frames, all frames, and bytes of them.
fn counted(scene: &Scene) -> Option<[u64; 3]> {
    let said = scene.sh("stdpkt exec switch -- nft -j list counters").out;
    let report: serde_json::Value = serde_json::from_str(&said).ok()?;
    let all = report["nftables"].as_array()?.iter().map(|it| &it["counter"]);
    let of = |name: &str, what: &str| all.clone().find(|it| it["name"] == name)?[what].as_u64();
    Some([of("long", "packets")?, of("seen", "packets")?, of("seen", "bytes")?])
}

/// What crosses rings between two machines are segments of many packets: a switch between them
/// counts each frame as it comes. Until most of a second's are such: how TCP cuts what it sends
/// depends on how fast an emulated processor is.
#[test]
fn iperf3_between_two_machines_fills_the_ring_with_whole_segments() {
    need_guests!("iperf3", "nft");
    let scene = Scene::new();
    std::fs::write(scene.path("counters"), COUNTERS).expect("scene");
    let server = up("10.0.0.1") + "iperf3 -s";
    let client = up("10.0.0.2") + "find 10.0.0.1\nuntil iperf3 -c 10.0.0.1 -t 1000; do :; done";
    let chain = scene.start_sh(&format!(
        "stdpkt join vhost-user -- {} \
         | stdpkt run --left none --right none --bridge --name switch --setup 'nft -f counters' -- sleep 1000 \
         | stdpkt join vhost-user -- {}",
        machine_with(&scene, "server", &["iperf3"], &server),
        machine_with(&scene, "client", &["iperf3"], &client),
    ));
    let mut before = [0; 3];
    wait_until(BOOT, || {
        std::thread::sleep(Duration::from_secs(1));
        let now = counted(&scene).unwrap_or_default();
        let [long, seen, bytes] = std::array::from_fn(|at| now[at].saturating_sub(before[at]));
        before = now;
        match long >= 100 && 2 * long > seen {
            true => {
                let mean = bytes / seen;
                println!("{seen} frames, {mean} bytes on average, {long} longer than a packet");
                Ok(())
            }
            false => Err(format!(
                "{long} of {seen} frames: {}{}\n{}",
                said(&scene, "client"),
                said(&scene, "server"),
                scene.everything_said()
            )),
        }
    });
    chain.signal_group(Signal::TERM);
    chain.end_within(BOOT);
    scene.assert_nothing_left();
}

/// As for Firecracker, which has no vhost-user for networks: here QEMU is the machine.
#[test]
fn a_machine_that_knows_taps_only_is_cmd_of_a_switch() {
    need_guests!("ip");
    let scene = Scene::new();
    let script = up("10.0.0.2") + "find 10.0.0.1; ping -q -c3 10.0.0.1";
    let outcome = play(
        &scene,
        &format!(
            "stdpkt run --right 10.0.0.1/24 -- sleep 1000 \
         | stdpkt run --left none --bridge \
               --setup 'ip tuntap add vm0 mode tap; ip link set vm0 master br0 up' -- {} \
               -netdev tap,id=n,ifname=vm0,script=no,downscript=no -device virtio-net-pci,netdev=n",
            machine(&scene, "vm", &script)
        ),
    );
    let log = said(&scene, "vm");
    assert!(log.contains(" 0% packet loss"), "{log}\n{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn two_machines_with_a_router_that_translates() {
    need_guests!("iptables");
    let scene = Scene::new();
    let client = up("192.168.0.1")
        + "ip route add default via 192.168.0.254
           find 8.8.8.8
           until nc 8.8.8.8 1000 </dev/null; do usleep 200000; done";
    // It says by whom it is asked.
    let server = up("8.8.8.8") + "nc -l -p 1000 -e netstat -tn; sleep 1000";
    let outcome = play(
        &scene,
        &format!(
            "stdpkt join --right vhost-user -- {} \
         | stdpkt run --left 192.168.0.254/24 --right 8.8.8.4/24 --forward \
               --setup 'iptables -t nat -A POSTROUTING -s 192.168.0.0/24 -o right -j MASQUERADE' \
         | stdpkt join --left vhost-user -- {}",
            machine(&scene, "client", &client),
            machine(&scene, "server", &server)
        ),
    );
    let log = said(&scene, "client");
    let asked = log.lines().find(|line| line.contains("8.8.8.8:1000"));
    assert!(asked.is_some_and(|line| line.contains("8.8.8.4:")), "{log}\n{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_machine_leases_its_address_to_another_behind_tee() {
    need_guests!("tcpdump");
    let scene = Scene::new();
    let server = up("10.0.0.1")
        + "printf 'start 10.0.0.7\\nend 10.0.0.7\\ninterface eth0\\noption subnet 255.255.255.0\\nlease_file /tmp/l\\n' >/etc/c
           touch /tmp/l; udhcpd -f /etc/c";
    let client = "ip link set eth0 up
        printf '#!/bin/sh\\n[ \"$1\" != bound ] || ip addr add $ip/24 dev eth0\\n' >/bin/bound; chmod 755 /bin/bound
        until udhcpc -i eth0 -n -q -t 10 -T 1 -s /bin/bound; do :; done
        ping -q -c3 -s 1400 10.0.0.1
        ip addr show eth0";
    let outcome = play(
        &scene,
        &format!(
            "stdpkt join vhost-user -- {} | stdpkt tee x.pcap | stdpkt join vhost-user -- {}
         echo $?; tcpdump -nr x.pcap",
            machine(&scene, "server", &server),
            machine(&scene, "client", client)
        ),
    );
    let log = said(&scene, "client");
    assert!(
        log.contains("inet 10.0.0.7/24") && log.contains(" 0% packet loss"),
        "{log}\n{outcome:?}"
    );
    for part in ["BOOTP/DHCP, Request from 02:76:", "10.0.0.7 > 10.0.0.1: ICMP echo request", "0\n"]
    {
        assert!(outcome.out.contains(part), "{outcome:?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn an_idle_machine_costs_nothing() {
    need_guests!();
    let scene = Scene::new();
    let script = "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6\n".to_owned()
        + &up("10.0.0.2")
        + "find 10.0.0.1; sleep 1; echo idle; sleep 1000";
    let vm = scene.start_sh(&format!(
        "stdpkt run --right 10.0.0.1/24 -- sleep 1000 | exec stdpkt join --left vhost-user -- {}",
        machine(&scene, "vm", &script)
    ));
    wait_until(BOOT, || match said(&scene, "vm") {
        log if log.contains("idle") => Ok(()),
        log => Err(log),
    });
    let joins = |it: &Process| it.name == "stdpkt" && it.args.iter().any(|arg| arg == "join");
    let join = scene.processes().into_iter().find(joins).expect("join");
    // Time on a processor, and how often (Documentation/scheduler/sched-stats.rst).
    let spent = || std::fs::read_to_string(format!("/proc/{}/schedstat", join.pid)).expect("join");
    let same = (0..5).any(|_| {
        let before = spent();
        std::thread::sleep(Duration::from_millis(500));
        spent() == before
    });
    assert!(same, "it runs all the time");
    vm.signal_group(Signal::TERM);
    vm.end_within(BOOT);
    scene.assert_nothing_left();
}

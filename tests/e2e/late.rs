//! What CMD sent arrives, although CMD has ended: the function lives on until
//! its network stack holds nothing more, as a host does.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::chains::two;
use crate::support::need::{need, need_functions};
use crate::support::procs::Process;
use crate::support::scene::{Outcome, Scene, statuses_of, with_statuses};
use crate::support::{WATCHDOG, wait_until};

const BIG: u64 = 5_000_000;
/// Takes more bytes than sockets and links hold together.
const SENDS: &str = "-- socat -u - TCP:10.0.0.2:99,retry=50,interval=0.1 <big";

fn scene() -> Scene {
    let scene = Scene::new();
    let bytes: Vec<u8> = (0..BIG).map(|n| (n % 251) as u8).collect();
    std::fs::write(scene.path("big"), bytes).expect("the scene's directory");
    scene
}

/// Bytes in a file.
fn size(scene: &Scene, file: &str) -> u64 {
    std::fs::metadata(scene.path(file)).map_or(0, |meta| meta.len())
}

fn run(scene: &Scene, chain: &str) -> (Vec<i32>, Outcome) {
    let (statuses, outcome) = scene.pipeline(chain);
    println!("{outcome:?}");
    (statuses, outcome)
}

#[test]
fn the_last_bytes_of_a_connection_arrive() {
    need_functions!("bash", "socat");
    let scene = scene();
    for options in ["", "--channel fifo"] {
        for _ in 0..5 {
            let receive = format!("{options} -- socat -u TCP-LISTEN:99 CREATE:out");
            let (statuses, outcome) = run(&scene, &two(SENDS, &receive));
            assert_eq!((statuses, size(&scene, "out")), (vec![0, 0], BIG), "{outcome:?}");
        }
    }
    assert!(std::fs::read(scene.path("big")).unwrap() == std::fs::read(scene.path("out")).unwrap());
    scene.assert_nothing_left();
}

#[test]
fn they_arrive_at_one_who_takes_its_time() {
    need_functions!("bash", "socat");
    let scene = scene();
    // Its socket has more in it when the link ends than it takes in the time
    // that a CMD has to end then.
    let slow = "-- bash -c 'socat -u TCP-LISTEN:99,rcvbuf=3000000 - \
                | while head -c 400000 | cat >>out && [ $(stat -c %s out) -lt 5000000 ]; do sleep 0.1; done'";
    let (statuses, outcome) = run(&scene, &two(SENDS, slow));
    assert_eq!((statuses[0], size(&scene, "out")), (0, BIG), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn what_a_daemon_of_cmd_sent_arrives_too() {
    need_functions!("bash", "socat");
    let scene = scene();
    // The connection is that of a process which does not end by itself.
    let daemon = "-- bash -c 'sleep 0.3; exec 3<>/dev/tcp/10.0.0.2/99; setsid sleep 1000 & \
                  cat big >&3; exit 7'";
    let (statuses, outcome) = run(&scene, &two(daemon, "-- socat -u TCP-LISTEN:99 CREATE:out"));
    assert_eq!((statuses, size(&scene, "out")), (vec![7, 0], BIG), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn they_arrive_through_what_setup_started() {
    need_functions!("bash", "socat");
    let scene = scene();
    // CMD's bytes pass a tunnel that a setup command keeps up.
    let tunnel = |listens: &str, own: &str| {
        format!(
            "--setup 'ip link set lo up; socat UDP:{own},bind=:7 TUN:10.9.0.{listens}/24,up & \
             until ip -o addr | grep -q 10.9.0; do sleep 0.02; done'"
        )
    };
    let first = tunnel("1", "10.0.0.2:7");
    let second = tunnel("2", "10.0.0.1:7");
    let send = "-- socat -u - TCP:10.9.0.2:99,retry=50,interval=0.1 <big";
    let (statuses, outcome) = run(
        &scene,
        &two(&format!("{first} {send}"), &format!("{second} -- socat -u TCP-LISTEN:99 CREATE:out")),
    );
    assert_eq!((statuses, size(&scene, "out")), (vec![0, 0], BIG), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn the_last_datagrams_arrive() {
    need_functions!("bash", "tcpdump");
    let scene = Scene::new();
    // As many as a TAP holds, with something in them; nobody answers.
    let send = "--setup 'ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev right' \
                -- bash -c 'exec 3>/dev/udp/10.0.0.2/9; printf -v data %01000d; \
                for n in {1..400}; do printf $data >&3; done'";
    for options in ["", "--channel fifo"] {
        for _ in 0..8 {
            let chain =
                format!("stdpkt run --right 10.0.0.1/24 {options} {send} | stdpkt dump -w f");
            let (statuses, outcome) = run(&scene, &chain);
            let seen = scene.sh("tcpdump -nr f udp port 9 2>/dev/null | wc -l");
            assert_eq!((statuses, seen.out.trim()), (vec![0, 0], "400"), "{options} {outcome:?}");
        }
    }
    scene.assert_nothing_left();
}

#[test]
fn the_last_datagrams_arrive_in_a_capture() {
    need_functions!("bash", "tcpdump");
    let scene = Scene::new();
    let send = "--setup 'ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev right' \
                -- bash -c 'exec 3>/dev/udp/10.0.0.2/9; printf -v data %01000d; \
                for n in {1..400}; do printf $data >&3; done'";
    // A pipe holds 64 KiB of the 400 KB; this reader takes the rest much later.
    let chain = format!("stdpkt run --right 10.0.0.1/24 {send} | (sleep 0.7; cat) >f");
    let (statuses, outcome) = run(&scene, &chain);
    let seen = scene.sh("tcpdump -nr f udp port 9 2>/dev/null | wc -l");
    assert_eq!((statuses, seen.out.trim()), (vec![0, 0], "400"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_datagram_waits_for_the_address_of_its_next_hop() {
    need_functions!("bash", "socat");
    let scene = Scene::new();
    // It is the first packet, and CMD has ended before anybody was asked.
    let send = "-- bash -c 'sleep 0.3; echo late >/dev/udp/10.0.0.2/9'";
    let receive = "-- socat -u UDP-RECV:9 CREATE:out";
    for _ in 0..5 {
        let (statuses, outcome) = run(&scene, &two(send, receive));
        assert_eq!((statuses, size(&scene, "out")), (vec![0, 143], 5), "{outcome:?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn a_datagram_waits_in_a_queueing_discipline() {
    need_functions!("bash", "tc", "tcpdump");
    let scene = Scene::new();
    let send = "--setup 'ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev right; \
                tc qdisc add dev right root tbf rate 1mbit burst 2k limit 1m' \
                -- bash -c 'for n in {1..50}; do printf %01000d 0 >/dev/udp/10.0.0.2/9; done'";
    let chain = format!("stdpkt run --right 10.0.0.1/24 {send} | stdpkt dump -w f");
    let (statuses, outcome) = run(&scene, &chain);
    if outcome.err.contains("RTNETLINK") || outcome.err.contains("Specified qdisc") {
        return say::line!("skipped: this kernel has no token bucket filter");
    }
    let seen = scene.sh("tcpdump -nr f udp port 9 2>/dev/null | wc -l");
    assert_eq!((statuses, seen.out.trim()), (vec![0, 0], "50"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_connection_that_is_reset_is_not_waited_for() {
    need_functions!("bash", "socat");
    let scene = scene();
    let send = "--linger 1000 -- socat -u - TCP:10.0.0.2:99,retry=50,interval=0.1,linger=0 <big";
    let (statuses, outcome) = run(&scene, &two(send, "-- socat -u TCP-LISTEN:99 CREATE:out"));
    assert_eq!(statuses[0], 0, "{outcome:?}");
    assert!(!outcome.err.contains("gave up"), "{outcome:?}");
    scene.assert_nothing_left();
}

/// A peer that takes some bytes and then none, and lives as long as its link.
const STUCK: &str = "-- bash -c 'socat -u TCP-LISTEN:99 SYSTEM:\"touch stuck; sleep 1000\"'";

#[test]
fn what_nobody_takes_is_given_up_counted_and_told() {
    need_functions!("bash", "socat");
    let scene = scene();
    // Little enough for the kernel to take it from CMD.
    let send = "--linger 0.5 -- bash -c 'head -c 2000000 big | socat -u - \
                TCP:10.0.0.2:99,retry=50,interval=0.1,sndbuf=4000000; exit 3'";
    let (statuses, outcome) = run(&scene, &two(send, STUCK));
    assert_eq!(statuses, [3, 143], "{outcome:?}");
    let told = "stdpkt: gave up after 0.5 s without progress: ";
    let lines: Vec<_> = outcome.err.lines().filter(|line| line.starts_with(told)).collect();
    assert!(
        lines.len() == 1 && lines[0].contains(" bytes of 1 connection not acknowledged"),
        "{outcome:?}"
    );
    // The peer has some of it still to read, for some seconds after its link has ended.
    assert!(!outcome.err.contains("waiting for another"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_signal_ends_the_wait_and_the_status_is_that_of_cmd() {
    need_functions!("bash", "socat");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let scene = scene();
        let send = "--linger 1000 -- bash -c 'head -c 2000000 big | socat -u - \
                    TCP:10.0.0.2:99,retry=50,interval=0.1,sndbuf=4000000; touch sent; exit 3'";
        let play = scene.start_in(&["bash"], &with_statuses(&two(send, STUCK)));
        scene.wait_for_file("sent");
        let is_cmd = |p: &Process| p.args.get(2).is_some_and(|arg| arg.starts_with("head"));
        wait_until(WATCHDOG, || match scene.processes().iter().any(is_cmd) {
            true => Err(scene.everything_said()),
            false => Ok(()),
        });
        // A function that waits for nothing would be gone by now.
        std::thread::sleep(Duration::from_millis(300));
        scene.signal(&scene.function("--linger"), signal);
        let (statuses, outcome) = statuses_of(play.end());
        assert_eq!(statuses, [3, 143], "{signal:?} {outcome:?}");
        assert!(!outcome.err.contains("gave up"), "{outcome:?}");
        scene.assert_nothing_left();
    }
}

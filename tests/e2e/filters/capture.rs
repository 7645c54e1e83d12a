//! Captures that other programs read and write.

use super::{bash, ok, scene};
use crate::support::chains::two;
use crate::support::need::{need, need_functions};

/// Packets of `file` that Wireshark finds fault with, and how many there are.
const CHECK: &str = "check() {
    tshark -r $1 -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE -o ip.check_checksum:TRUE \
        -Y 'tcp.checksum.status == 0 || udp.checksum.status == 0 || ip.checksum.status == 0 \
            || _ws.malformed || frame.len > 1514' 2>/dev/null
    tcpdump -nr $1 tcp 2>/dev/null | wc -l
}";

const STREAM: &str = "-- stdpkt perf client 10.0.0.2 --seconds 0.2";

#[test]
fn of_large_segments_by_our_tee() {
    need_functions!("bash", "tshark", "tcpdump");
    let scene = scene();
    let (first, last) = two(STREAM, "-- stdpkt perf server")
        .split_once(" | ")
        .map(|(first, last)| (first.to_owned(), last.to_owned()))
        .expect("two functions");
    bash(&scene, &format!("{first} | stdpkt tee x.pcap | {last}"));
    assert_sound(&ok(&scene, &format!("{CHECK}; check x.pcap")));
    scene.assert_nothing_left();
}

#[test]
fn of_large_segments_by_the_tee_of_coreutils() {
    need_functions!("bash", "tshark", "tcpdump", "tee");
    let scene = scene();
    bash(
        &scene,
        &format!(
            "mkfifo back
             stdpkt run --link a,at=back:/dev/stdout,ip=10.0.0.1/24 {STREAM} | tee x.pcap \
             | stdpkt run --link b,at=/dev/stdin:back,ip=10.0.0.2/24 -- stdpkt perf server"
        ),
    );
    assert_sound(&ok(&scene, &format!("{CHECK}; check x.pcap")));
    scene.assert_nothing_left();
}

#[track_caller]
fn assert_sound(checked: &str) {
    assert_eq!(checked.lines().count(), 1, "{checked}");
    assert!(checked.trim().parse::<u32>().is_ok_and(|count| count > 200), "{checked}");
}

#[test]
fn a_capture_is_played_into_a_function() {
    need_functions!("bash", "tcpdump");
    let scene = scene();
    for play in ["cat in.pcap", "stdpkt feed in.pcap | stdpkt dump --format hex"] {
        // CMD is there before the first packet, and gets a SIGTERM after the last.
        let out = bash(
            &scene,
            &format!(
                "{play} | stdpkt run --left 10.0.0.2/24 -- tcpdump --immediate-mode -Uni left -w got udp
                 tcpdump -ntr got 2>/dev/null | wc -l; rm -f got"
            ),
        );
        let out = out.out;
        assert_eq!(out, "12\n", "{play}");
    }
    scene.assert_nothing_left();
}

#[test]
fn text2pcap_makes_of_a_dump_what_was_fed() {
    need!("bash", "text2pcap", "tshark");
    let scene = scene();
    ok(
        &scene,
        r"stdpkt feed in.pcap | stdpkt dump --format hex > x
          text2pcap -q -r '^(?<time>\S+) (?<data>[0-9A-F ]+)$' -t '%s.%f' x y.pcap
          stdpkt feed y.pcap | stdpkt dump --format hex | cut -d' ' -f2- > y",
    );
    ok(&scene, "cut -d' ' -f2- x | cmp - y && [ $(wc -l < y) = 12 ]");
    scene.assert_nothing_left();
}

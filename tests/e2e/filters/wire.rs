//! A bad cable between functions and in front of tools.

use super::{bash, ok, scene};
use crate::support::need::{need, need_functions};

const SERVER: &str = "stdpkt run --left 10.0.0.2/24";

/// The number before a word of the line that tells what became of the packets.
fn count(said: &str, direction: &str, word: &str) -> u64 {
    let line = said.lines().find(|line| line.starts_with(&format!("stdpkt: {direction}: ")));
    let line = line.unwrap_or_else(|| panic!("{direction}: {said}"));
    let part = line.split([',', ':', '(']).find(|part| part.trim_end().ends_with(word));
    let number = part.and_then(|part| part.split_whitespace().next());
    number.unwrap_or_else(|| panic!("{word}: {line}")).parse().expect("a number")
}

#[test]
fn pings_take_at_least_the_delay_of_both_directions() {
    need_functions!("bash", "ping");
    for channel in ["shm", "fifo"] {
        let scene = scene();
        let run = bash(
            &scene,
            &format!(
                "stdpkt run --channel {channel} --right 10.0.0.1/24 -- ping -q -c4 -i0.05 -W9 10.0.0.2 \
                 | stdpkt wire --delay 30ms --delay right-to-left=20ms | {SERVER} --channel {channel}"
            ),
        );
        assert!(run.status == 0 && run.err.contains("4 received"), "{channel}: {run:#?}");
        let rtt = run.err.split("min/avg/max/mdev = ").nth(1).and_then(|it| it.split('/').next());
        let least: f64 = rtt.and_then(|it| it.parse().ok()).expect("a time");
        assert!(least >= 50.0, "{channel}: {run:#?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn one_direction_alone_is_bad() {
    need_functions!("bash", "ping", "ip");
    let scene = scene();
    let run = bash(
        &scene,
        &format!(
            "stdpkt run --right 10.0.0.1/24 -- ping -q -c3 -i0.05 -W1 10.0.0.2 \
             | stdpkt wire --loss right-to-left=100% | {SERVER} --setup 'ip neighbour add 10.0.0.1 \
               lladdr 02:72:0a:00:00:01 dev left'"
        ),
    );
    assert!(run.err.contains(" 0 received"), "{run:#?}");
    let lost = count(&run.err, "right to left", "lost");
    assert!(lost > 0 && lost == count(&run.err, "right to left", "packets"), "{run:#?}");
    assert!(!run.err.contains("left to right"), "{run:#?}");
}

#[test]
fn the_same_seed_is_the_same_fate() {
    need!("bash");
    let scene = scene();
    let fate = |seed: u32, into: &str, out: &str| {
        let bad = "--loss 20% --duplicate 20% --corrupt 20%";
        ok(
            &scene,
            &format!(
                "(for n in 1 2 3 4 5; do cat in.pcap; done) > many; {into} \
                 stdpkt wire {bad} --seed {seed} {out} | stdpkt dump --format hex | cut -d' ' -f2-"
            ),
        )
    };
    let first = fate(7, "stdpkt feed many |", "");
    assert!(first.lines().count() > 30 && first != fate(8, "stdpkt feed many |", ""), "{first}");
    for (into, out) in [("stdpkt feed many |", ""), ("cat many |", "| cat")] {
        assert!(fate(7, into, out) == first, "{into} {out}");
    }
}

#[test]
fn large_frames_are_cut_before_anything_happens() {
    need_functions!("bash");
    let scene = scene();
    let run = bash(
        &scene,
        &format!(
            "stdpkt run --right 10.0.0.1/24 -- stdpkt perf client 10.0.0.2 --seconds 0.5 \
             | stdpkt wire --loss 0.5% --duplicate 0.5% --delay 1ms --seed 1 \
             | {SERVER} -- stdpkt perf server"
        ),
    );
    let bytes = run.err.split("stream: ").nth(1).and_then(|it| it.split(' ').next());
    let bytes: u64 = bytes.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{run:#?}"));
    // As many as there are without jumbo frames.
    assert!(count(&run.err, "left to right", "packets") >= bytes / 1460, "{run:#?}");
    scene.assert_nothing_left();
}

#[test]
fn what_is_on_its_way_at_the_end_arrives() {
    need!("bash", "tcpdump", "libpcap");
    let scene = scene();
    for chain in [
        "stdpkt feed in.pcap | stdpkt wire --delay 300ms | stdpkt dump --format hex",
        "cat in.pcap | stdpkt wire --delay 300ms | tcpdump -nr - 2>/dev/null",
        "stdpkt wire --delay 300ms < in.pcap | stdpkt filter '' | stdpkt dump --format hex",
    ] {
        assert_eq!(ok(&scene, chain).lines().count(), 12, "{chain}");
    }
}

#[test]
fn a_full_line_drops_and_tells() {
    need!("bash");
    let scene = scene();
    let run = bash(
        &scene,
        "stdpkt feed in.pcap | stdpkt wire --delay 500ms --limit 5 | stdpkt dump --format hex",
    );
    assert_eq!((run.status, run.out.lines().count()), (0, 5), "{run:#?}");
    assert!(run.err.contains("left to right: 12 packets, 7 dropped by --limit (seed "), "{run:#?}");
}

#[test]
fn a_slow_reader_holds_up_what_is_not_delayed() {
    need!("bash", "seq");
    let scene = scene();
    // More than a ring holds.
    ok(&scene, "cp in.pcap many; for n in $(seq 12); do cat many many > x; mv x many; done");
    for bad in ["--corrupt 1%", "--duplicate 1% --rate 10gbit"] {
        let run = bash(
            &scene,
            &format!(
                "stdpkt feed many | stdpkt wire {bad} --seed 7 --limit 1000 \
                 | (sleep 1; exec stdpkt dump) | (sleep 1; exec cat) | wc -c"
            ),
        );
        assert!(run.status == 0 && !run.err.contains("--limit"), "{bad}: {run:#?}");
        assert!(run.out.trim().parse::<u64>().is_ok_and(|bytes| bytes > 49_152 * 98), "{run:#?}");
    }
}

#[test]
fn a_wire_without_faults_is_a_cable() {
    need_functions!("bash", "ping");
    let scene = scene();
    let run = bash(
        &scene,
        &format!(
            "stdpkt run --right 10.0.0.1/24 -- ping -q -c3 -i0.05 10.0.0.2 | stdpkt wire | {SERVER}"
        ),
    );
    assert!(run.status == 0 && run.err.contains("3 received"), "{run:#?}");
    assert!(!run.err.contains("stdpkt"), "nothing to say: {run:#?}");
    scene.assert_nothing_left();
}

#[test]
fn a_signal_ends_it_and_what_has_not_arrived_is_told() {
    need!("bash", "timeout");
    let scene = scene();
    let run = bash(
        &scene,
        "timeout -s TERM 1 stdpkt wire --delay 1000s < in.pcap | stdpkt dump --format hex",
    );
    assert_eq!(run.out, "", "{run:#?}");
    assert!(
        run.err.contains("left to right: 12 packets, 12 still on their way (seed "),
        "{run:#?}"
    );
    scene.assert_nothing_left();
}

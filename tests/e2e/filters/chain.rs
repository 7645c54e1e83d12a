//! On a live chain of functions.

use super::{bash, ok, scene};
use crate::support::need::{need, need_functions};

const CLIENT: &str = "stdpkt run --right 10.0.0.1/24 -- ping -q -c10 -i0.02 10.0.0.2";
const SERVER: &str = "stdpkt run --left 10.0.0.2/24";

#[test]
fn tee_copies_both_directions() {
    need_functions!("bash", "ping", "tcpdump");
    let scene = scene();
    let out = ok(&scene, &format!("{CLIENT} | stdpkt tee x.pcap y.pcap | {SERVER}"));
    assert_eq!(out, "", "what CMD says does not go into the link");
    for file in ["x.pcap", "y.pcap"] {
        let seen = ok(&scene, &format!("tcpdump -nr {file} icmp 2>/dev/null"));
        assert_eq!(seen.lines().count(), 20, "{seen}");
    }
    ok(&scene, &format!("{CLIENT} | stdpkt tee -a x.pcap | {SERVER}"));
    assert_eq!(ok(&scene, "tcpdump -nr x.pcap icmp 2>/dev/null").lines().count(), 40);
}

#[test]
fn a_fifo_is_a_mirror_for_whoever_reads_it() {
    need_functions!("bash", "ping", "tcpdump");
    let scene = scene();
    for reader in ["tcpdump -nr mirror icmp", "stdpkt dump < mirror | tcpdump -nr - icmp"] {
        let out = ok(
            &scene,
            &format!(
                "rm -f mirror; mkfifo mirror
             ({reader} > seen 2>/dev/null) & reader=$!
             {CLIENT} | stdpkt tee mirror | {SERVER}
             wait $reader; cat seen"
            ),
        );
        assert_eq!(out.lines().count(), 20, "{reader}: {out}");
    }
}

#[test]
fn tcpdump_reads_a_link() {
    need_functions!("bash", "ping", "tcpdump");
    let scene = scene();
    let run = bash(
        &scene,
        "stdpkt run --right 10.0.0.1/24 -- ping -c2 -W1 10.0.0.2 2>/dev/null \
         | tcpdump -nr - 2>/dev/null",
    );
    assert!(run.out.contains("ARP, Request who-has 10.0.0.2"), "{} {}", run.out, run.err);
    // A reader that has had enough ends the chain without a word.
    let run = bash(
        &scene,
        "stdpkt run --right 10.0.0.1/24 -- ping -c9 -W1 10.0.0.2 2>/dev/null \
         | tcpdump -c1 -nr - 2>/dev/null",
    );
    assert!(!run.err.contains("stdpkt:"), "{}", run.err);
}

/// ksh93 makes its pipes of Unix sockets.
#[test]
fn a_pipe_that_is_a_socket_carries_captures_too() {
    need_functions!("ksh93", "ping", "tcpdump", "cat");
    let scene = scene();
    let ksh = |script: &str| scene.start_in(&["ksh93", "-o", "pipefail"], script).end();
    let run = ksh(
        "stdpkt run --right 10.0.0.1/24 -- ping -c2 -i0.1 -W1 10.0.0.2 2> said | tcpdump -nr - 2> said2",
    );
    assert!(run.out.contains("ARP, Request who-has 10.0.0.2"), "{run:#?}");
    let want = ok(&scene, "tcpdump -ntr in.pcap 2>/dev/null");
    for into in
        ["cat in.pcap", "stdpkt feed in.pcap | cat", "(sleep 0.3; stdpkt feed in.pcap) | cat"]
    {
        let run = ksh(&format!("{into} | stdpkt dump | tcpdump -ntr - 2> said"));
        assert_eq!(run.out, want, "{into}: {run:#?}");
    }
    // One after the other through the same pipe, the second at first by itself.
    let run = ksh("(cat in.pcap; stdpkt feed in.pcap) | stdpkt dump | tcpdump -ntr - 2> said");
    assert_eq!(run.out, want.repeat(2), "{run:#?}");
    let run = ksh("stdpkt feed in.pcap | tcpdump -c1 -ntr - 2> said");
    assert_eq!(run.out.lines().count(), 1, "{run:#?}");
    assert!(!run.err.contains("stdpkt"), "{run:#?}");
    scene.assert_nothing_left();
}

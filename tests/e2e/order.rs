//! Either function may be first, by seconds.

use crate::support::chains::three;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

fn assert_pings(script: &str) {
    let scene = Scene::new();
    let outcome = scene.sh(script);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    scene.assert_nothing_left();
}

const FIRST: &str = "stdpkt run --right 10.0.0.1/24";
const SECOND: &str = "stdpkt run --left 10.0.0.2/24 -- ping -q -c1 -W5 10.0.0.1";

#[test]
fn the_writer_may_be_seconds_late() {
    need_functions!("ping");
    assert_pings(&format!("(sleep 2; {FIRST}) | {SECOND}"));
}

#[test]
fn the_reader_may_be_seconds_late() {
    need_functions!("ping");
    assert_pings(&format!("{FIRST} | (sleep 2; {SECOND})"));
}

#[test]
fn the_middle_may_be_seconds_late() {
    need_functions!("bash", "ping");
    let chain = three("-- ping -q -c1 -W5 10.0.2.1", "MIDDLE", "");
    let parts: Vec<&str> = chain.split('|').collect();
    let middle = parts[1].replace("MIDDLE", "");
    let scene = Scene::new();
    let (statuses, outcome) =
        scene.pipeline(&format!("{} | (sleep 2; {middle}) | {}", parts[0], parts[2]));
    assert_eq!(statuses, [0, 0, 0], "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn what_was_sent_before_the_last_came_waits_for_it() {
    need_functions!("bash", "tcpdump", "ip");
    let scene = Scene::new();
    let send = "-- bash -c 'for n in 1 2 3; do echo >/dev/udp/10.0.1.2/9; done; touch sent'";
    for cmd in ["", "-- sleep 0.2"] {
        // The sender has ended by then; a shell may still become anything.
        let late = "(rm -f sent; until [ -e sent ]; do :; done; for n in {1..200000}; do :; done; \
                     exec stdpkt dump -w got)";
        let (statuses, outcome) = scene.pipeline(&format!(
            "stdpkt run --right 10.0.0.1/24 --gateway 10.0.0.2 {send} \
             | stdpkt run --left 10.0.0.2/24 --right 10.0.1.1/24 --forward \
               --setup 'ip neighbour add 10.0.1.2 lladdr 02:00:00:00:00:09 dev right' {cmd} | {late}"
        ));
        let seen = scene.sh("tcpdump -nr got udp port 9 2>/dev/null | wc -l");
        assert_eq!(seen.out.trim(), "3", "{cmd} {statuses:?} {outcome:?}");
        assert_eq!((statuses[0], statuses[2]), (0, 0), "{cmd} {outcome:?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn after_some_seconds_a_lone_function_says_whom_it_waits_for() {
    need_functions!("ping", "root");
    let scene = Scene::new();
    let outcome = scene.sh(&format!("(sleep 5; {FIRST}) | {SECOND}"));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let line = outcome.err.trim_end();
    let said = "stdpkt: left: waiting for another stdpkt on standard input; so far `sleep` (pid ";
    assert!(line.starts_with(said) && line.lines().count() == 1, "{line}");
    scene.assert_nothing_left();
}

#[test]
fn fifos_may_be_joined_in_either_order() {
    need_functions!("ping", "mkfifo");
    let late = "stdpkt run --link x,at=f,ip=10.0.0.1/24";
    let cmd = "--link x,at=f,ip=10.0.0.2/24 -- ping -q -c1 -W5 10.0.0.1";
    for (one, other) in [("", "sleep 2; "), ("sleep 2; ", "")] {
        assert_pings(&format!(
            "mkfifo f; ({one}exec {late} -- sleep 1000) & {other}stdpkt run {cmd}; \
             status=$?; kill $!; wait; exit $status"
        ));
    }
}

//! `{ a; b; } | c` and `a | { b; c; }`: one end of a pipe has several functions,
//! one after the other, and the shell holds it all the time.

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

const SHELLS: [&[&str]; 7] =
    [&["bash"], &["dash"], &["zsh"], &["ksh93"], &["mksh"], &["fish"], &["busybox", "sh"]];

/// Commands one after the other, as one part of a pipeline.
fn group(shell: &[&str], commands: &[String]) -> String {
    let commands = commands.join("; ");
    if shell == ["fish"] { format!("begin; {commands}; end") } else { format!("{{ {commands}; }}") }
}

/// ksh93 makes its pipes of Unix sockets, which carry no frames.
fn channels(shell: &[&str]) -> &'static [&'static str] {
    if shell == ["ksh93"] { &[""] } else { &["", "--channel fifo"] }
}

fn pings(scene: &Scene, shell: &[&str], script: &str, count: usize) {
    let outcome = scene.start_in(shell, script).end();
    let said = format!("{}{}", outcome.out, outcome.err);
    assert_eq!(said.matches(" 1 received").count(), count, "{shell:?}: {outcome:?}");
    assert!(!said.contains("stdpkt:"), "{shell:?}: {outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_reader_waits_for_the_next_writer() {
    need_functions!("ping", "bash", "dash", "zsh", "ksh93", "mksh", "fish", "busybox");
    let scene = Scene::new();
    for shell in SHELLS {
        for options in channels(shell) {
            let one = |n: u32| {
                format!("stdpkt run {options} --right 10.0.0.{n}/24 -- ping -q -c1 -W5 10.0.0.9")
            };
            let writers = group(shell, &[one(1), one(2), one(3)]);
            pings(&scene, shell, &format!("{writers} | stdpkt run --left 10.0.0.9/24"), 3);
        }
    }
}

#[test]
fn a_writer_waits_for_the_next_reader() {
    need_functions!("ping", "bash", "dash", "zsh", "ksh93", "mksh", "fish", "busybox");
    let scene = Scene::new();
    for shell in SHELLS {
        for options in channels(shell) {
            let one = |n: u32| {
                format!("stdpkt run {options} --left 10.0.0.{n}/24 -- ping -q -c1 -W5 10.0.0.9")
            };
            let readers = group(shell, &[one(1), one(2), one(3)]);
            pings(&scene, shell, &format!("stdpkt run --right 10.0.0.9/24 | {readers}"), 3);
        }
    }
}

#[test]
fn functions_in_the_middle_wait_too() {
    need_functions!("bash", "ping", "libpcap");
    let scene = Scene::new();
    let one = |n: u32| format!("stdpkt run --right 10.0.0.{n}/24 -- ping -q -c1 -W5 10.0.0.9");
    let writers = group(&["bash"], &[one(1), one(2)]);
    for middle in ["stdpkt tee x.pcap", "stdpkt filter 'icmp or arp'"] {
        let script = format!("{writers} | {middle} | stdpkt run --left 10.0.0.9/24");
        pings(&scene, &["bash"], &script, 2);
    }
}

#[test]
fn a_writer_that_was_killed_has_a_successor() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let script = "{ stdpkt run --right 10.0.0.1/24 -- sh -c 'touch up; exec sleep 1000'; \
                    stdpkt run --right 10.0.0.3/24 -- ping -q -c1 -W5 10.0.0.2; } \
                  | stdpkt run --left 10.0.0.2/24";
    let play = scene.start_in(&["bash"], script);
    scene.wait_for_file("up");
    scene.signal(&scene.function("10.0.0.1/24"), Signal::KILL);
    let outcome = play.end();
    assert!(outcome.err.contains(" 1 received"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_cmd_lives_as_long_as_somebody_may_come() {
    need_functions!("bash");
    let scene = Scene::new();
    let (statuses, outcome) = scene.pipeline(
        "{ stdpkt run --right 10.0.0.1/24 -- true; touch ended; until [ -e alive ]; do sleep 0.02; done; } \
         | stdpkt run --left 10.0.0.2/24 -- sh -c 'until [ -e ended ]; do sleep 0.02; done; \
             sleep 0.6; touch alive; exec sleep 1000'",
    );
    assert_eq!(statuses, [0, 143], "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_capture_may_come_after_a_function() {
    need_functions!("bash", "ping", "tcpdump");
    let scene = Scene::new();
    let outcome = scene.sh(
        "stdpkt run --right 10.0.0.1/24 -- ping -q -c1 -W1 10.0.0.2 | stdpkt dump -w first
         { stdpkt run --right 10.0.0.1/24 -- ping -q -c1 -W1 10.0.0.2; cat first; } \
         | stdpkt dump -w both
         for file in first both; do tcpdump -nr $file arp 2>/dev/null | wc -l; done",
    );
    let counts: Vec<u32> =
        outcome.out.lines().filter_map(|line| line.trim().parse().ok()).collect();
    assert!(counts.len() == 2 && counts[0] > 0 && counts[1] > counts[0], "{outcome:?}");
    assert!(!outcome.err.contains("stdpkt:"), "{outcome:?}");
    scene.assert_nothing_left();
}

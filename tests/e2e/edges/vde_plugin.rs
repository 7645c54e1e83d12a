//! libvdeplug_stdpkt.so in the programs that load it.

use super::{assert_pinged, said};
use crate::examples::{EDGES, blocks_of};
use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

/// Where cargo put the library, and where the stock plugins are.
pub(super) fn with_plugin(script: &str) -> String {
    let built = std::env::current_exe().expect("/proc/self/exe");
    let dir = built.parent().expect("a file is in a directory").display();
    format!("export VDEPLUGIN_PATH={dir}:$(echo /usr/lib/*/vdeplug)\n{script}")
}

/// All lines of docs/edges.md about it.
fn lines() -> Vec<&'static str> {
    let lines = blocks_of(EDGES, "VDE's programs join a link", "sh");
    assert_eq!(lines.len(), 2, "a line more or less: give it a test");
    lines
}

#[test]
fn vdens_is_the_neighbour_of_a_function() {
    need_functions!("ip", "mkfifo", "ping", "vdens");
    let scene = Scene::new();
    let outcome = scene.sh(&with_plugin(&format!("{}\nkill $!; wait", lines()[0])));
    assert!(said(&outcome).contains("3 received, 0% packet loss"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_chain_ends_in_a_switch() {
    need_functions!("ip", "mkfifo", "ping", "vde_plug", "vde_switch", "vdens");
    let scene = Scene::new();
    let outcome = scene.sh(&with_plugin(&format!(
        "vde_switch -d -s sw -p pid
         until [ -S sw/ctl ]; do sleep 0.05; done
         vdens vde://$PWD/sw sh -c 'ip address add 10.0.0.2/24 dev vde0; ip link set vde0 up; echo $$ >far; exec sleep 1000' &
         until [ -s far ]; do sleep 0.05; done
         {}; kill $(cat pid far); wait",
        lines()[1].trim_end().replace("ping -c3", "ping -c3 -W9")
    )));
    assert!(said(&outcome).contains(" received, 0% packet loss"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn one_process_has_two_and_each_gets_new_neighbours() {
    need_functions!("mkfifo", "ping", "vde_plug");
    let scene = Scene::new();
    let outcome = scene.sh(&with_plugin(
        "mkfifo a b
         stdpkt run --link e,at=a,ip=10.0.0.2/24 -- sleep 1000 & far=$!
         vde_plug stdpkt://a stdpkt://b & plug=$!
         for round in 1 2 3; do
             stdpkt run --link e,at=b,ip=10.0.0.1/24 -- ping -q -c2 -i0.05 -W5 10.0.0.2 || exit
         done
         kill $plug $far; wait",
    ));
    assert_eq!(said(&outcome).matches(" 0% packet loss").count(), 3, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn it_ends_with_the_pipe_and_so_does_the_pipe_with_it() {
    need_functions!("ip", "ping", "vdens");
    const INSIDE: &str = "ip address add 10.0.0.2/24 dev vde0; ip link set vde0 up";
    let scene = Scene::new();
    // Its CMD would go on for ever.
    let outcome = scene.sh(&with_plugin(&format!(
        "stdpkt run --right 10.0.0.1/24 -- ping -q -c2 -i0.05 -W5 10.0.0.2 \
         | vdens stdpkt:// sh -c '{INSIDE}; exec <&- sleep 3'"
    )));
    assert_pinged(&outcome);
    scene.assert_nothing_left();
    let outcome = scene.sh(&with_plugin(&format!(
        "vdens stdpkt:// sh -c '{INSIDE}; ping -q -c2 -i0.05 -W5 10.0.0.1 >&2' \
         | stdpkt run --left 10.0.0.1/24"
    )));
    assert_pinged(&outcome);
    scene.assert_nothing_left();
}

/// What of tests/e2e/edges/plugged.py comes to its end without complaint.
fn plugged(what: &str) {
    need!("mkfifo", "python3", "vde_plug");
    let scene = Scene::new();
    std::fs::write(scene.path("plugged.py"), include_str!("plugged.py")).expect("scene");
    let outcome = scene.sh(&with_plugin(&format!("mkfifo fifo; python3 plugged.py {what}")));
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn it_is_opened_and_closed_again_and_again() {
    plugged("again");
}

#[test]
fn a_fork_that_closes_it_takes_nothing_away() {
    plugged("child_closes");
}

#[test]
fn a_fork_goes_on_where_its_parent_has_ended() {
    plugged("child_goes_on");
}

#[test]
fn mistakes_are_one_line() {
    need!("vde_plug");
    let refused = |line: &str| -> Outcome {
        let scene = Scene::new();
        scene.sh(&with_plugin(line))
    };
    for (line, said) in [
        (
            "vde_plug stdpkt://fifo",
            "stdpkt://fifo: fifo: open: No such file or directory (os error 2): make it with mkfifo",
        ),
        (
            "vde_plug stdpkt:///",
            "stdpkt:///: / is a directory, not a pipe, FIFO or Unix socket: make one with mkfifo and name that",
        ),
        (
            "vde_plug stdpkt://",
            "neither standard input nor standard output is a pipe: name a FIFO, as in stdpkt:///tmp/fifo",
        ),
        (
            "true | vde_plug stdpkt:// | cat",
            "both standard input and standard output are pipes: write stdpkt:///dev/stdin or stdpkt:///dev/stdout",
        ),
    ] {
        let outcome = refused(line);
        let lines: Vec<_> =
            outcome.err.lines().filter(|line| line.starts_with("stdpkt: ")).collect();
        assert!(lines.len() == 1 && lines[0].ends_with(said), "{line}: {outcome:?}");
        assert!(outcome.err.contains("vde_open"), "{line}: {outcome:?}");
    }
}

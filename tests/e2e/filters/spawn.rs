//! `stdpkt balance --spawn`: functions that come and go with flows and users.

use super::scene;
use crate::on_demand::SLOW_SERVER;
use crate::support::need::{need, need_functions};
use crate::support::{SOON, wait_until};

const CLIENT: &str = "--right 10.0.0.1/24 --right 10.0.0.3/24 --right 10.0.0.4/24";
const CMD: &str = "echo >> started; exec stdpkt run --name spawned --left 10.0.0.2/24";

#[test]
fn each_user_has_a_function_which_ends_when_it_is_idle() {
    need_functions!("bash", "ping");
    let scene = scene();
    let lb = format!("lb-{}", std::process::id());
    let pings =
        "for from in 1 3 4 1; do ping -q -W5 -c2 -i0.2 -I 10.0.0.$from 10.0.0.2 || exit; done";
    let play = scene.start_in(
        &["bash"],
        &format!(
            "stdpkt run {CLIENT} -- sh -c '{pings}; touch first; until [ -e go ]; do sleep 0.05; done; {pings}' \
             | stdpkt balance --name {lb} --spawn '{CMD}' --by source --idle 2s
             echo ends ${{PIPESTATUS[@]}}"
        ),
    );
    scene.wait_for_file("first");
    let started =
        || std::fs::read_to_string(scene.path("started")).expect("started").lines().count();
    assert_eq!(started(), 3, "{}", scene.everything_said());
    let metrics = scene.sh("stdpkt metrics --once").out;
    assert!(metrics.contains(&format!("stdpkt_spawned_total{{function=\"{lb}\"}} 3")), "{metrics}");
    wait_until(SOON, || match scene.find_function("spawned") {
        None => Ok(()),
        Some(function) => Err(format!("{function:?}")),
    });
    let shown = scene.sh(&format!("stdpkt ls --chains {lb}")).out;
    assert!(shown.contains("functions: 0, started: 3, no room for: 0"), "{shown}");
    // Whoever takes its place goes on counting.
    let another = format!("stdpkt balance --name {lb} --spawn '{CMD}' --by source --idle 2s");
    wait_until(SOON, || match scene.sh(&format!("stdpkt swap {lb} -- {another}")) {
        it if it.status == 0 => Ok(()),
        // The last of its functions is not buried yet.
        it => Err(format!("{it:?}")),
    });
    let shown = scene.sh(&format!("stdpkt ls --chains {lb}")).out;
    assert!(shown.contains("functions: 0, started: 3, no room for: 0"), "{shown}");
    std::fs::write(scene.path("go"), "").expect("scene");
    let out = play.end();
    assert!(out.out.contains("ends 0 0"), "{out:?}");
    assert_eq!(out.err.matches("2 received, 0% packet loss").count(), 8, "{out:?}");
    assert_eq!(started(), 6, "{out:?}");
    scene.assert_nothing_left();
}

/// Its first packet waits until its function listens.
#[test]
fn each_connection_has_a_function_which_takes_it() {
    need_functions!("bash", "socat");
    let scene = scene();
    std::fs::write(scene.path("server"), SLOW_SERVER).expect("scene");
    let (statuses, out) = scene.pipeline(
        "stdpkt run --right 10.0.0.1/24 -- sh -c '
             for i in 1 2 3; do echo hello $i | socat -t9 - TCP:10.0.0.2:7 >> said || exit; done' \
         | stdpkt balance --spawn \
             'echo >> started; exec stdpkt run --left 10.0.0.2/24 -- sh server'",
    );
    assert_eq!(statuses, [0, 0], "{out:?}");
    let read = |name| std::fs::read_to_string(scene.path(name)).unwrap_or_default();
    assert_eq!(read("said"), "hello 1\nhello 2\nhello 3\n", "{out:?}");
    assert!(read("started").lines().count() <= 4, "{out:?}");
    scene.assert_nothing_left();
}

#[test]
fn there_are_no_more_than_was_said_and_one_that_ends_at_once_is_not_started_over_and_over() {
    need_functions!("bash", "ping");
    let scene = scene();
    let (statuses, out) = scene.pipeline(&format!(
        "stdpkt run {CLIENT} -- sh -c 'ping -q -W5 -c2 -i0.2 -I 10.0.0.1 10.0.0.2 || exit 9
             ! ping -q -W1 -c2 -i0.2 -I 10.0.0.3 10.0.0.2' \
         | stdpkt balance --spawn '{CMD}' --by source --most 1"
    ));
    assert_eq!(statuses, [0, 0], "{out:?}");
    assert!(out.err.contains("frames found no function that takes them"), "{out:?}");
    let (statuses, out) = scene.pipeline(
        "stdpkt run --right 10.0.0.1/24 -- sh -c '! ping -q -W1 -c20 -i0.1 10.0.0.2' \
         | stdpkt balance --spawn 'echo >> tried; exit 3'",
    );
    assert_eq!(statuses, [0, 0], "{out:?}");
    let tried = std::fs::read_to_string(scene.path("tried")).expect("tried").lines().count();
    assert!((1..20).contains(&tried), "{tried}: {out:?}");
    assert!(out.err.contains("it ended without a link"), "{out:?}");
    for (options, part) in [
        ("--by source f", "--by source: is for --spawn"),
        ("--spawn true f", "--spawn"),
        ("--idle 3s f", "--spawn"),
    ] {
        let out = scene.sh(&format!("stdpkt balance {options} < /dev/null"));
        assert_eq!(out.status, 125, "{out:?}");
        assert!(out.only_line().contains(part), "{options}: {out:?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn a_balancer_is_not_swapped_while_its_functions_run() {
    need_functions!("bash", "ping");
    let scene = scene();
    let lb = format!("lbs-{}", std::process::id());
    let play = scene.start_in(
        &["bash"],
        &format!(
            "stdpkt run {CLIENT} -- sh -c 'ping -q -W5 -c1 10.0.0.2 || exit; touch first; sleep 60' \
             | stdpkt balance --name {lb} --spawn '{CMD}'"
        ),
    );
    scene.wait_for_file("first");
    let refused = scene.sh(&format!("stdpkt swap {lb} -- stdpkt balance --spawn '{CMD}'"));
    assert_eq!(refused.status, 125, "{refused:?}");
    assert!(refused.only_line().contains("swap it when none of them runs"), "{refused:?}");
    play.end_all();
}

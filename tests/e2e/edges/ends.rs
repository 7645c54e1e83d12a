//! The two ends of a pipeline may be pipes, too: in `$(...)`, before `tee log`, in CI.

use super::{PING, assert_pinged, said};
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

const OTHER: &str = "stdpkt join frames -- stdpkt run";

/// Whoever reads what a chain says is no function, whenever the functions start.
#[test]
fn what_a_chain_writes_may_be_read() {
    need_functions!("bash", "ping", "tee");
    let chain = format!(
        "stdpkt run --right 10.0.0.1/24 -- {PING} | {OTHER} --left 10.0.0.2/24,at=frames:stdio"
    );
    for (shell, line) in [
        ("bash", format!("{chain} | tee log")),
        ("sh", format!("words=$({chain})")),
        ("sh", format!("{{ {chain}; }} | cat")),
        ("bash", format!("(sleep 0.5; exec {chain}) | while read -r word; do :; done")),
        ("bash", format!("sh -c 'sleep 0.3; {}", chain.replace(" |", "' |")) + " | tee log"),
    ] {
        let scene = Scene::new();
        let outcome = scene.start_in(&[shell], &line).end();
        // On a busy machine the other function may be told to end, which is another status.
        assert!(said(&outcome).contains(" 0% packet loss"), "{line}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

/// Nor is who writes what a script reads, and does not.
#[test]
fn what_a_chain_is_given_to_read_may_be_written() {
    need_functions!("bash", "ping");
    let chain = format!(
        "{OTHER} --right 10.0.0.2/24,at=frames:stdio | stdpkt run --left 10.0.0.1/24 -- {PING}"
    );
    for (shell, line) in [
        ("bash", format!("sleep 3 | (sleep 0.2; {chain})")),
        (
            "sh",
            format!(
                "mkfifo f; sleep 1000 >f & (exec <f; {chain}); status=$?; kill $!; exit $status"
            ),
        ),
        ("sh", format!("echo one | (while read -r word; do {chain} | cat; done)")),
    ] {
        let scene = Scene::new();
        let outcome = scene.start_in(&[shell], &line).end();
        assert!(said(&outcome).contains(" 0% packet loss"), "{line}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

/// In the middle it could be joined to either; what the line says helps.
#[test]
fn between_two_functions_the_side_has_to_be_said() {
    need_functions!("ping");
    let scene = Scene::new();
    let chain = |join: &str| {
        format!(
            "stdpkt run --right 10.0.0.1/24 2>err | {join} | stdpkt run --left 10.0.0.1/24 -- {PING}"
        )
    };
    let outcome = scene.sh(&chain("stdpkt join qemu:unix:s"));
    let told = outcome.err.lines().find(|line| line.contains("--right qemu:unix:s"));
    assert!(told.is_some_and(|line| line.contains("say --left qemu:unix:s or")), "{outcome:?}");
    assert!(!scene.path("s").exists(), "{outcome:?}");
    let outcome = scene.sh(&format!(
        "stdpkt run --left 10.0.0.2/24,at=qemu:unix:s & other=$!
         until [ -S s ]; do sleep 0.05; done
         {}; status=$?; kill $other; wait; exit $status",
        chain("stdpkt join --right qemu:unix:s")
    ));
    assert_pinged(&outcome);
    scene.assert_nothing_left();
}

/// Nor is what it says the link's where that goes the same way, as after `2>&1 |`.
#[test]
fn what_the_end_of_a_chain_says_may_be_read() {
    need_functions!("bash");
    for (end, line) in [
        ("stdpkt join frames -- sh -c 'echo its own word >&2; exit 3'", "its own word\n"),
        ("stdpkt join frames -- sh -c 'exit 3'", "sh ended with status 3"),
        ("stdpkt join frames", "CMD is missing"),
        ("stdpkt join qemu:unix:/nowhere/s", "the directory is not there"),
        ("PATH=$PWD/bin stdpkt uplink --by passt", "passt is not here"),
    ] {
        let scene = Scene::new();
        let chain = format!("stdpkt run --right 10.0.0.1/24 2>err | {end} 2>&1 | cat");
        let outcome = scene.start_in(&["bash"], &chain).end();
        assert!(outcome.out.contains(line), "{end}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

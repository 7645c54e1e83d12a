//! Links that are less than their user expects, and links that do not come: who
//! is there, on one line.

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

const CLIENT: &str = "stdpkt run --right 10.0.0.1/24 -- ping -q -c4 -i1.2 -W1 10.0.0.2";
const SERVER: &str = "stdpkt run --left 10.0.0.2/24";

/// The one line of stdpkt that begins so.
#[track_caller]
fn line<'a>(outcome: &'a Outcome, beginning: &str) -> &'a str {
    let own = |line: &&str| line.starts_with(&format!("stdpkt: {beginning}"));
    let lines: Vec<_> = outcome.err.lines().filter(own).collect();
    assert_eq!(lines.len(), 1, "{outcome:#?}");
    lines[0]
}

#[track_caller]
fn assert_both_ends_name(scene: &Scene, chain: &str, program: &str) {
    let outcome = scene.sh(chain);
    assert!(outcome.err.contains("0 received"), "{outcome:#?}");
    let out = line(&outcome, "right: ");
    let who = format!("right: frames go out only: `{program}` (pid ");
    assert!(out.contains(&who) && out.contains(") reads standard output; "), "{out}");
    assert!(out.contains("--link right,at=FIFO:/dev/stdout,ip=CIDR"), "{out}");
    let back = line(&outcome, "left: ");
    let who = format!("left: frames come in only: `{program}` (pid ");
    assert!(back.contains(&who) && back.contains(") writes standard input; "), "{back}");
    assert!(back.contains("--link left,at=/dev/stdin:FIFO,ip=CIDR"), "{back}");
    scene.assert_nothing_left();
}

#[test]
fn a_program_between_two_functions_is_named_by_both() {
    need_functions!("ping", "cat", "tee", "root");
    let scene = Scene::new();
    assert_both_ends_name(&scene, &format!("{CLIENT} | cat | {SERVER}"), "cat");
    assert_both_ends_name(&scene, &format!("{CLIENT} | tee x | {SERVER}"), "tee");
}

#[test]
fn what_the_line_advises_makes_the_link_whole() {
    need_functions!("ping", "cat", "mkfifo");
    let scene = Scene::new();
    let client = CLIENT.replace("--right ", "--link right,at=back:/dev/stdout,ip=");
    let server = SERVER.replace("--left ", "--link left,at=/dev/stdin:back,ip=");
    let outcome = scene.sh(&format!("mkfifo back; {client} | cat | {server}"));
    assert!(outcome.err.contains("4 received"), "{outcome:#?}");
    assert!(!outcome.err.contains("stdpkt: "), "{outcome:#?}");
    scene.assert_nothing_left();
}

#[test]
fn a_shell_that_copies_the_link_is_named() {
    need_functions!("zsh", "ping", "mkfifo");
    let scene = Scene::new();
    let outcome = scene
        .start_in(
            &["zsh"],
            "mkfifo f1 f2; cat f1 > /dev/null & cat f2 > /dev/null &
             stdpkt run --right 10.0.0.1/24 -- ping -q -c4 -W1 10.0.0.2 > f1 > f2; wait",
        )
        .end();
    let out = line(&outcome, "right: ");
    assert!(out.contains("frames go out only: `zsh` (pid "), "{out}");
    scene.assert_nothing_left();
}

#[test]
fn a_filter_at_the_end_of_a_function_says_so_too() {
    need_functions!("ping", "cat", "libpcap");
    let scene = Scene::new();
    let outcome = scene.sh(&format!("{CLIENT} | stdpkt filter ip | cat > /dev/null"));
    line(&outcome, "right: frames go out only: `cat` (pid ");
    scene.assert_nothing_left();
}

#[test]
fn every_command_says_whom_it_waits_for() {
    need!("mkfifo", "libpcap");
    let scene = Scene::new();
    let commands = [
        ("sleep 8 | stdpkt dump > d", "left", "standard input; so far `sleep` (pid "),
        ("sleep 8 | stdpkt tee x | cat > t", "left", "standard input; so far `sleep` (pid "),
        ("sleep 8 | stdpkt filter ip | cat > f", "left", "standard input; so far `sleep` (pid "),
        ("sleep 8 | stdpkt balance a b", "left", "standard input; so far `sleep` (pid "),
        ("sleep 8 | stdpkt balance c d", "balance", "c"),
    ];
    scene.sh("mkfifo a b c d");
    let plays: Vec<_> = commands.iter().map(|(command, ..)| scene.start_sh(command)).collect();
    for (play, (command, name, who)) in plays.into_iter().zip(commands) {
        let outcome = play.end();
        let beginning = format!("stdpkt: {name}: waiting for another stdpkt on {who}");
        let said = outcome.err.lines().filter(|line| line.starts_with(&beginning)).count();
        assert_eq!(said, 1, "{command}: {outcome:#?}");
    }
    scene.assert_nothing_left();
}

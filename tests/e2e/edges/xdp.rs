//! Programs of eBPF on functions' interfaces, as docs/edges.md has them.

use crate::examples::{EDGES, blocks_of};
use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

const HEADING: &str = "XDP as a function's eyes";
/// What it says of three answers.
const SEEN: &str = "\"value\": 3";

/// Runs a script beside eyes.c, with mounts of its own.
fn beside_eyes(script: &str) -> Outcome {
    let scene = Scene::new();
    std::fs::write(scene.path("eyes.c"), blocks_of(EDGES, HEADING, "c")[0]).expect("scene");
    std::fs::write(scene.path("script"), script).expect("scene");
    let outcome = scene.sh("chmod 755 .; unshare -m sh script");
    scene.assert_nothing_left();
    outcome
}

fn lines() -> [&'static str; 2] {
    blocks_of(EDGES, HEADING, "sh").try_into().expect("a line more or less: give it a test")
}

#[test]
fn a_function_of_root_brings_its_program() {
    need_functions!("root", "bpftool", "clang", "ip", "ping", "unshare");
    let outcome = beside_eyes(lines()[0]);
    assert!(outcome.err.contains("3 received, 0% packet loss"), "{outcome:?}");
    assert!(outcome.err.contains(SEEN), "{outcome:?}");
}

#[test]
fn a_function_of_a_user_attaches_what_root_has_pinned() {
    need_functions!("root", "user namespaces", "bpftool", "clang", "ip", "ping", "setpriv");
    let [root, user] = lines();
    let clang = root.lines().next().expect("clang");
    let user = user.replace("sudo -u USER", "setpriv --reuid=65534 --regid=65534 --clear-groups");
    let outcome = beside_eyes(&format!("{clang}\n{user}"));
    assert!(outcome.err.contains("3 received, 0% packet loss"), "{outcome:?}");
    assert!(outcome.out.contains(SEEN), "{outcome:?}");
}

#[test]
fn where_loading_is_refused_the_other_way_is_named() {
    need_functions!("root", "user namespaces", "clang", "ip", "setpriv");
    let clang = lines()[0].lines().next().expect("clang");
    let outcome = beside_eyes(&format!(
        "{clang}
         exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c '
             stdpkt check
             stdpkt run --right 10.0.0.1/24 --setup \"ip link set dev right xdp obj eyes.o sec xdp\" | cat'"
    ));
    let way_out = "have root load it and pin it";
    let line = outcome.err.lines().find(|line| line.starts_with("stdpkt: setup command"));
    assert!(line.is_some_and(|line| line.contains(way_out)), "{outcome:?}");
    let row = outcome.out.lines().find(|line| line.contains("  XDP  "));
    assert!(row.is_some_and(|row| row.contains(way_out)), "{outcome:?}");
}

//! Neighbours that share a pipe and not much else: directories, namespaces, users.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene, stdpkt};

const CLIENT: &str = "stdpkt run --right 10.0.0.1/24 -- ping -q -c2 -i0.2 -W1 10.0.0.2";
const SERVER: &str = "stdpkt run --left 10.0.0.2/24";
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

#[track_caller]
fn assert_meet(scene: &Scene, chain: &str) {
    let outcome = scene.sh(chain);
    assert_eq!(outcome.status, 0, "{outcome:#?}");
    assert!(outcome.err.contains("2 received"), "{outcome:#?}");
    assert!(!outcome.err.contains("stdpkt: "), "{outcome:#?}");
    scene.assert_nothing_left();
}

/// What stdpkt said, which is to be one line.
#[track_caller]
fn line(outcome: &Outcome) -> &str {
    let lines: Vec<_> = outcome.err.lines().filter(|line| line.starts_with("stdpkt: ")).collect();
    assert_eq!(lines.len(), 1, "{outcome:#?}");
    lines[0]
}

#[test]
fn a_shared_directory_is_not_needed() {
    need_functions!("root", "ping", "unshare");
    let scene = Scene::new();
    // As in a container or bwrap with a /tmp and a /run of its own.
    let own = format!(
        "mount -t tmpfs none /run && cp $(command -v stdpkt) /run && \
         mount -t tmpfs none /tmp && touch ready && exec /run/{SERVER}"
    );
    fs::write(scene.path("own"), own).expect("scene");
    let client = format!("(while [ ! -e ready ]; do sleep 0.01; done; exec {CLIENT})");
    assert_meet(&scene, &format!("{client} | unshare -m sh own"));
    assert_meet(&scene, &format!("{CLIENT} | SHMRING_RUNTIME_DIR=$PWD/other {SERVER}"));
}

#[test]
fn root_of_a_user_namespace_meets_root() {
    need_functions!("root", "user namespaces", "ping", "unshare");
    let scene = Scene::new();
    assert_meet(&scene, &format!("{CLIENT} | unshare -r {SERVER}"));
    assert_meet(&scene, &format!("unshare -r {CLIENT} | {SERVER}"));
    assert_meet(&scene, &format!("{CLIENT} | {SERVER}"));
}

#[test]
fn two_network_namespaces_meet_in_a_directory_or_say_so() {
    need_functions!("root", "ping", "unshare");
    let scene = Scene::new();
    assert_meet(&scene, &format!("{CLIENT} | unshare -n {SERVER}"));
    let dir = "mkdir -pm 700 elsewhere; export SHMRING_RUNTIME_DIR=$PWD/elsewhere";
    let outcome = scene.sh(&format!("{CLIENT} | ({dir}; exec unshare -n {SERVER})"));
    assert_eq!(outcome.status, 125, "{outcome:#?}");
    let said = line(&outcome);
    for word in ["`stdpkt` (pid ", "network namespace", "SHMRING_RUNTIME_DIR for both"] {
        assert!(said.contains(word), "{said}");
    }
    // What the line advises.
    assert_meet(&scene, &format!("{dir}; {CLIENT} | unshare -n {SERVER}"));
}

#[test]
fn another_user_is_named_by_whoever_sees_it() {
    need_functions!("root", "ping", "setpriv", "libpcap");
    let scene = Scene::new();
    // The build's directory may be closed to others.
    fs::remove_file(scene.path("bin/stdpkt")).expect("scene");
    fs::copy(stdpkt(), scene.path("bin/stdpkt")).expect("scene");
    fs::set_permissions(scene.path("."), Permissions::from_mode(0o755)).expect("scene");
    let chains = [
        format!("{CLIENT} | {NOBODY} stdpkt dump --format hex"),
        format!("sleep 2 | {NOBODY} stdpkt filter ip | {SERVER} -- sleep 9"),
    ];
    for chain in chains {
        let outcome = scene.sh(&chain);
        assert_eq!(outcome.status, 125, "{chain}: {outcome:#?}");
        // One of them or both; who ends first cannot leave a mark on the other user's pipe.
        let said: Vec<_> = outcome.err.lines().filter(|it| it.starts_with("stdpkt: ")).collect();
        let words = ["`stdpkt` (pid ", "user ", "joins processes of one user", "as the same user"];
        let is_right = |line: &&str| words.iter().all(|word| line.contains(word));
        let is_end = |line: &&str| line.ends_with(" ended before the link was up");
        assert!(said.iter().any(is_right), "{chain}: {outcome:#?}");
        assert!(said.iter().all(|line| is_right(line) || is_end(line)), "{chain}: {outcome:#?}");
        scene.assert_nothing_left();
    }
}

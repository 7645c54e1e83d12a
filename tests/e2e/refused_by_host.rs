//! Hosts on which functions cannot run: the way out is in the one line.

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

/// A first function on a host prepared by `prepare`, a script that is root in
/// namespaces of its own; `wrapper` is what starts the function.
fn first_on(prepare: &str, wrapper: &str) -> Outcome {
    let scene = Scene::new();
    let outcome = scene.sh(&format!(
        "(unshare -rm sh -c '{prepare} && exec {wrapper} stdpkt run --right 10.0.0.1/24 -- true'; \
         echo $? >status) | cat; exit $(cat status)"
    ));
    scene.assert_nothing_left();
    outcome
}

fn assert_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.status, 125, "{outcome:?}");
    let line = outcome.only_line();
    println!("{line}");
    for word in words {
        assert!(line.contains(word), "no `{word}` in: {line}");
    }
}

#[test]
fn without_a_tap_device_the_driver_is_named() {
    need_functions!("user namespaces", "unshare");
    let outcome = first_on("mount -t tmpfs none /dev/net", "");
    assert_refused(&outcome, &["/dev/net/tun", "missing", "modprobe tun"]);
}

#[test]
fn a_tap_device_that_is_another_device_is_named() {
    need_functions!("user namespaces", "unshare");
    let outcome = first_on("mount --bind /dev/null /dev/net/tun", "");
    assert_refused(&outcome, &["/dev/net/tun", "mknod"]);
}

/// No capability, whoever runs it.
const POWERLESS: &str = "setpriv --bounding-set=-all --inh-caps=-all --no-new-privs";

#[test]
fn where_user_namespaces_are_forbidden_the_setting_is_named() {
    need_functions!("user namespaces", "unshare", "setpriv");
    let outcome = first_on("echo 0 >/proc/sys/user/max_user_namespaces", POWERLESS);
    let remedy = "sysctl user.max_user_namespaces=";
    assert_refused(&outcome, &["user.max_user_namespaces=0", "run as root", remedy]);
}

#[test]
fn where_network_namespaces_are_used_up_the_setting_is_named() {
    need_functions!("user namespaces", "unshare");
    let outcome = first_on("echo 0 >/proc/sys/user/max_net_namespaces", "");
    assert_refused(&outcome, &["user.max_net_namespaces"]);
}

#[test]
fn a_runtime_directory_that_others_may_enter_is_refused() {
    need_functions!();
    let scene = Scene::new();
    let outcome = scene.sh("mkdir -m 755 open; export SHMRING_RUNTIME_DIR=$PWD/open; \
         (stdpkt run --right 10.0.0.1/24; echo $? >status) | cat; exit $(cat status)");
    assert_refused(&outcome, &["open", "chmod 700"]);
    scene.assert_nothing_left();
}

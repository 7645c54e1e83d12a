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
    assert_refused(&outcome, &["/dev/net/tun", "rm /dev/net/tun; mknod -m 666"]);
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
    assert_refused(&outcome, &["open", "SHMRING_RUNTIME_DIR", "new name"]);
    scene.assert_nothing_left();
}

/// Whoever follows the advice does no harm: nobody's file is to go, nobody's directory to
/// close. What is not ours is not to be changed either.
#[test]
fn a_runtime_directory_that_is_none_is_left_alone() {
    need_functions!();
    for named in ["/etc/passwd", "/tmp", "/nowhere/x", "/dev/null", "relative", "/proc"] {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "export SHMRING_RUNTIME_DIR={named}; \
             (stdpkt run --right 10.0.0.1/24; echo $? >status) | cat; exit $(cat status)"
        ));
        assert_refused(&outcome, &[named, "unset SHMRING_RUNTIME_DIR", "new name"]);
        let line = outcome.only_line();
        assert!(!line.contains("remove") && !line.contains("chmod"), "{line}");
    }
    // The advice, to the letter.
    let scene = Scene::new();
    let chain = "stdpkt run --right 10.0.0.1/24 -- true | stdpkt run --left 10.0.0.2/24";
    let outcome = scene.sh(&format!("export SHMRING_RUNTIME_DIR=$PWD/new; {chain}"));
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""));
}

#[test]
fn a_limit_of_open_files_is_named() {
    need_functions!("bash");
    for (limit, way_out) in
        [("-Sn 5", "`ulimit -n 64`"), ("-n 30", "have root raise the hard limit")]
    {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "(bash -c 'ulimit {limit}; stdpkt run --right 10.0.0.1/24'; echo $? >status) | cat; \
             exit $(cat status)"
        ));
        assert_refused(&outcome, &["open files", "ulimit -n", way_out]);
    }
}

#[test]
fn a_host_without_proc_is_told_so() {
    need_functions!("user namespaces", "unshare");
    let outcome = first_on("mount -t tmpfs none /proc", "");
    assert_refused(&outcome, &["no /proc", "mount -t proc proc /proc"]);
}

#[test]
fn a_device_without_a_driver_is_another_matter_than_no_more_descriptors() {
    need_functions!("root", "unshare");
    let scene = Scene::new();
    // A number for experiments, which no driver has.
    let outcome = scene
        .sh("(unshare -m sh -c 'mknod tun c 60 77 && mount --bind tun /dev/net/tun \
         && exec stdpkt run --right 10.0.0.1/24'; echo $? >status) | cat; exit $(cat status)");
    assert_refused(&outcome, &["/dev/net/tun has no driver", "modprobe tun"]);
}

//! What a function has for itself: namespaces by name, locks, the view of the
//! network, the machine's name. Nothing of it reaches the host.
//!
//! The host of these tests is a mount namespace with a `/run` and a name of its own,
//! so that the real one is as it is.

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

/// Makes the host.
const HOST: &str = "mount -t tmpfs none /run && mkdir -p /run/user && touch /run/there";

/// Runs `script` on a host prepared by `prepare`.
fn on_host(scene: &Scene, prepare: &str, script: &str) -> Outcome {
    std::fs::write(scene.path("script"), script).expect("scene");
    scene.sh(&format!("exec unshare -mu sh -c '{HOST} && {prepare} && exec sh script'"))
}

fn assert_silent(outcome: &Outcome) {
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""), "{outcome:?}");
}

/// A function that runs `setup`, and `cmd` once it is linked.
fn function(setup: &str, cmd: &str) -> String {
    format!(
        "stdpkt run --right 10.0.0.1/24 --setup '{setup}' -- {cmd} | stdpkt run --left 10.0.0.2/24"
    )
}

#[test]
fn names_of_namespaces_are_the_functions_own() {
    need_functions!("root", "unshare", "ip");
    for known in ["true", "ip netns add x", "ip netns add h1"] {
        let scene = Scene::new();
        let setup = "ip netns add h1 && ip netns exec h1 ip link set lo up && ip netns del h1 \
                     && ip netns add h1";
        let outcome = on_host(
            &scene,
            known,
            &format!(
                "ls -A /run/netns >before 2>&1; {} || exit 1; ls -A /run/netns >after 2>&1; \
                 cmp before after && ! ip netns list | grep h2",
                function(setup, "ip netns add h2")
            ),
        );
        assert_silent(&outcome);
        scene.assert_nothing_left();
    }
}

#[test]
fn a_namespace_of_the_host_cannot_be_deleted() {
    need_functions!("root", "unshare", "ip");
    let scene = Scene::new();
    let script = function("! ip netns del x 2>/dev/null", "true") + " && ip netns exec x true";
    assert_silent(&on_host(&scene, "ip netns add x", &script));
}

#[test]
fn what_is_made_in_run_stays_in_the_function_and_what_was_there_is_shown() {
    need_functions!("root", "unshare", "mkfifo");
    let scene = Scene::new();
    let prepare = "mkdir /run/d && echo a >/run/f && mkfifo /run/p && ln -s f /run/l \
                   && mount -t tmpfs none /run/d && echo b >/run/d/b";
    let setup = "test \"$(cat /run/f /run/l /run/d/b)\" = \"$(printf \"a\\na\\nb\")\" && test -p /run/p \
                 && echo c >/run/d/c && echo c >/run/new && echo c >>/run/f";
    let script = function(&setup.replace('\'', ""), "true")
        + " && test \"$(cat /run/f /run/d/c | tr -d '\\n')\" = acc && ! test -e /run/new";
    assert_silent(&on_host(&scene, prepare, &script));
}

#[test]
fn a_host_that_keeps_it_in_var_run() {
    need_functions!("root", "unshare");
    let scene = Scene::new();
    let prepare = "mount -t tmpfs none /var && mkdir /var/run && touch /var/run/there";
    let setup = "test -e /var/run/there && touch /var/run/new /run/new";
    let script = function(setup, "true") + " && ! test -e /var/run/new && ! test -e /run/new";
    assert_silent(&on_host(&scene, prepare, &script));
}

#[test]
fn sys_shows_the_function_and_the_hosts_other_file_systems() {
    need_functions!("root", "unshare");
    let scene = Scene::new();
    let setup = "test \"$(echo /sys/class/net/*)\" = \"/sys/class/net/lo /sys/class/net/right\" \
                 && test -e /sys/fs/bpf/pinned && test \"$(ls /sys/fs/cgroup)\" = \"$(cat cgroups)\"";
    let prepare = "mount -t bpf bpf /sys/fs/bpf && mkdir /sys/fs/bpf/pinned";
    let script = format!("ls /sys/fs/cgroup >cgroups; {}", function(setup, "true"));
    assert_silent(&on_host(&scene, prepare, &script));
}

#[test]
fn the_machines_name_is_not_changed() {
    need_functions!("root", "unshare", "hostname");
    let scene = Scene::new();
    let script = function("hostname r1", "sh -c \"test \\$(hostname) = r1\"")
        + " && test $(hostname) = host";
    assert_silent(&on_host(&scene, "hostname host", &script));
}

/// The runtime directory is in `/run`, and so are FIFOs.
#[test]
fn a_chain_inside_a_function_reaches_one_outside() {
    need_functions!("root", "unshare", "mkfifo", "ping");
    let scene = Scene::new();
    let prepare = "mkdir -p -m 700 /run/user/0 && mkfifo /run/in /run/out";
    let inner = "stdpkt run --right 10.1.0.1/24 -- ping -qc1 10.1.0.2 \
                 | stdpkt run --left 10.1.0.2/24";
    let script = format!(
        "unset SHMRING_RUNTIME_DIR
         stdpkt run --link x,at=/run/out:/run/in,ip=10.2.0.2/24 &
         {} &&
         {}",
        function("true", &format!("sh -c \"{inner}\"")),
        function(
            "true",
            "stdpkt run --link x,at=/run/in:/run/out,ip=10.2.0.1/24 -- ping -qc1 10.2.0.2"
        )
    );
    let outcome = on_host(&scene, prepare, &script);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!((outcome.out + &outcome.err).matches("1 received").count(), 2);
}

#[test]
fn where_the_kernel_refuses_the_function_goes_without_and_says_so_if_asked() {
    need_functions!("user namespaces", "unshare");
    let masked = "mount -t tmpfs none /sys/firmware && mount -t tmpfs none /proc/fs";
    for (verbose, lines) in [("", 0), ("-v", 2)] {
        let scene = Scene::new();
        let chain = format!(
            "stdpkt run {verbose} --right 10.0.0.1/24 -- test -e /sys/class/net | stdpkt run --left 10.0.0.2/24"
        );
        std::fs::write(scene.path("script"), chain).expect("scene");
        // What covers is locked for the inner of two user namespaces only.
        let inner = format!("{masked} && exec unshare -rm sh script");
        let outcome = scene.sh(&format!("exec unshare -rm sh -c '{inner}'"));
        assert_eq!(outcome.status, 0, "{outcome:?}");
        // `-v` tells the link's story as well.
        let stays = ["/sys", "/proc"].map(|place| format!("stdpkt: {place} stays the host's"));
        let said = outcome.err.lines().filter(|line| line.contains("stays the host's"));
        let said: Vec<_> = said.collect();
        assert_eq!(said.len(), lines, "{outcome:?}");
        assert!(
            said.iter().zip(&stays).all(|(line, begin)| line.starts_with(begin)),
            "{outcome:?}"
        );
        assert!(lines > 0 || outcome.err.is_empty(), "{outcome:?}");
        scene.assert_nothing_left();
    }
}

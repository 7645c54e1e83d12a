//! What is no machine, no socket, or shares nothing: one line each.

use rustix::process::Signal;

use super::guest::{machine, need_guests};
use super::{play, up};
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::{WATCHDOG, wait_until};

#[test]
fn what_cannot_be_joined_is_named() {
    need_functions!();
    const FUNCTION: &str = "stdpkt run --right 10.0.0.1/24 -- sleep 1000 2>/dev/null";
    for (join, status, part) in [
        ("--left vhost-user:unix:plain", 125, "unix:plain is no socket: remove it"),
        ("--left vhost-user", 125, "stdpkt join vhost-user -- qemu-system-x86_64"),
        ("--left vhost-user -- cat", 125, "cat is no QEMU"),
        ("--left vhost-user -- ./firecracker", 125, "let it be CMD of a switch"),
        (
            "--left vhost-user -- ./qemu -daemonize",
            125,
            "-daemonize: the machine ends with its link",
        ),
        ("--left vhost-user -- ./qemu -M isapc", 125, "-machine isapc has no place"),
        ("--left vhost-user -- ./qemu", 1, "qemu ended before its card joined"),
        ("--left vhost-user -- ./qemu-none", 127, "qemu-none"),
        ("--left vhost-user:stdio", 125, "vhost-user:unix:PATH"),
    ] {
        let scene = Scene::new();
        std::fs::write(scene.path("plain"), "").expect("scene");
        let old = "#!/bin/sh\necho \"$0: Invalid parameter 'abstract'\" >&2; exit 1\n";
        std::fs::write(scene.path("qemu"), old).expect("scene");
        let outcome = scene.sh(&format!("chmod 755 qemu; {FUNCTION} | stdpkt join {join}"));
        assert_eq!(outcome.status, status, "{join}: {outcome:?}");
        assert!(outcome.err.contains(part), "{join}: {outcome:?}");
        assert_eq!(outcome.err.matches("stdpkt: ").count(), 1, "{join}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn two_back_ends_are_told_that_neither_speaks() {
    need_functions!();
    let scene = Scene::new();
    let one =
        scene.start_sh("exec stdpkt run --left 10.0.0.1/24,at=vhost-user:unix:s -- sleep 1000");
    scene.wait_for_file("s");
    let other =
        scene.start_sh("exec stdpkt run --left 10.0.0.2/24,at=vhost-user:unix:s -- sleep 1000");
    wait_until(WATCHDOG, || {
        match scene.everything_said().matches("two back ends cannot join each other").count() {
            2 => Ok(()),
            _ => Err(scene.everything_said()),
        }
    });
    for play in [one, other] {
        play.signal_group(Signal::TERM);
        play.end();
    }
    scene.assert_nothing_left();
}

#[test]
fn memory_that_is_not_shared_is_named() {
    need_guests!();
    let scene = Scene::new();
    let machine = machine(&scene, "vm", &(up("10.0.0.2") + "sleep 5"));
    let script = format!(
        "stdpkt run --left 10.0.0.1/24,at=vhost-user:unix:s -- sleep 1000 & function=$!
         until [ -S s ]; do sleep 0.05; done
         {machine} -chardev socket,id=c,path=s -netdev vhost-user,id=n,chardev=c -device virtio-net-pci,netdev=n,vectors=0
         kill $function; wait"
    );
    let outcome = play(&scene, &script);
    assert!(outcome.err.contains("memory-backend-memfd,id=mem,size=1G,share=on"), "{outcome:?}");
    scene.assert_nothing_left();
}

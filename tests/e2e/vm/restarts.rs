//! Guests that boot again, guests and back ends that are killed and started again, and
//! what a guest sees of its neighbour. Two of each here; `STDPKT_TESTS_MACHINES=50` are
//! a quarter of an hour.

use rustix::process::Signal;

use super::guest::{machine, machine_at, need_guests, said};
use super::{BOOT, sleeper, up};
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::wait_until;

fn times() -> usize {
    let times = std::env::var("STDPKT_TESTS_MACHINES").ok();
    times.and_then(|times| times.parse().ok()).unwrap_or(2)
}

/// Tells whether there is a neighbour, each time that changes.
const TELL: &str = "old=
    while usleep 50000; do
        new=$(cat /sys/class/net/eth0/carrier)
        [ \"$new\" = \"$old\" ] || echo carrier $new
        old=$new
    done";

/// Waits until a machine has said `word` so many times.
fn wait_for(scene: &Scene, name: &str, word: &str, times: usize) {
    wait_until(BOOT, || {
        let log = said(scene, name);
        match log.matches(word).count() >= times {
            true => Ok(()),
            false => Err(format!("{times} times `{word}`: {log}\n{}", scene.everything_said())),
        }
    });
}

#[test]
fn a_guest_that_boots_again_is_back_each_time() {
    need_guests!();
    let scene = Scene::new();
    let script = up("10.0.0.2") + "find 10.0.0.1\necho back\nreboot -f";
    let vm = scene.start_sh(&format!(
        "stdpkt run --right 10.0.0.1/24 -- sleep 100000 | stdpkt join --left vhost-user -- {}",
        machine(&scene, "vm", &script)
    ));
    for time in 1..=times() {
        wait_for(&scene, "vm", "back", time);
    }
    scene.signal(&sleeper(&scene).expect("CMD"), Signal::TERM);
    let outcome = vm.end();
    assert!(!outcome.err.contains("vhost-user"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_guest_that_is_killed_and_started_again_is_back_each_time() {
    need_guests!();
    let scene = Scene::new();
    let script = up("10.0.0.2") + "find 10.0.0.1\necho back\nsleep 1000";
    let machine = machine_at(&scene, "vm", "s", &script);
    let function =
        scene.start_sh("exec stdpkt run --left 10.0.0.1/24,at=vhost-user:unix:s -- sleep 100000");
    scene.wait_for_file("s");
    for _ in 0..times() {
        std::fs::remove_file(scene.path("vm.log")).ok();
        let vm = scene.start_sh(&format!("exec {machine}"));
        wait_for(&scene, "vm", "back", 1);
        vm.signal_group(Signal::KILL);
        assert_eq!(vm.end().status, 137);
    }
    function.signal_group(Signal::TERM);
    let outcome = function.end();
    assert!(!outcome.err.contains("vhost-user"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_back_end_that_is_killed_and_started_again_is_found_each_time() {
    need_guests!("ping");
    let scene = Scene::new();
    let machine = machine_at(&scene, "vm", "s", &(up("10.0.0.2") + "sleep 100000"));
    let start = || {
        scene.start_sh(
            "exec stdpkt run --left 10.0.0.1/24,at=vhost-user:unix:s \
                 -- sh -c 'until ping -q -c1 -W1 10.0.0.2; do :; done; exec sleep 100000'",
        )
    };
    let mut function = start();
    scene.wait_for_file("s");
    let vm = scene.start_sh(&format!("exec {machine}"));
    // CMD becomes sleep when the guest has answered.
    let is_met = |met| {
        wait_until(BOOT, || match sleeper(&scene).is_some() == met {
            true => Ok(()),
            false => Err(format!("{}\n{}", said(&scene, "vm"), scene.everything_said())),
        });
    };
    for _ in 0..times() {
        is_met(true);
        function.signal_group(Signal::KILL);
        assert_eq!(function.end().status, 137);
        is_met(false);
        function = start();
    }
    is_met(true);
    vm.signal_group(Signal::KILL);
    function.signal_group(Signal::TERM);
    function.end();
    vm.end();
    scene.assert_nothing_left();
}

#[test]
fn a_guest_sees_whether_there_is_a_neighbour() {
    need_guests!();
    let scene = Scene::new();
    let script = up("10.0.0.2") + TELL;
    let vm = scene.start_sh(&format!(
        "mkfifo f; exec stdpkt join --left vhost-user -- {} <>f",
        machine(&scene, "vm", &script)
    ));
    wait_for(&scene, "vm", "carrier 0", 1);
    for time in 1..=times() {
        let neighbour = scene.start_sh("exec stdpkt run --right 10.0.0.1/24 -- sleep 1000 >f");
        wait_for(&scene, "vm", "carrier 1", time);
        neighbour.signal_group(Signal::TERM);
        neighbour.end();
        wait_for(&scene, "vm", "carrier 0", time + 1);
    }
    vm.signal_group(Signal::TERM);
    vm.end();
    scene.assert_nothing_left();
}

/// Of two machines without a function between.
#[test]
fn a_guest_sees_whether_the_other_machine_is_there() {
    need_guests!();
    let scene = Scene::new();
    let one = machine_at(&scene, "vm", "s1", &(up("10.0.0.1") + TELL));
    let two = machine_at(
        &scene,
        "other",
        "s2",
        &(up("10.0.0.2") + "find 10.0.0.1; echo met; sleep 100000"),
    );
    let join = scene.start_sh("exec stdpkt join vhost-user:unix:s1 vhost-user:unix:s2");
    scene.wait_for_file("s2");
    let vm = scene.start_sh(&format!("exec {one}"));
    for time in 1..=times() {
        std::fs::remove_file(scene.path("other.log")).ok();
        let other = scene.start_sh(&format!("exec {two},mac=52:54:00:00:00:02"));
        wait_for(&scene, "other", "met", 1);
        wait_for(&scene, "vm", "carrier 1", time);
        other.signal_group(Signal::KILL);
        other.end();
        wait_for(&scene, "vm", "carrier 0", time);
    }
    join.signal_group(Signal::TERM);
    vm.signal_group(Signal::KILL);
    vm.end();
    join.end();
    scene.assert_nothing_left();
}

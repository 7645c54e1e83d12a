//! An idle chain does not run at all.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use crate::support::chains::three;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use rustix::process::Signal;

/// Until ARP has nothing to say any more (it asks again 5 s after first use).
const SETTLE: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_secs(10);

fn assert_idle(options: &str) {
    let scene = Scene::new();
    let busy = "-- sh -c 'ping -q -c1 -W5 10.0.2.1 && touch up; exec sleep 1000'";
    let chain = three(&format!("{options} {busy}"), options, options);
    let play = scene.start_sh(&chain);
    scene.wait_for_file("up");
    sleep(SETTLE);
    let look = || -> BTreeMap<i32, (String, u64)> {
        let functions = scene.processes().into_iter().filter(|process| process.name != "sh");
        functions.map(|p| (p.pid, (p.name.clone(), p.context_switches()))).collect()
    };
    let before = look();
    sleep(LOOK);
    let after = look();
    // Three functions, a keeper, and the CMD.
    assert_eq!(before.len(), 5, "{before:?}");
    assert_eq!(before, after, "context switches in {LOOK:?}");
    play.end_all();
}

#[test]
fn an_idle_chain_of_three_does_not_run_at_all() {
    need_functions!("ping");
    assert_idle("");
}

#[test]
fn an_idle_chain_over_pipes_does_not_run_at_all() {
    need_functions!("ping");
    assert_idle("--channel fifo");
}

#[test]
fn functions_that_wait_for_a_neighbour_do_not_run_either() {
    need_functions!("mkfifo");
    let scene = Scene::new();
    let play = scene.start_sh("mkfifo f; exec stdpkt run --link x,at=f,ip=10.0.0.1/24");
    // It says once whom it waits for.
    sleep(SETTLE);
    let function = scene.function("x,at=f,ip=10.0.0.1/24");
    let before = function.context_switches();
    sleep(LOOK);
    assert_eq!(function.context_switches(), before);
    play.signal_group(Signal::TERM);
    assert_eq!(play.end().status, 128 + 15);
    scene.assert_nothing_left();
}

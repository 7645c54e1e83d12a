//! `stdpkt ls` on live chains.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::chains::two;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::{SOON, wait_until};

/// The rings of this scene, by the name of the sending function's address.
fn rings(scene: &Scene, first: u64) -> Vec<Value> {
    let outcome = scene.sh("stdpkt ls --json");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let all: Vec<Value> = serde_json::from_str(&outcome.out).expect("JSON");
    // Others may run chains on this machine.
    let ours = |ring: &Value| [&ring["from"], &ring["to"]].iter().any(|f| f["pid"] == first);
    all.into_iter().filter(ours).collect()
}

#[test]
fn ls_shows_both_directions_of_a_live_link_and_counters_that_grow() {
    need_functions!("ping");
    let scene = Scene::new();
    let play = scene.start_sh(&two("", "-- ping -q -i0.1 10.0.0.1"));
    wait_until(SOON, || match scene.processes().iter().any(|p| p.name == "ping") {
        true => Ok(()),
        false => Err("no ping".into()),
    });
    let first = scene.function("10.0.0.1/24").pid as u64;
    let second = scene.function("10.0.0.2/24").pid as u64;
    let before = rings(&scene, first);
    assert_eq!(before.len(), 2, "{before:#?}");
    std::thread::sleep(Duration::from_secs(1));
    let after = rings(&scene, first);
    for (from, to, sender, receiver) in
        [("right", "left", first, second), ("left", "right", second, first)]
    {
        let find = |rings: &[Value]| {
            let found = rings.iter().find(|ring| ring["from"]["interface"] == from);
            found.unwrap_or_else(|| panic!("none from {from}: {rings:#?}")).clone()
        };
        let (before, after) = (find(&before), find(&after));
        assert_eq!(after["to"]["interface"], to);
        assert_eq!(after["from"]["pid"], sender);
        assert_eq!(after["to"]["pid"], receiver);
        assert_eq!(after["inode"], before["inode"]);
        for side in ["from", "to"] {
            for counter in ["frames", "bytes"] {
                let [a, b] = [&before, &after].map(|ring| ring[side][counter].as_u64());
                assert!(a.is_some() && b > a, "{side}.{counter}: {a:?}, then {b:?}");
            }
        }
        assert_eq!(after["from"]["drops"], 0, "{after:#?}");
    }
    let sender = &after.iter().find(|r| r["from"]["interface"] == "left").expect("ring")["from"];
    assert_eq!(sender["command"], "ping -q -i0.1 10.0.0.1");

    let table = scene.sh("stdpkt ls");
    assert_eq!(table.status, 0, "{table:?}");
    assert!(table.out.contains(&format!("{first}:right")), "{table:?}");
    play.signal_group(Signal::TERM);
    play.end();
    scene.assert_nothing_left();
    assert_eq!(rings(&scene, first), Vec::<Value>::new());
}

#[test]
fn ls_works_where_nothing_runs_and_when_nobody_reads() {
    let scene = Scene::new();
    let outcome = scene.sh("stdpkt ls --json | head -c0; stdpkt ls >/dev/null");
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""));
}

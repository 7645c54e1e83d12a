//! A router between two FIFOs ends and is started again while pings go through it, 200
//! a second. A few times by default; for a long run:
//!
//! ```text
//! STDPKT_TESTS_RESTARTS=1000 cargo test --release -p stdpkt-tests --test e2e restarts -- --nocapture
//! ```
//!
//! No link may come up one-way. How long nothing got through, beyond the pause before
//! the next router, is told: median and worst.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::{WATCHDOG, wait_until};

const ROUTER: &str = "exec stdpkt run --link l,at=h1,ip=10.5.0.254/24 \
                      --link r,at=h2,ip=10.5.1.254/24 --forward";
const SERVER: &str = "exec stdpkt run --link e,at=h2,ip=10.5.1.2/24 --route 10.5.0.0/24=10.5.1.254";
const CLIENT: &str = "exec stdpkt run --link e,at=h1,ip=10.5.0.1/24 --gateway 10.5.0.254 \
                      -- sh -c 'exec stdbuf -oL ping -D -i0.005 10.5.1.2 >replies'";
/// How long a new router is watched.
const WATCHED: f64 = 0.1;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64()
}

/// When replies came, since then.
fn replies(scene: &Scene, since: f64) -> Vec<f64> {
    let text = fs::read_to_string(scene.path("replies")).unwrap_or_default();
    let stamp = |line: &str| {
        let is_reply = line.contains("bytes from");
        line.strip_prefix('[')?.split_once(']')?.0.parse::<f64>().ok().filter(|_| is_reply)
    };
    let late = text.lines().rev().map_while(|line| Some(stamp(line)));
    let mut all: Vec<_> = late.flatten().take_while(|&at| at > since).collect();
    all.reverse();
    all
}

/// Until some replies are later than `when`.
fn wait_for_replies(scene: &Scene, when: f64) {
    wait_until(WATCHDOG, || match replies(scene, when).is_empty() {
        false => Ok(()),
        true => Err(format!("nothing gets through; {}", scene.everything_said())),
    });
}

#[test]
fn a_restarted_router_is_met_both_ways() {
    need_functions!("ping", "mkfifo", "stdbuf");
    let times = std::env::var("STDPKT_TESTS_RESTARTS").ok();
    let times: usize = times.map_or(4, |text| text.parse().expect("a number of restarts"));
    let pause = Duration::from_millis(200);
    for (signal, pause) in
        [(Signal::KILL, Duration::ZERO), (Signal::TERM, Duration::ZERO), (Signal::KILL, pause)]
    {
        let scene = Scene::new();
        assert_eq!(scene.sh("mkfifo h1 h2").status, 0);
        let mut router = scene.start_sh(ROUTER);
        let ends = [scene.start_sh(SERVER), scene.start_sh(CLIENT)];
        wait_for_replies(&scene, 0.0);
        let mut gaps = Vec::new();
        for _ in 0..times {
            let killed = now();
            scene.signal(&scene.function("--forward"), signal);
            std::thread::sleep(pause);
            let next = scene.start_sh(ROUTER);
            let old = std::mem::replace(&mut router, next).end();
            assert_eq!(old.err, "", "{signal:?}");
            let began = now();
            wait_for_replies(&scene, began + WATCHED);
            let all = replies(&scene, killed - WATCHED);
            let gap = all.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
            gaps.push((gap - pause.as_secs_f64()) * 1000.0);
        }
        gaps.sort_by(f64::total_cmp);
        println!(
            "{times} restarts by {signal:?} after a pause of {pause:?}: silence of {:.0} ms (median), \
             {:.0} ms (worst)",
            gaps[times / 2],
            gaps[times - 1]
        );
        for play in ends.into_iter().chain([router]) {
            play.signal_group(Signal::TERM);
            let outcome = play.end();
            assert_eq!(outcome.err, "", "{signal:?}");
        }
        scene.assert_nothing_left();
    }
}

/// A function on a FIFO, its neighbour's CMD, and what is started in its place once it
/// was killed and CMD has said that it went on.
fn in_its_place(first: &str, cmd: &str, second: &str) -> String {
    let scene = Scene::new();
    assert_eq!(scene.sh("mkfifo f").status, 0);
    let start = |options: &str| {
        scene.start_sh(&format!(
            "exec stdpkt run --link l,at=f,ip=10.5.0.254/24 {options} --linger 1"
        ))
    };
    let old = start(first);
    let play =
        scene.start_sh(&format!("exec stdpkt run --link e,at=f,ip=10.5.0.1/24 -- sh -c '{cmd}'"));
    scene.wait_for_file("up");
    scene.signal(&scene.function("l,at=f,ip=10.5.0.254/24"), Signal::KILL);
    old.end();
    fs::write(scene.path("killed"), "").expect("a file");
    scene.wait_for_file("on");
    let new = start(second);
    let outcome = play.end();
    new.signal_group(Signal::TERM);
    new.end();
    scene.assert_nothing_left();
    assert_eq!(outcome.status, 0, "{outcome:?}");
    outcome.out
}

#[test]
fn what_is_sent_while_nobody_is_there_waits_for_the_next() {
    need_functions!("ping", "mkfifo");
    let cmd = "ping -q -c1 -W5 10.5.0.254 >out && touch up; until [ -e killed ]; do sleep 0.02; done; sleep 0.4; \
               ping -c1 -W9 10.5.0.254 & sleep 0.1; touch on; wait $!";
    let said = in_its_place("", cmd, "");
    assert!(said.contains("1 received"), "{said}");
}

#[test]
fn one_with_another_ethernet_address_is_found_at_once() {
    need_functions!("ping", "mkfifo", "ip");
    let with = |last: u8| format!("--setup 'ip link set dev l address 02:00:00:00:00:{last}'");
    // A kernel that is not told would go on sending to the old address for half a minute.
    let cmd = "ping -q -c1 -W5 10.5.0.254 >out && touch up on; until [ -e killed ]; do sleep 0.02; done; \
               ping -i0.1 -c1 -w9 10.5.0.254";
    let said = in_its_place(&with(11), cmd, &with(22));
    assert!(said.contains("1 received"), "{said}");
}

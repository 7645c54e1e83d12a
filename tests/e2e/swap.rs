//! `stdpkt swap`: another function in the place of a running one, while frames flow.
//!
//! `STDPKT_TESTS_SWAPS=100` swaps as often as that.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Play, Scene};
use crate::support::{SOON, WATCHDOG, wait_until};

const ROUTER: &str = "--left 10.0.0.1/24 --right 10.0.1.1/24 --forward";
const CLIENT: &str = "--right 10.0.0.2/24 --gateway 10.0.0.1";
const SERVER: &str = "--left 10.0.1.2/24 --gateway 10.0.1.1";

/// A name that nobody else on this machine has.
pub fn name(kind: &str) -> String {
    format!("{kind}-{}-{}", std::process::id(), std::thread::current().name().unwrap_or("").len())
}

pub fn swaps() -> u32 {
    std::env::var("STDPKT_TESTS_SWAPS").ok().and_then(|word| word.parse().ok()).unwrap_or(3)
}

/// Waits for a script whose length depends on [`swaps`]. A round takes a second, and many times that
/// on a busy machine.
pub fn end(play: Play<'_>) -> Outcome {
    play.end_within(WATCHDOG + Duration::from_secs(20) * swaps()).expect("the script ends")
}

/// Whether a line was said.
pub fn said(run: &Outcome, line: &str) {
    assert!(run.out.lines().any(|it| it == line), "{line}: {run:#?}");
}

/// Waits for `stdpkt ls NAME` to show links on both sides.
pub const UNTIL_UP: &str = r#"up() { until [ "$(stdpkt ls $1 2>/dev/null | grep -c ring)" -ge 4 ]; do sleep 0.05; done; }"#;

/// Bytes for one connection until there is a file `changed`, and their number.
pub const STREAM: &str = r#"{ n=0; touch streaming; until [ -e changed ]; do head -c 100000 /dev/zero; n=$((n + 100000)); done; echo $n > sent; }"#;
/// The other side of the connection.
pub const RECEIVE: &str = "socat -u TCP-LISTEN:5000 - | wc -c > got";

#[test]
fn a_router_is_swapped_under_pings_and_under_a_tcp_connection() {
    need_functions!("bash", "ping", "socat");
    let scene = Scene::new();
    let (r, n) = (name("r"), swaps());
    let script = format!(
        r#"{UNTIL_UP}
        stdpkt run {CLIENT} -- sh -c '
            ping -q -i 0.01 -c $((150 + 30 * {n})) 10.0.1.2 > pinged
            {STREAM} | socat -u - TCP:10.0.1.2:5000; echo stream $? >> pinged' \
        | stdpkt run --name {r} {ROUTER} | stdpkt run {SERVER} -- sh -c '{RECEIVE}' & chain=$!
        up {r}
        swap() {{ for i in $(seq {n}); do
            stdpkt swap {r} -- stdpkt run --name {r} {ROUTER} || exit; sleep 0.0$((RANDOM % 9))
        done; }}
        swap
        until [ -e streaming ]; do kill -0 $chain || exit; sleep 0.05; done
        swap; touch changed
        wait $chain
        cat pinged; cmp sent got && echo all arrived"#
    );
    let run = end(scene.start_in(&["bash"], &script));
    said(&run, "stream 0");
    said(&run, "all arrived");
    let count = 150 + 30 * n;
    let all = format!("{count} packets transmitted, {count} received, 0% packet loss");
    assert!(run.out.contains(&all), "{run:#?}");
    scene.assert_nothing_left();
}

#[test]
fn a_tee_is_swapped_and_no_frame_is_lost_or_doubled() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let (t, n) = (name("t"), swaps());
    let script = format!(
        r#"{UNTIL_UP}
        stdpkt run --right 10.0.0.2/24 -- sh -c 'ping -q -i 0.005 -c 200 10.0.0.1 > pinged' \
        | stdpkt tee --name {t} 0.pcap | stdpkt run --left 10.0.0.1/24 & chain=$!
        up {t}
        for i in $(seq {n}); do stdpkt swap {t} -- stdpkt tee --name {t} $i.pcap || exit; done
        wait $chain; echo chain $?
        cat pinged"#
    );
    let run = end(scene.start_in(&["bash"], &script));
    said(&run, "chain 0");
    assert!(
        run.err.contains("200 received, 0% packet loss")
            || run.out.contains("200 received, 0% packet loss"),
        "{run:#?}"
    );
    scene.assert_nothing_left();
}

/// The shell knows the old process only.
#[test]
fn the_shell_sees_the_end_of_the_function_that_took_over() {
    need_functions!("bash", "ping");
    for (signal, who, status) in [("TERM", "old", 143), ("KILL", "new", 137), ("KILL", "old", 137)]
    {
        let scene = Scene::new();
        let r = name("r");
        let script = format!(
            r#"{UNTIL_UP}
            mkfifo a b
            stdpkt run --link l,at=a,ip=10.0.0.2/24 & one=$!
            stdpkt run --link r,at=b,ip=10.0.1.2/24 & two=$!
            stdpkt run --name {r} --link l,at=a,ip=10.0.0.1/24 --link r,at=b,ip=10.0.1.1/24 & old=$!
            up {r}
            stdpkt swap {r} -- stdpkt run --name {r} --link l,at=a,ip=10.0.0.1/24 --link r,at=b,ip=10.0.1.1/24
            echo swapped $?
            new=$(stdpkt ls {r} | sed -n 's/^ *\([0-9]*\):[lr] {r} .*/\1/p' | head -n 1)
            [ -n "$new" ] && [ $new != $old ] || {{ kill $one $two $old; stdpkt ls; exit; }}
            kill -{signal} ${who}
            wait $old; echo ended $?
            kill $one $two; wait
            while kill -0 $new; do sleep 0.05; done"#
        );
        let run = scene.start_in(&["bash"], &script).end();
        said(&run, "swapped 0");
        said(&run, &format!("ended {status}"));
        scene.assert_nothing_left();
    }
}

#[test]
fn what_does_not_take_over_changes_nothing() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let r = name("r");
    let play = scene.start_in(
        &["bash"],
        &format!(
            "stdpkt run {CLIENT} -- ping -q -i 0.2 10.0.1.2 | stdpkt run --name {r} {ROUTER} | stdpkt run {SERVER}"
        ),
    );
    let up = || scene.sh(&format!("stdpkt ls {r}")).out.matches("ring").count() >= 4;
    wait_until(SOON, || if up() { Ok(()) } else { Err("no links".to_owned()) });
    for (how, part) in [
        (
            "--timeout 0.3 NAME -- stdpkt run ROUTER --setup 'sleep 30'",
            "was not set up in 0.3 seconds",
        ),
        ("NAME -- stdpkt run ROUTER --setup false", "setup command `false` failed"),
        ("NAME -- stdpkt run --left 10.0.0.1/24", "no interface there"),
        ("NAME -- true", "ended"),
        ("NAME -- /no/such/program", "/no/such/program"),
        ("nobody-of-this-name -- stdpkt run ROUTER", "no function is called"),
    ] {
        let how = how.replace("NAME", &r).replace("ROUTER", ROUTER);
        let refused = scene.sh(&format!("stdpkt swap {how}"));
        assert_eq!(refused.status, 125, "{refused:?}");
        assert!(refused.only_line().contains(part), "{part}: {refused:?}");
    }
    assert!(up());
    play.signal_group(Signal::INT);
    play.end();
    scene.assert_nothing_left();
}

#[test]
fn frames_through_the_pipe_itself_cannot_be_moved() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let r = name("r");
    let play = scene.start_in(
        &["bash"],
        &format!(
            "stdpkt run --channel fifo {CLIENT} -- sh -c 'ping -q -c1 10.0.1.2 && touch up; sleep 60' \
             | stdpkt run --channel fifo --name {r} {ROUTER} | stdpkt run --channel fifo {SERVER}"
        ),
    );
    scene.wait_for_file("up");
    let refused = scene.sh(&format!("stdpkt swap {r} -- stdpkt run --channel fifo {ROUTER}"));
    assert_eq!(refused.status, 125, "{refused:?}");
    assert!(refused.only_line().contains("it takes rings"), "{refused:?}");
    play.signal_group(Signal::INT);
    play.end();
    scene.assert_nothing_left();
}

/// Frames do not go there, and lines do: it may be standard error as well.
#[test]
fn a_standard_output_that_is_no_link_is_none_of_whoever_takes_over() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let w = name("w");
    let run = scene
        .start_in(
            &["bash"],
            &format!(
                r#"{{
                stdpkt run --right 10.0.0.2/24 -- sh -c '
                    until ping -q -c1 -W1 10.0.0.1; do :; done; touch up; until [ -e swapped ]; do sleep 0.05; done
                    until ping -q -c1 -W1 10.0.0.1; do :; done; touch pinged' \
                | stdpkt run --name {w} --left 10.0.0.1/24 & chain=$!
                until [ -e up ]; do sleep 0.05; done
                for mistake in "fliter tcp" uplink "dump --tiem" "join frames" "tee /no/such/dir/x"; do
                    stdpkt swap {w} -- stdpkt $mistake; echo $mistake $?
                done
                stdpkt swap {w} -- stdpkt join frames -- stdpkt run --left 10.0.0.1/24,at=frames:stdio; echo swapped $?
                touch swapped; wait $chain; [ -e pinged ] && echo pinged
                }} 2>&1 | cat"#
            ),
        )
        .end();
    for (mistake, part) in [
        ("fliter tcp", "fliter"),
        ("uplink", "cannot take a running function's place"),
        ("dump --tiem", "--tiem"),
        ("join frames", "CMD is missing"),
        ("tee /no/such/dir/x", "/no/such/dir"),
    ] {
        said(&run, &format!("{mistake} 125"));
        let lines = run.out.split(&format!("\n{mistake} 125\n")).next().expect("what was said");
        assert!(
            lines.lines().last().is_some_and(|line| line.contains(part)),
            "{mistake}: {run:#?}"
        );
    }
    for line in ["swapped 0", "pinged"] {
        said(&run, line);
    }
    scene.assert_nothing_left();
}

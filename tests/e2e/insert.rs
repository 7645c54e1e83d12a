//! `stdpkt insert` and `stdpkt remove`: a function into a live link, and out of a chain.
//!
//! `STDPKT_TESTS_SWAPS=100` does it as often as that.

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};
use crate::support::{SOON, wait_until};
use crate::swap::{RECEIVE, STREAM, UNTIL_UP, end, name, said, swaps};

const CLIENT: &str = "--right 10.0.0.2/24";
const SERVER: &str = "--left 10.0.0.1/24";

fn all_pings(run: &Outcome, count: u32) {
    let all = format!("{count} packets transmitted, {count} received, 0% packet loss");
    assert!(run.out.contains(&all), "{run:#?}");
}

/// Waits until nobody of a name is to be seen.
const UNTIL_GONE: &str =
    r#"gone() { while stdpkt ls $1 2>/dev/null | grep -q " $1 "; do sleep 0.02; done; }"#;

#[test]
fn a_tee_and_a_filter_come_and_go_under_pings_and_under_a_tcp_connection() {
    need_functions!("bash", "ping", "socat", "libpcap");
    let scene = Scene::new();
    let (c, s, t, n) = (name("ic"), name("is"), name("it"), swaps());
    let count = 150 + 60 * n;
    let script = format!(
        r#"{UNTIL_UP}
        stdpkt run --name {c} {CLIENT} -- sh -c '
            ping -q -i 0.01 -c {count} 10.0.0.1 > pinged
            {STREAM} | socat -u - TCP:10.0.0.1:5000; echo stream $? >> pinged' \
        | stdpkt run --name {s} {SERVER} -- sh -c '{RECEIVE}' & chain=$!
        until [ "$(stdpkt ls {c} 2>/dev/null | grep -c ring)" -ge 2 ]; do sleep 0.05; done
        change() {{ for i in $(seq {n}); do
            stdpkt insert {c}:right -- stdpkt tee --name {t} $1.$i.pcap || exit
            sleep 0.0$((RANDOM % 9))
            stdpkt insert {t} {s} -- stdpkt filter --name {t}f 'ip or arp' || exit
            stdpkt remove {t} || {{ stdpkt ls; exit; }}
            sleep 0.0$((RANDOM % 9))
            stdpkt remove {t}f || exit
        done; }}
        change p
        until [ -e streaming ]; do kill -0 $chain || exit; sleep 0.05; done
        change s; touch changed
        wait $chain
        cat pinged; cmp sent got && echo all arrived"#
    );
    let run = end(scene.start_in(&["bash"], &script));
    said(&run, "stream 0");
    said(&run, "all arrived");
    all_pings(&run, count);
    scene.assert_nothing_left();
}

/// The shell waits for it as for the others.
#[test]
fn a_part_of_a_pipeline_that_is_taken_out_keeps_its_place() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let (c, t, w) = (name("pc"), name("pt"), name("pw"));
    let script = format!(
        r#"{UNTIL_UP}
        stdpkt run --name {c} {CLIENT} -- sh -c 'ping -q -i 0.01 -c 200 10.0.0.1 > pinged; until [ -e done ]; do sleep 0.05; done' \
        | {{ stdpkt tee --name {t} t.pcap; echo tee $? > tee; }} | {{ stdpkt wire --name {w} --delay 5ms; echo wire $? > wire; }} \
        | stdpkt run {SERVER} & chain=$!
        up {t}
        stdpkt remove {t} || exit
        stdpkt remove {w} || exit
        stdpkt ls --chains {c}
        sleep 0.1
        [ -e tee ] || [ -e wire ] || echo both stay
        touch done; wait $chain; echo chain $?; cat tee wire pinged"#
    );
    let run = scene.start_in(&["bash"], &script).end();
    for line in ["both stay", "chain 0", "tee 0", "wire 0"] {
        said(&run, line);
    }
    all_pings(&run, 200);
    scene.assert_nothing_left();
}

#[test]
fn a_switch_is_put_in_and_swapped_and_so_is_its_neighbour() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let (c, b) = (name("bc"), name("bb"));
    let bridge = format!("stdpkt run --name {b} --bridge --left none --right none");
    let script = format!(
        r#"{UNTIL_GONE}
        mkfifo f
        stdpkt run --name {c} --link l,at=f,ip=10.0.0.2/24 & one=$!
        stdpkt run --link l,at=f,ip=10.0.0.1/24 -- sh -c '
            ping -q -i 0.01 -c 300 10.0.0.2 > pinged; touch pinged.all; sleep 60' & two=$!
        until [ -e pinged ]; do sleep 0.05; done
        stdpkt insert {c}:l -- {bridge} || exit
        stdpkt swap {b} -- {bridge} || exit
        stdpkt swap {c} -- stdpkt run --name {c} --link l,at=f,ip=10.0.0.2/24 || exit
        stdpkt ls --chains {c}
        stdpkt remove {b} || exit
        until [ -e pinged.all ]; do sleep 0.05; done
        kill $one $two; wait; gone {c}
        cat pinged"#
    );
    let run = scene.start_in(&["bash"], &script).end();
    all_pings(&run, 300);
    assert!(run.out.contains(&format!("{b}[")), "{run:#?}");
    scene.assert_nothing_left();
}

/// The two that it was between look for each other where they met.
#[test]
fn whoever_is_killed_between_two_is_missed_by_nobody_for_long() {
    need_functions!("bash", "ping");
    for (join, meet) in [("|", ""), ("&", "mkfifo f;")] {
        let scene = Scene::new();
        let (c, t) = (name("kc"), name("kt"));
        let (right, left) = match join {
            "|" => ("--right 10.0.0.2/24", "--left 10.0.0.1/24"),
            _ => ("--link r,at=f,ip=10.0.0.2/24", "--link l,at=f,ip=10.0.0.1/24"),
        };
        let interface = if join == "|" { "right" } else { "r" };
        let script = format!(
            r#"{meet}
            stdpkt run --name {c} {right} -- sh -c '
                until ping -q -c1 -W1 10.0.0.1; do :; done; touch up
                until [ -e killed ]; do sleep 0.05; done
                until ping -q -c1 -W1 10.0.0.1; do :; done; touch again; sleep 60' {join} stdpkt run {left} & last=$!
            until [ -e up ]; do sleep 0.05; done
            stdpkt insert {c}:{interface} -- stdpkt tee --name {t} t.pcap || exit
            between=$(stdpkt ls {t} | sed -n 's/^ *\([0-9]*\):right {t} .*/\1/p' | head -n 1)
            kill -9 $between || exit; touch killed
            until [ -e again ]; do sleep 0.05; done
            kill $(jobs -p) $last; wait; echo healed"#
        );
        let run = scene.start_in(&["bash"], &script).end();
        said(&run, "healed");
        scene.assert_nothing_left();
    }
}

#[test]
fn what_cannot_be_put_in_or_taken_out_changes_nothing() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let (c, r, s) = (name("xc"), name("xr"), name("xs"));
    let play = scene.start_in(
        &["bash"],
        &format!(
            "stdpkt run --name {c} {CLIENT} --gateway 10.0.0.1 -- ping -q -i 0.2 10.0.1.2 \
             | stdpkt run --name {r} --left 10.0.0.1/24 --right 10.0.1.1/24 --forward \
             | stdpkt run --name {s} --left 10.0.1.2/24 --gateway 10.0.1.1"
        ),
    );
    let up = || scene.sh(&format!("stdpkt ls {r}")).out.matches("ring").count() == 4;
    wait_until(SOON, || if up() { Ok(()) } else { Err("no links".to_owned()) });
    let tee = "stdpkt tee x.pcap";
    for (how, part) in [
        (format!("insert {r}:right -- false"), "without taking over"),
        (format!("insert {r}:right -- stdpkt tee /no/such/dir/x"), "/no/such/dir"),
        (format!("insert {r}:right -- stdpkt dump"), "one interface on standard input"),
        (format!("insert {r}:right -- stdpkt join frames:stdio"), "name a second edge"),
        (
            format!(
                "insert --timeout 0.3 {r}:right -- stdpkt run --bridge --left none --right none --setup 'sleep 30'"
            ),
            "was not set up in 0.3 seconds",
        ),
        (format!("insert {r}:dmz -- {tee}"), "has no link dmz: it has left, right"),
        (format!("insert {r} -- {tee}"), "Write NAME:INTERFACE"),
        (format!("insert nobody-here:right -- {tee}"), "no function is called"),
        (format!("insert {c} {s} -- {tee}"), "there is no link between"),
        (format!("remove {r}"), "only --bridge can be taken out"),
        (format!("remove {c}"), "it runs CMD"),
        (format!("remove {s}"), "only --bridge can be taken out"),
        ("remove nobody-here".to_owned(), "no function is called"),
    ] {
        let refused = scene.sh(&format!("stdpkt {how}"));
        assert_eq!(refused.status, 125, "{how}: {refused:?}");
        assert!(refused.only_line().contains(part), "{how}: {part}: {refused:?}");
        assert!(up(), "{how}");
    }
    play.signal_group(Signal::INT);
    play.end();
    scene.assert_nothing_left();
}

#[test]
fn nothing_goes_between_where_frames_go_through_the_pipe_itself() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let c = name("fc");
    let play = scene.start_in(
        &["bash"],
        &format!(
            "stdpkt run --channel fifo --name {c} {CLIENT} -- sh -c 'ping -q -c1 10.0.0.1 && touch up; sleep 60' \
             | stdpkt run --channel fifo {SERVER}"
        ),
    );
    scene.wait_for_file("up");
    let refused = scene.sh(&format!("stdpkt insert {c}:right -- stdpkt tee x.pcap"));
    assert_eq!(refused.status, 125, "{refused:?}");
    assert!(refused.only_line().contains("it takes rings"), "{refused:?}");
    play.signal_group(Signal::INT);
    play.end();
    scene.assert_nothing_left();
}

//! `stdpkt link` and `stdpkt unlink`: a running function gets an interface, and loses it.

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::{SOON, wait_until};
use crate::swap::{UNTIL_UP, end, name, said, swaps};

const ROUTER: &str = "--left 10.0.0.1/24 --right 10.0.1.1/24 --forward";
const CLIENT: &str = "--right 10.0.0.2/24 --gateway 10.0.0.1";
const SERVER: &str = "--left 10.0.1.2/24 --gateway 10.0.1.1";

/// Each time a neighbour on the new interface talks to it and, through the router, to another one;
/// so does one that was there before, and one by a FIFO each way.
#[test]
fn a_router_gets_a_third_network_and_loses_it_again() {
    need_functions!("bash", "ping", "ip");
    let scene = Scene::new();
    let (c, r, n) = (name("lc"), name("lr"), name("ln"));
    let script = format!(
        r#"{UNTIL_UP}
        gone() {{ while stdpkt exec {r} -- ip link show dev dmz >/dev/null 2>&1; do sleep 0.05; done; }}
        stdpkt run --name {c} {CLIENT} -- sh -c '
            until ping -q -c1 -W1 10.0.1.2; do :; done >/dev/null
            ping -q -i 0.01 -c 300 10.0.1.2 > pinged; until [ -e done ]; do sleep 0.05; done' \
        | stdpkt run --name {r} {ROUTER} | stdpkt run {SERVER} & chain=$!
        up {r}
        mkfifo f rx tx
        for at in "f f" "f f" "rx:tx tx:rx"; do set -- $at
            stdpkt link {r} dmz,at=$1,ip=10.0.2.1/24,ip=fd00:2::1/64 || exit
            stdpkt run --name {n} --link l,at=$2,ip=10.0.2.2/24,ip=fd00:2::2/64 --gateway 10.0.2.1 -- sh -c '
                for a in 10.0.2.1 fd00:2::1 10.0.0.2 10.0.1.2; do until ping -q -c1 -W1 $a >/dev/null; do :; done; echo $a answers; done
                touch answered; sleep 60' & new=$!
            until [ -e answered ]; do kill -0 $new || exit; sleep 0.05; done; rm answered
            stdpkt unlink {r} dmz || exit
            stdpkt exec {r} -- ip link show dev dmz >/dev/null 2>&1 && echo still there
            kill $new; wait $new
        done
        # Who was there first finds it as soon.
        stdpkt run --name {n} --link l,at=f,ip=10.0.2.2/24 -- sh -c 'until ping -q -c1 -W1 10.0.2.1 >/dev/null; do :; done; echo found' & new=$!
        stdpkt link {r} dmz,at=f,ip=10.0.2.1/24 || exit
        wait $new
        # It is like the others: whoever takes the function's place has to have it.
        stdpkt swap {r} -- stdpkt run --name {r} {ROUTER} 2>without; echo without $?
        stdpkt swap {r} -- stdpkt run --name {r} {ROUTER} --link dmz,at=f,ip=10.0.2.1/24; echo with $?
        stdpkt unlink {r} dmz; echo unlinked $?
        touch done; wait $chain; echo chain $?; cat pinged without"#
    );
    let run = end(scene.start_in(&["bash"], &script));
    for line in ["found", "without 125", "with 0", "unlinked 0", "chain 0"] {
        said(&run, line);
    }
    for address in ["10.0.2.1", "fd00:2::1", "10.0.0.2", "10.0.1.2"] {
        let count = run.out.lines().filter(|line| *line == format!("{address} answers")).count();
        assert_eq!(count, 3, "{address}: {run:#?}");
    }
    assert!(!run.out.contains("still there"), "{run:#?}");
    assert!(run.out.contains("300 received, 0% packet loss"), "{run:#?}");
    assert!(run.out.contains("f: the new function has no interface there"), "{run:#?}");
    scene.assert_nothing_left();
}

#[test]
fn a_switch_gets_a_port() {
    need_functions!("bash", "ping", "ip");
    let scene = Scene::new();
    let (b, n) = (name("lb"), swaps());
    let script = format!(
        r#"mkfifo f g h
        stdpkt run --link l,at=f,ip=10.0.0.1/24 & one=$!
        stdpkt run --name {b} --bridge --link one,at=f & two=$!
        until stdpkt ls {b} 2>/dev/null | grep -q ring; do sleep 0.05; done
        for i in $(seq {n}); do
            stdpkt link {b} port,at=g || exit
            stdpkt run --link l,at=g,ip=10.0.0.2/24 -- sh -c 'until ping -q -c1 -W1 10.0.0.1 >/dev/null; do :; done; echo through' || exit
            stdpkt unlink {b} port || exit
        done
        stdpkt link {b} port,at=g,ip=10.0.0.9/24
        kill $one $two; wait"#
    );
    let run = end(scene.start_in(&["bash"], &script));
    assert_eq!(run.out.matches("through").count(), n as usize, "{run:#?}");
    assert!(run.err.contains("port would be a port of it: leave the address out"), "{run:#?}");
    scene.assert_nothing_left();
}

#[test]
fn what_cannot_be_linked_or_unlinked_changes_nothing() {
    need_functions!("bash", "ping", "ip", "libpcap");
    let scene = Scene::new();
    let [c, r, t, f, one, two] = ["mc", "mr", "mt", "mf", "m1", "m2"].map(name);
    let [held] = ["mh"].map(name);
    let play = scene.start_in(
        &["bash"],
        &format!(
            "mkfifo free used lonely waits
             stdpkt run --name {one} --link l,at=used,ip=10.9.0.1/24 &
             stdpkt run --name {two} --link l,at=used,ip=10.9.0.2/24 &
             stdpkt run --name {held} --restart --link l,at=lonely,ip=10.9.0.1/24 -- sleep 600 &
             stdpkt run --name {c} {CLIENT} -- sh -c 'sleep 600; :' | stdpkt tee --name {t} t.pcap \
             | stdpkt run --name {r} {ROUTER} --link w,at=waits | stdpkt filter --name {f} ip or arp | stdpkt run {SERVER}"
        ),
    );
    let links = |of: &str| scene.sh(&format!("stdpkt ls {of}")).out.matches("ring").count();
    let up = || {
        links(&r) == 4
            && links(&one) == 2
            && scene.sh(&format!("stdpkt ls {held}")).out.contains("waiting")
    };
    wait_until(SOON, || if up() { Ok(()) } else { Err(scene.everything_said()) });
    for (how, part) in [
        ("link nobody-here x,at=free".to_owned(), "no function is called nobody-here"),
        (format!("link {r} x,at=nofifo"), "make it with `mkfifo nofifo`"),
        (format!("link {r} x,at=/etc/passwd"), "is a plain file"),
        (format!("link {r} x"), "at=PATH is missing"),
        (format!("link {r} x,at=free:free"), "is one FIFO: write at=free"),
        (format!("link {r} x,at=frames:unix:s"), "put `stdpkt join frames:unix:s`"),
        (format!("link {r} left,at=free"), "interface left exists already"),
        (format!("link {r} w,at=free"), "interface w exists already"),
        (format!("link {r} a/b,at=free"), "interface name `a/b`"),
        (format!("link {r} x,at=free,ip=224.0.0.1/24"), "224.0.0.1/24"),
        (format!("link {r} x,at=free,ip=10.0.5.1"), "ip=10.0.5.1 is no address"),
        (format!("link {r} x,at=waits"), "waits: w is on it already"),
        (format!("link {r} x,at=used"), "used already has a pair of neighbours, m"),
        (format!("link {r} x,at=used:free"), "used already has a reader, m"),
        (format!("link {t} x,at=free"), "the links that it was started with"),
        (format!("link {f} x,at=free"), "the links that it was started with"),
        (format!("link {held} x,at=free"), "it is held (--restart, --idle)"),
        ("unlink nobody-here x".to_owned(), "no function is called nobody-here"),
        (format!("unlink {r} x"), "no interface x: it has left, right, w"),
        (format!("unlink {r} left"), "left is on standard input, with which"),
        (format!("unlink {r} right"), "right is on standard output, with which"),
        (format!("unlink {one} l"), "l is its only interface"),
        (format!("unlink {t} left"), "the links that it was started with"),
        (format!("unlink {held} l"), "it is held (--restart, --idle)"),
    ] {
        let refused = scene.sh(&format!("stdpkt {how}"));
        assert_eq!(refused.status, 125, "{how}: {refused:?}");
        assert!(refused.only_line().contains(part), "{how}: {part}: {refused:?}");
        assert_eq!(links(&r), 4, "{how}");
    }
    assert!(up());
    let devices = scene.sh(&format!("stdpkt exec {r} -- ip -br link | cut -d' ' -f1 | sort")).out;
    assert_eq!(devices.split_whitespace().collect::<Vec<_>>(), ["left", "lo", "right", "w"]);
    play.signal_group(Signal::INT);
    play.end();
    scene.assert_nothing_left();
}

/// A third one at a FIFO whose two ends are found to be taken only when it asks.
#[test]
fn an_interface_that_comes_too_late_for_its_fifo_goes_and_the_function_stays() {
    need_functions!("bash", "ping", "ip");
    let scene = Scene::new();
    let (r, one, two) = (name("tr"), name("t1"), name("t2"));
    let play = scene.start_in(
        &["bash"],
        &format!(
            "mkfifo f g; stdpkt run --name {r} --link l,at=g,ip=10.0.0.1/24 -- sleep 60 &
             stdpkt run --link l,at=g,ip=10.0.0.2/24 &
             stdpkt run --name {one} --channel fifo --link l,at=f,ip=10.9.0.1/24 &
             stdpkt run --name {two} --channel fifo --link l,at=f,ip=10.9.0.2/24 & wait"
        ),
    );
    let shows = |of: &str, what: &str| scene.sh(&format!("stdpkt ls {of}")).out.contains(what);
    wait_until(SOON, || match shows(&one, " pipe ") && shows(&r, " ring ") {
        true => Ok(()),
        false => Err(scene.everything_said()),
    });
    scene.sh(&format!("stdpkt link {r} x,at=f"));
    wait_until(SOON, || match scene.everything_said() {
        said if said.contains("the interface is taken away") => Ok(()),
        said => Err(said),
    });
    let devices = scene.sh(&format!("stdpkt exec {r} -- ip -br link | cut -d' ' -f1 | sort")).out;
    assert_eq!(devices.split_whitespace().collect::<Vec<_>>(), ["l", "lo"]);
    assert!(shows(&r, " ring "));
    play.end_all();
}

/// Both are asked for before the function looks at its door again.
#[test]
fn an_interface_that_goes_at_once_takes_nothing_along() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let (c, r) = (name("oc"), name("or"));
    let script = format!(
        r#"{UNTIL_UP}
        stdpkt run --name {c} {CLIENT} -- sh -c '
            until [ -e asked ]; do sleep 0.02; done; ping -q -c 3 -i 0.1 10.0.1.2' \
        | stdpkt run --name {r} {ROUTER} | stdpkt run {SERVER} & chain=$!
        up {r}; mkfifo f
        pid=$(stdpkt ls {r} | sed -n "s/^ *\([0-9]*\):left {r} .*/\1/p" | head -n 1)
        kill -STOP $pid
        stdpkt link {r} dmz,at=f,ip=10.0.2.1/24 & link=$!; sleep 0.5
        stdpkt unlink {r} dmz & unlink=$!; sleep 0.5
        kill -CONT $pid
        wait $link; echo linked $?; wait $unlink; echo unlinked $?
        touch asked; wait $chain; echo chain $?"#
    );
    let run = end(scene.start_in(&["bash"], &script));
    for line in ["linked 0", "unlinked 0", "chain 0"] {
        said(&run, line);
    }
    assert!(run.err.contains(" 0% packet loss"), "{run:#?}");
    scene.assert_nothing_left();
}

//! LKL functions that take the place of a running one, or go between two.

use rustix::process::Signal;

use crate::lkl::scene;
use crate::support::need::{need, need_functions};
use crate::support::{SOON, wait_until};
use crate::swap::{RECEIVE, STREAM, UNTIL_UP, end, name, said};

const CLIENT: &str = "--right 10.0.0.2/24 --gateway 10.0.0.1";
const ROUTER: &str = "--left 10.0.0.1/24 --right 10.0.1.1/24 --forward";
const SERVER: &str = "--left 10.0.1.2/24 --gateway 10.0.1.1";
const LKL: &str = "stdpkt run --stack lkl";
/// Leads to no LKL, which is found out when its program runs.
const NO_LKL: &str = "mkdir -p none/lib/hijack; touch none/lib/hijack/liblkl-hijack.so";

/// No ping is lost, the client finds its router at the same Ethernet address, and the rules are there:
/// the server answers without a route to the client.
#[test]
fn an_lkl_router_takes_over_under_pings() {
    need_functions!("LKL_DIR", "bash", "ping", "ip", "nft");
    let scene = scene();
    let r = name("lr");
    let nat = "--setup 'nft add table ip nat' \
         --setup 'nft add chain ip nat post { type nat hook postrouting priority 100 ; }' \
         --setup 'nft add rule ip nat post oifname eth1 masquerade'";
    let script = format!(
        r#"{UNTIL_UP}
        stdpkt run {CLIENT} -- sh -c '
            ping -q -i 0.01 -c 200 10.0.1.2 > pinged; until [ -e no.route ]; do sleep 0.05; done
            ping -q -i 0.01 -c 20 10.0.1.2 >> pinged; ip neighbour show dev right > neighbours' \
        | stdpkt run --name {r} {ROUTER} \
        | stdpkt run {SERVER} -- sh -c '
            until [ -e swapped ]; do sleep 0.05; done; until [ -s pinged ]; do sleep 0.05; done; ip route del default; touch no.route
            until [ -e neighbours ]; do sleep 0.05; done' & chain=$!
        up {r}
        stdpkt swap {r} -- {LKL} --name {r} {ROUTER} {nat}; echo swapped $?
        touch swapped
        wait $chain; echo chain $?
        cat pinged neighbours"#
    );
    let run = end(scene.start_in(&["bash"], &script));
    said(&run, "swapped 0");
    said(&run, "chain 0");
    for count in [200, 20] {
        let all = format!("{count} packets transmitted, {count} received, 0% packet loss");
        assert!(run.out.contains(&all), "{run:#?}");
    }
    assert!(run.out.contains("10.0.0.1 lladdr 02:72:0a:00:00:01"), "{run:#?}");
    scene.assert_nothing_left();
}

/// The links carry whole TSO frames of both kinds, of which its kernel was told of one only.
#[test]
fn an_lkl_router_takes_over_under_tcp_connections_of_both_families() {
    need_functions!("LKL_DIR", "bash", "ping", "socat");
    let of_ipv6 = |text: &str| {
        let text = text.replace("10.0.0.", "fd00::").replace("10.0.1.", "fd00:1::");
        text.replace("/24", "/64")
    };
    for ipv6 in [false, true] {
        let scene = scene();
        let r = name("ls");
        let script = format!(
            r#"{UNTIL_UP}
            stdpkt run {CLIENT} -- sh -c '
                until ping -q -c1 -W1 10.0.1.2; do :; done; {STREAM} | socat -u - TCP:[10.0.1.2]:5000; echo $? > status' \
            | stdpkt run --name {r} {ROUTER} | stdpkt run {SERVER} -- sh -c '{RECEIVE}' & chain=$!
            up {r}
            until [ -e streaming ]; do kill -0 $chain || exit; sleep 0.05; done
            stdpkt swap {r} -- {LKL} --name {r} {ROUTER}; echo swapped $?
            sleep 0.5; touch changed
            wait $chain; echo stream $(cat status)
            cmp sent got && echo all arrived"#
        );
        let script = match ipv6 {
            true => of_ipv6(&script).replace("TCP-LISTEN", "TCP6-LISTEN"),
            false => script.replace("[10.0.1.2]", "10.0.1.2"),
        };
        let run = end(scene.start_in(&["bash"], &script));
        for line in ["swapped 0", "stream 0", "all arrived"] {
            said(&run, line);
        }
        scene.assert_nothing_left();
    }
}

/// The shell knows the old process only. Signals to it go to CMD, whose status is the shell's.
#[test]
fn the_shell_sees_the_end_of_the_lkl_function_that_took_over() {
    need_functions!("LKL_DIR", "bash", "ping");
    for (how, status) in [("kill $old", 143), ("kill -9 $new", 137), ("kill -9 $old", 137)] {
        let scene = scene();
        let s = name("le");
        let interface = "--link l,at=f,ip=10.0.0.2/24";
        let run = scene
            .start_in(
                &["bash"],
                &format!(
                    r#"
                    mkfifo f
                    stdpkt run --link l,at=f,ip=10.0.0.1/24 -- sh -c '
                        until ping -q -c1 -W1 10.0.0.2; do :; done; touch up
                        until [ -e swapped ]; do sleep 0.05; done
                        until ping -q -c1 -W1 10.0.0.2; do :; done; touch again; sleep 60' & one=$!
                    stdpkt run --name {s} {interface} & old=$!
                    until [ -e up ]; do sleep 0.05; done
                    stdpkt swap {s} -- {LKL} --name {s} {interface} -- sleep 1000; echo swapped $?
                    touch swapped
                    until [ -e again ]; do sleep 0.05; done
                    new=$(stdpkt ls {s} | sed -n 's/^ *\([0-9]*\):[^ ]* {s} .*/\1/p' | head -n 1)
                    {how}
                    wait $old; echo ended $?
                    kill $one; wait
                    while kill -0 $new; do sleep 0.05; done"#
                ),
            )
            .end();
        said(&run, "swapped 0");
        said(&run, &format!("ended {status}"));
        scene.assert_nothing_left();
    }
}

/// Two hosts that see each other only by the router that is put between them; it ends with either.
#[test]
fn an_lkl_router_goes_between_two_hosts_and_ends_with_them() {
    need_functions!("LKL_DIR", "bash", "ping");
    for between in ["lic:right", "lis:left"] {
        let scene = scene();
        let (c, s, r) = (name("lic"), name("lis"), name("lir"));
        let between = between.replace("lic", &c).replace("lis", &s);
        let run = scene
            .start_in(
                &["bash"],
                &format!(
                    r#"{UNTIL_UP}
                    stdpkt run --name {c} {CLIENT} -- sh -c 'until ping -q -c1 -W1 10.0.1.2; do :; done; touch up' \
                    | stdpkt run --name {s} {SERVER} & chain=$!
                    until stdpkt ls {c} 2>/dev/null | grep -q ring; do sleep 0.05; done
                    stdpkt insert {between} -- {LKL} --name {r} {ROUTER}; echo put in $?
                    wait $chain; echo chain $?
                    [ -e up ] && echo up
                    while stdpkt ls {r} 2>/dev/null | grep -q " {r} "; do sleep 0.02; done"#
                ),
            )
            .end();
        for line in ["put in 0", "chain 0", "up"] {
            said(&run, line);
        }
        scene.assert_nothing_left();
    }
}

/// It sees the end of its pipe, which is not that of its link.
#[test]
fn an_lkl_function_lives_on_when_its_neighbour_is_taken_out() {
    need_functions!("LKL_DIR", "bash", "ping");
    let scene = scene();
    let t = name("lt");
    let run = scene
        .start_in(
            &["bash"],
            &format!(
                r#"{UNTIL_UP}
                stdpkt run --right 10.0.0.2/24 -- sh -c '
                    until ping -q -c1 -W1 10.0.0.1; do :; done; touch up; until [ -e removed ]; do sleep 0.05; done
                    sleep 0.5; ping -q -c3 -i0.1 -W5 10.0.0.1 > pinged' \
                | stdpkt tee --name {t} t.pcap | {LKL} --left 10.0.0.1/24 & chain=$!
                up {t}; until [ -e up ]; do sleep 0.05; done
                stdpkt remove {t}; echo removed $?; touch removed
                wait $chain; echo chain $?; cat pinged"#
            ),
        )
        .end();
    for line in ["removed 0", "chain 0"] {
        said(&run, line);
    }
    assert!(run.out.contains(" 3 received, 0% packet loss"), "{run:#?}");
    scene.assert_nothing_left();
}

/// Without an LKL, too.
#[test]
fn an_lkl_function_that_does_not_take_over_changes_nothing() {
    need_functions!("bash", "ping");
    let scene = scene();
    let r = name("lx");
    let play = scene.start_in(
        &["bash"],
        &format!(
            "{NO_LKL}; stdpkt run {CLIENT} -- ping -q -i 0.2 10.0.1.2 | stdpkt run --name {r} {ROUTER} | stdpkt run {SERVER}"
        ),
    );
    let up = || scene.sh(&format!("stdpkt ls {r}")).out.matches("ring").count() >= 4;
    wait_until(SOON, || if up() { Ok(()) } else { Err("no links".to_owned()) });
    let none = format!("{LKL} --lkl none");
    for (how, part) in [
        (format!("--timeout 0.5 {r} -- {none} {ROUTER}"), "was not set up in 0.5 seconds"),
        (format!("{r} -- {none} {ROUTER} -- true"), "CMD ended with status 0 before"),
        (
            format!("{r} -- {none} {ROUTER} -- sh -c 'kill -9 $$'"),
            "CMD ended with status 137 before",
        ),
        (format!("{r} -- {none} {ROUTER} -- no-such-program"), "no-such-program"),
        (format!("{r} -- {none} {ROUTER} --setup 'ip link'"), "nft"),
        (format!("{r} -- {LKL} --lkl /nonexistent {ROUTER}"), "/nonexistent"),
    ] {
        let refused = scene.sh(&format!("stdpkt swap {how}"));
        assert_eq!(refused.status, 125, "{how}: {refused:?}");
        // The dynamic linker has its own to say of what is no library.
        let mut lines: Vec<_> = refused.err.lines().filter(|it| !it.contains("ld.so")).collect();
        assert!(lines.pop().is_some_and(|it| it.contains(part)), "{how}: {refused:?}");
        assert!(lines.is_empty() && up(), "{how}: {refused:?}");
    }
    play.signal_group(Signal::INT);
    play.end();
    scene.assert_nothing_left();
}

/// What the other function would have to give is asked of an LKL that runs.
#[test]
fn an_lkl_function_with_other_interfaces_or_with_state_changes_nothing() {
    need_functions!("LKL_DIR", "bash", "ping");
    let scene = scene();
    let r = name("ly");
    let play = scene.start_in(
        &["bash"],
        &format!("stdpkt run {CLIENT} | stdpkt run --name {r} {ROUTER} | stdpkt run {SERVER}"),
    );
    let up = || scene.sh(&format!("stdpkt ls {r}")).out.matches("ring").count() >= 4;
    wait_until(SOON, || if up() { Ok(()) } else { Err("no links".to_owned()) });
    for (how, part) in [
        (format!("{r} -- {LKL} --left 10.0.0.1/24"), "no interface there"),
        (
            format!("--state 'echo x => cat' {r} -- {LKL} {ROUTER}"),
            "which no other program can enter",
        ),
    ] {
        let refused = scene.sh(&format!("stdpkt swap {how}"));
        assert_eq!(refused.status, 125, "{how}: {refused:?}");
        assert!(refused.only_line().contains(part) && up(), "{how}: {refused:?}");
    }
    // It is no giver of links itself.
    assert_eq!(scene.sh(&format!("stdpkt swap {r} -- {LKL} --name {r} {ROUTER}")).status, 0);
    let refused = scene.sh(&format!("stdpkt swap {r} -- stdpkt run {ROUTER}"));
    assert!(refused.only_line().contains("its links stay with it"), "{refused:?}");
    play.signal_group(Signal::INT);
    play.end();
    scene.assert_nothing_left();
}

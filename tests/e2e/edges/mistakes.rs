//! What is no edge, no end of a link, not there or not this user's: one line each.

use super::said;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

/// Each is given for each other, on either side. Captures are told apart by themselves.
#[test]
fn formats_that_are_mixed_up_are_told() {
    need_functions!("bash", "ping");
    const CAPTURES: [&str; 3] = ["pcap", "pcapng", "hex"];
    let formats = ["frames", "qemu", "vde"].into_iter().chain(CAPTURES);
    for one in formats.clone() {
        let scene = Scene::new();
        let others: Vec<&str> = formats.clone().filter(|other| *other != one).collect();
        let outcome = scene.start_in(
            &["bash"],
            &format!(
                "pair() {{
                     stdpkt run --left 10.0.0.2/24,at={one}:unix:$1 -- sleep 1000 2>left.$1 & local left=$!
                     until [ -S $1 ]; do sleep 0.05; done
                     stdpkt run --right 10.0.0.1/24,at=$1:unix:$1 \
                         -- sh -c 'until ping -q -c1 -W1 10.0.0.2; do :; done' >$1.ping 2>right.$1 & local right=$!
                     until [ -s left.$1 ] || [ -s right.$1 ] || grep -q ' 0%' $1.ping; do sleep 0.1; done
                     kill $left $right; wait $left $right
                 }}
                 for other in {}; do pair $other & pairs+=($!); done; wait ${{pairs[@]}}",
                others.join(" ")
            ),
        );
        outcome.end();
        let read = |name: String| std::fs::read_to_string(scene.path(&name)).expect("scene");
        for other in others {
            let said =
                format!("{}{}", read(format!("left.{other}")), read(format!("right.{other}")));
            if CAPTURES.contains(&one) && CAPTURES.contains(&other) {
                assert!(
                    read(format!("{other}.ping")).contains(" 0% packet loss"),
                    "{one}, {other}: {said}"
                );
                continue;
            }
            let told = said.lines().find(|line| line.contains(&format!("unix:{other}")));
            assert!(
                told.is_some_and(|line| line.contains("format") || line.contains("write")),
                "{one}, {other}: {said}"
            );
        }
        scene.assert_nothing_left();
    }
}

/// A socket that keeps messages apart, and one that does not.
#[test]
fn messages_and_byte_streams_that_are_mixed_up_are_told() {
    need_functions!("bash");
    for stream in ["frames", "qemu", "vde", "pcap", "pcapng", "hex"] {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "for pair in 'packet {stream}' '{stream} packet'; do
                 set -- $pair
                 stdpkt run --left none,at=$1:unix:s -- sleep 1000 & other=$!
                 until [ -S s ]; do sleep 0.05; done
                 stdpkt run --right none,at=$2:unix:s -- true; echo $?
                 kill $other; wait
             done"
        ));
        assert_eq!(outcome.out, "125\n125\n", "{stream}: {outcome:?}");
        let told = outcome.err.matches("choose the format for it").count();
        assert_eq!(told, 2, "{stream}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn a_program_that_is_no_end_of_a_link_is_told() {
    need_functions!("ping");
    for (command, status, line) in [
        ("echo hello, this is text", 125, "it says \"hello, this is text"),
        ("printf '\\052\\000\\000\\000half'", 125, "within a frame: 4 bytes of 42"),
        ("true", 125, "true ended before it got or wrote a frame"),
        ("false", 1, "false ended with status 1"),
        ("sh -c 'kill -9 $$'", 137, "sh ended with status 137, as after signal 9"),
        ("sh -c 'exec <&- sleep 1000'", 143, "sh has closed its standard input"),
        ("sh -c 'exec >&-; cat >/dev/null'", 0, "sh has closed its standard output"),
        ("sh -c 'cat >/dev/null'", 0, "sh has written nothing in the 3 s since it got a frame"),
        (
            "sh -c 'echo hi; cat >/dev/null'",
            0,
            "no more for 3 s, within the length of a frame: 3 bytes of 4; there it says \"hi\\n\"",
        ),
        ("no-such-program", 127, "no-such-program"),
    ] {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "stdpkt run --right 10.0.0.1/24 -- ping -q -i0.2 -w5 10.0.0.2 2>/dev/null | stdpkt join --left frames -- {command}"
        ));
        assert_eq!(outcome.status, status, "{command}: {outcome:?}");
        let told = outcome.err.lines().filter(|told| told.starts_with("stdpkt: ")).count();
        assert!(outcome.err.contains(line) && told == 1, "{command}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

/// As one behind a slow network.
#[test]
fn a_program_that_writes_a_frame_slowly_is_not_told() {
    need_functions!("ping");
    let scene = Scene::new();
    let outcome = scene.sh("stdpkt run --right 10.0.0.1/24 -- ping -q -i0.2 -w5 10.0.0.2 2>/dev/null \
         | stdpkt join frames -- sh -c 'printf \"\\100\\0\\0\\0\"; while :; do printf \"\\0\"; sleep 0.5; done'");
    assert!(!outcome.err.contains("has written no more"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn packets_that_are_too_long_for_a_format_are_told_once() {
    need_functions!("ping");
    let scene = Scene::new();
    let outcome = scene.sh("stdpkt run --mtu 20000 --right 10.0.0.1/24 -- sh -c '
             ping -q -c2 -i0.1 -W5 10.0.0.2; ping -q -c3 -i0.1 -W0.1 -s 15000 10.0.0.2' \
         | stdpkt join vde -- stdpkt run --mtu 20000 --left 10.0.0.2/24,at=vde:stdio");
    assert!(said(&outcome).contains(" 0% packet loss"), "{outcome:?}");
    let line = "a packet of 15042 bytes is longer than the format vde has (9234), and is lost";
    assert_eq!(outcome.err.matches(line).count(), 1, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_place_where_nobody_comes_is_told_once() {
    need_functions!("ping");
    for (edge, line) in [
        ("qemu:unix:s", "stdpkt: nobody connects to unix:s: frames are dropped"),
        ("packet:unix:s", "stdpkt: nobody connects to unix:s: frames are dropped"),
        ("packet:dgram:s:nope", "stdpkt: nobody receives at nope: frames are dropped"),
    ] {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "stdpkt run --right 10.0.0.1/24 -- ping -q -i0.2 -w3 10.0.0.2 2>/dev/null | stdpkt join {edge}"
        ));
        let told = outcome.err.lines().filter(|told| told.starts_with(line)).count();
        assert_eq!(told, 1, "{edge}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn a_program_that_never_reads_holds_nobody_up() {
    need_functions!("ping", "dd", "ip");
    let scene = Scene::new();
    // It takes no frame, and its pipe is soon full: the sender goes on all the same.
    let outcome = scene.sh("stdpkt run --right 10.0.0.1/24 -- sh -c '
             ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev right
             for n in $(seq 40); do ping -q -c1 -W0.05 -s 60000 10.0.0.2; done; sleep 1.5
             ping -q -c3 -W0.05 -s 60000 10.0.0.2' \
         | stdpkt join --left frames -- sleep 1000");
    assert!(outcome.err.contains("takes nothing for 1 s"), "{outcome:?}");
    scene.assert_nothing_left();
}

/// As nobody, in a namespace that stands for the host.
#[test]
fn what_is_not_there_or_not_this_users_is_named() {
    need_functions!("root", "user namespaces", "unshare", "ip", "setpriv");
    let scene = Scene::new();
    let table = [
        ("--netns 1 --right none", "may not be opened: it belongs to another user"),
        ("--netns x --right none", "may not be entered: run as its owner"),
        ("--netns nope --right none", "/run/netns/nope is not there"),
        ("--netns /etc/passwd --right none", "is no network namespace"),
        ("--netns 4194999 --right none", "there is no such process"),
        ("--netns host --right none", "may not change that namespace: run as root"),
        ("--left none,at=tap:t1", "tap:t1 is another user's"),
        ("--left none,at=tap:lo", "tap:lo is no TAP"),
        (
            "--left none,at=tap:t9",
            "tap:t9 is not there: have root run `ip tuntap add t9 mode tap user nobody`",
        ),
        ("--left none,at=qemu:unix:/nowhere/s", "the directory is not there"),
        ("--left none,at=qemu:unix:plain", "is no socket"),
        (
            "--left none,at=qemu:unix:closed/s",
            "nothing may be made in this directory: name another path",
        ),
        (
            "--left none,at=packet:dgram:closed/r:x",
            "nothing may be made in this directory: name another path",
        ),
        ("--left none,at=qemu:fd:77", "fd:77 is not open"),
        ("--left none,at=packet:fd:0", "fd:0 is no socket"),
    ];
    let lines: String = table.iter().map(|(options, _)| format!("try {options}\n")).collect();
    let script = format!(
        "umask 0; mknod tun c 10 200; mount --bind tun /dev/net/tun; cp -L bin/stdpkt .; chmod 755 .; echo >plain; mkdir -m 755 closed
         mount -t tmpfs none /run; mkdir /run/netns; touch /run/netns/x; mount --bind /proc/self/ns/net /run/netns/x
         ip tuntap add t1 mode tap user 1000
         try() {{ setpriv --reuid=65534 --regid=65534 --clear-groups env -u SHMRING_RUNTIME_DIR ./stdpkt run \"$@\" -- true 2>err | cat; status=${{PIPESTATUS[0]}}; cat err; echo $status; }}
         {lines}"
    );
    std::fs::write(scene.path("host"), script).expect("scene");
    let outcome = scene.sh("exec unshare -n -m bash host");
    let said: Vec<&str> = outcome.out.lines().collect();
    assert_eq!(said.len(), 2 * table.len(), "{outcome:?}");
    for ((options, part), said) in table.iter().zip(said.chunks(2)) {
        assert!(said[0].contains(part) && said[1] == "125", "{options}: {said:?}");
    }
    scene.assert_nothing_left();
}

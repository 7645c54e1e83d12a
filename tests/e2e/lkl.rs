//! LKL functions, with a real LKL: by preloading one library before an
//! unmodified LKL, and by `stdpkt run --stack lkl`, alone and next to netns.

use std::fs;

use rustix::process::Signal;

use crate::support::need::need;
use crate::support::scene::{Outcome, Scene, stdpkt};
use crate::support::{SOON, wait_until};

const LIBRARY: &str = "liblkl_netdev_preload.so";

/// A scene where `stdpkt` lies next to the library, as after an installation.
pub fn scene() -> Scene {
    let scene = Scene::new();
    let built = std::env::current_exe().expect("/proc/self/exe").with_file_name(LIBRARY);
    fs::copy(built, scene.path("bin").join(LIBRARY)).expect("cargo built the library");
    fs::remove_file(scene.path("bin/stdpkt")).expect("scene");
    fs::copy(stdpkt(), scene.path("bin/stdpkt")).expect("scene");
    scene
}

/// Runs a pipeline in which `LKL` stands for `stdpkt run --stack lkl`.
pub fn chain(pipeline: &str) -> (Vec<i32>, Outcome) {
    let scene = scene();
    let result = scene.pipeline(&pipeline.replace("LKL", "stdpkt run --stack lkl"));
    scene.assert_nothing_left();
    result
}

fn replies(outcome: &Outcome, from: &str) -> usize {
    outcome.err.matches(&format!("bytes from {from}: icmp_seq=")).count()
}

#[track_caller]
fn answers(pipeline: &str, from: &str) {
    let (statuses, outcome) = chain(pipeline);
    assert_eq!(statuses[0], 0, "{outcome:?}");
    assert_eq!(replies(&outcome, from), 3, "{outcome:?}");
    assert!(statuses[1..].iter().all(|&status| status == 0), "{statuses:?} {outcome:?}");
}

#[test]
fn two_lkl_functions_ping() {
    need!("LKL_DIR", "namespaces", "bash", "ping");
    answers(
        "LKL --right 10.0.0.1/24 -- ping -c3 -i0.2 10.0.0.2 | LKL --left 10.0.0.2/24",
        "10.0.0.2",
    );
    answers("LKL --right fd00::1/64 -- ping -c3 -i0.2 fd00::2 | LKL --left fd00::2/64", "fd00::2");
}

#[test]
fn a_bad_cable_is_as_bad_between_lkl_functions() {
    need!("LKL_DIR", "namespaces", "bash", "ping");
    let (_, outcome) = chain(
        "LKL --right 10.0.0.1/24 -- ping -c3 -i0.2 10.0.0.2 | stdpkt wire --delay 30ms \
         | LKL --left 10.0.0.2/24",
    );
    assert_eq!(replies(&outcome, "10.0.0.2"), 3, "{outcome:?}");
    let times = outcome.err.split("time=").skip(1).filter_map(|it| it.split(' ').next());
    let times: Vec<f64> = times.filter_map(|it| it.parse().ok()).collect();
    assert!(times.len() == 3 && times.iter().all(|ms| *ms >= 60.0), "{outcome:?}");
}

#[test]
fn an_lkl_function_has_a_neighbour_with_another_stack() {
    need!("LKL_DIR", "namespaces", "/dev/net/tun", "bash", "ping");
    let ends = ["--right 10.0.0.1/24 -- ping -c3 -i0.2 10.0.0.2", "--left 10.0.0.2/24"];
    answers(&format!("LKL {} | stdpkt run {}", ends[0], ends[1]), "10.0.0.2");
    answers(&format!("stdpkt run {} | LKL {}", ends[0], ends[1]), "10.0.0.2");
}

#[test]
fn an_lkl_function_has_the_same_ethernet_address_each_time() {
    need!("LKL_DIR", "namespaces", "/dev/net/tun", "bash", "ping", "ip");
    // Its neighbours remember it: whoever replaces a function must answer to it.
    let (_, outcome) = chain(
        "stdpkt run --right 10.0.0.1/24 -- sh -c 'ping -c1 10.0.0.2 && ip neighbour' \
         | LKL --left 10.0.0.2/24",
    );
    assert!(outcome.err.contains("lladdr 02:72:0a:00:00:02"), "{outcome:?}");
}

#[test]
fn a_fork_of_cmd_ends_and_leaves_the_link_alone() {
    need!("LKL_DIR", "namespaces", "bash", "perl");
    // A child that uses no network ends like any other...
    let (statuses, outcome) = chain(
        "LKL --right 10.0.0.1/24 \
           -- perl -e 'if (!fork) { print STDERR \"child\\n\"; exit 3; } wait; exit $? >> 8' \
         | LKL --left 10.0.0.2/24",
    );
    assert_eq!((statuses, &*outcome.err), (vec![3, 0], "child\n"), "{outcome:?}");
    // ...and one that does is told of, and its parent's link is as before.
    let (statuses, outcome) = chain(
        "LKL --right 10.0.0.1/24 -- perl -MSocket -e ' \
           socket S, PF_INET, SOCK_DGRAM, 0; $to = pack_sockaddr_in 9, inet_aton \"10.0.0.2\"; \
           sub all { send S, \"x\", 0, $to or die for 1 .. 500; } \
           all; sleep 1; if (!fork) { all; exit; } wait; all; sleep 1' \
         | LKL --left 10.0.0.2/24",
    );
    assert_eq!(statuses, [0, 0], "{outcome:?}");
    assert!(outcome.err.lines().count() == 1 && outcome.err.contains("is a fork"), "{outcome:?}");
}

/// What its program's threads do not look for is served without them.
#[test]
fn frames_do_not_wait_for_a_program_that_computes() {
    need!("LKL_DIR", "namespaces", "bash", "ping", "perl");
    let (statuses, outcome) = chain(
        "LKL --right 10.0.0.1/24 -- ping -c3 -i0.2 10.0.0.2 \
         | LKL --left 10.0.0.2/24 -- perl -MSocket -e ' \
           socket S, PF_INET, SOCK_DGRAM, 0; $to = pack_sockaddr_in 9, inet_aton \"10.0.0.1\"; \
           send S, \"x\", 0, $to for 1 .. 9; $end = time + 60; 1 while time < $end'",
    );
    assert_eq!((statuses[0], replies(&outcome, "10.0.0.2")), (0, 3), "{outcome:?}");
}

#[test]
fn who_asks_is_told_whether_threads_look() {
    need!("LKL_DIR", "namespaces", "bash", "ping");
    let ping = "-- ping -c3 -i0.2 10.0.0.2 | LKL --left 10.0.0.2/24";
    for (look, lines) in [("tell", 2), ("on", 0), ("off", 0)] {
        let (_, outcome) =
            chain(&format!("export STDPKT_LOOK={look}; LKL --right 10.0.0.1/24 {ping}"));
        assert_eq!(replies(&outcome, "10.0.0.2"), 3, "{outcome:?}");
        let told = outcome.err.matches("its kernel runs on the threads that wait for it").count();
        assert_eq!(told, lines, "{look}: {outcome:?}");
    }
}

#[test]
fn an_lkl_kernel_in_the_middle_translates_addresses() {
    need!("LKL_DIR", "namespaces", "/dev/net/tun", "bash", "ping", "nft");
    for ends in ["LKL", "stdpkt run"] {
        answers(
            &format!(
                "{ends} --right 10.0.0.1/24 --gateway 10.0.0.2 -- ping -c3 -i0.2 10.0.1.2 \
                 | LKL --left 10.0.0.2/24 --right 10.0.1.1/24 --forward \
                   --setup 'nft add table ip nat' \
                   --setup 'nft add chain ip nat post {{ type nat hook postrouting priority 100 ; }}' \
                   --setup 'nft add rule ip nat post oifname eth1 masquerade' \
                 | {ends} --left 10.0.1.2/24"
            ),
            "10.0.1.2",
        );
    }
}

/// netperf's figure: the last number of the last line that is all numbers and
/// has so many columns.
fn figure(text: &str, columns: usize) -> Option<f64> {
    let numbers = |line: &str| line.split_whitespace().map(|word| word.parse().ok()).collect();
    let mut lines = text.lines().filter_map(|line| -> Option<Vec<f64>> { numbers(line) });
    lines.rfind(|line| line.len() == columns)?.last().copied()
}

#[test]
fn netperf_runs_over_every_mixture() {
    need!("LKL_DIR", "namespaces", "/dev/net/tun", "bash", "netperf", "netserver");
    let tests = [("TCP_STREAM", 5), ("TCP_RR", 6), ("UDP_STREAM", 4)];
    for (left, right) in [("LKL", "LKL"), ("LKL", "stdpkt run"), ("stdpkt run", "LKL")] {
        for mtu in [1500, 65500] {
            for (test, columns) in tests {
                // The end of UDP_STREAM is a signal that interrupts netserver's
                // recv(2); in LKL, signals interrupt nothing.
                if left == "LKL" && test == "UDP_STREAM" {
                    continue;
                }
                let line = format!(
                    "{left} --mtu {mtu} --right 10.0.0.1/24 -- netserver -D -f -4 -L 10.0.0.1 \
                     | {right} --mtu {mtu} --left 10.0.0.2/24 \
                       -- netperf -4 -H 10.0.0.1 -L 10.0.0.2 -P 0 -t {test} -l 1"
                );
                // netperf asks once, and on a busy machine it may do so before netserver listens.
                let early = |it: &Outcome| it.out.contains("could not establish the control");
                let mut tries = (0..10).map(|_| chain(&line).1);
                let outcome = tries.find(|it| !early(it)).expect("a server that listens");
                let moved = figure(&outcome.out, columns);
                let what = format!("{left} {right} {mtu} {test}");
                assert!(moved.is_some_and(|moved| moved > 0.0), "{what}: {outcome:?}");
            }
        }
    }
}

#[test]
fn netperf_runs_through_a_firewall_of_three_kernels() {
    need!("LKL_DIR", "namespaces", "bash", "netperf", "netserver", "nft");
    let moved = |data_port: u16| {
        let (_, outcome) = chain(&format!(
            "timeout 6 LKL --right 10.0.0.1/24 --gateway 10.0.0.2 \
               -- netperf -4 -H 10.0.1.2 -L 10.0.0.1 -P 0 -l 1 -- -P ,{data_port} \
             | LKL --left 10.0.0.2/24 --right 10.0.1.1/24 --forward \
               --setup 'nft add table ip nat' \
               --setup 'nft add chain ip nat post {{ type nat hook postrouting priority 100 ; }}' \
               --setup 'nft add rule ip nat post oifname eth1 masquerade' \
               --setup 'nft add table ip wall' \
               --setup 'nft add chain ip wall pass {{ type filter hook forward priority 0 ; policy drop ; }}' \
               --setup 'nft add rule ip wall pass ct state established,related accept' \
               --setup 'nft add rule ip wall pass tcp dport {{ 12865, 20000 }} accept' \
             | LKL --left 10.0.1.2/24 -- netserver -D -f -4 -L 10.0.1.2"
        ));
        (figure(&outcome.err, 5), outcome)
    };
    let (open, outcome) = moved(20000);
    assert!(open.is_some_and(|open| open > 0.0), "{outcome:?}");
    let (closed, outcome) = moved(20001);
    assert_eq!(closed, None, "the wall lets another port through: {outcome:?}");
}

#[test]
fn statuses_are_those_of_any_function() {
    need!("LKL_DIR", "namespaces", "bash");
    for (cmd, status) in [("true", 0), ("sh -c 'exit 7'", 7), ("no-such-program", 127)] {
        let (statuses, outcome) =
            chain(&format!("LKL --right 10.0.0.1/24 -- {cmd} | LKL --left 10.0.0.2/24"));
        assert_eq!(statuses, [status, 0], "{outcome:?}");
    }
}

#[test]
fn the_end_of_either_neighbour_ends_a_function() {
    need!("LKL_DIR", "namespaces", "bash");
    let (statuses, outcome) =
        chain("LKL --right 10.0.0.1/24 -- sleep 100 | LKL --left 10.0.0.2/24 -- sleep 0.5");
    assert_eq!(statuses, [143, 0], "{outcome:?}");
    let (statuses, outcome) =
        chain("LKL --right 10.0.0.1/24 -- sleep 0.5 | LKL --left 10.0.0.2/24 -- sleep 100");
    assert_eq!(statuses, [0, 143], "{outcome:?}");
}

/// An LKL configuration of one interface.
fn config(scene: &Scene, name: &str, pipes: &str, number: u32, offload: &str) {
    let text = format!(
        r#"{{"boot_cmdline":"mem=512M","singlecpu":"1","interfaces":[{{"type":"pipe","param":"{pipes}","ip":"10.7.0.{number}","masklen":"24","mtu":"1500","offload":"{offload}"}}]}}"#
    );
    fs::write(scene.path(name), text).expect("scene");
}

/// The words before a program that make it a function of an unmodified LKL.
fn hijacked(config: &str) -> String {
    format!(
        "env LKL_HIJACK_CONFIG_FILE={config} \
         LD_PRELOAD=$PWD/bin/{LIBRARY}:$LKL_DIR/lib/hijack/liblkl-hijack.so"
    )
}

#[test]
fn an_unmodified_configuration_runs_over_rings() {
    need!("LKL_DIR", "bash", "mkfifo", "ping");
    let scene = scene();
    config(&scene, "a.json", "back|/dev/stdout", 1, "0x8883");
    config(&scene, "b.json", "/dev/stdin|back", 2, "0x8883");
    let (a, b) = (hijacked("a.json"), hijacked("b.json"));
    let (statuses, outcome) = scene.pipeline(&format!(
        "mkfifo back; {a} sleep 3 | {{ {b} ping -c3 -i0.2 10.7.0.1; stdpkt ls >/dev/null; }}"
    ));
    assert_eq!(statuses, [0, 0], "{outcome:?}");
    assert_eq!(outcome.out.matches("bytes from 10.7.0.1").count(), 3, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn lkl_functions_have_names() {
    need!("LKL_DIR", "namespaces", "mkfifo", "ping");
    let scene = scene();
    let name = |kind: &str| format!("{kind}-{}", std::process::id());
    let (mine, yours) = (name("mine"), name("yours"));
    config(&scene, "a.json", "f1|f2", 1, "0x8883");
    let a = hijacked("a.json");
    // A name in the environment is for preloaded programs, not for `run`'s CMD.
    let outcome = scene.sh(&format!(
        "mkfifo f1 f2
         STDPKT_NAME=x stdpkt run --stack lkl --name {yours} --link l,at=f2:f1,ip=10.7.0.2/24 & yours=$!
         STDPKT_NAME={mine} {a} ping -c20 -i0.2 10.7.0.2 &
         sleep 2; {{ stdpkt ls --chains; stdpkt ls --json {mine}; }} >seen
         wait $!; echo $?; kill $yours; wait"
    ));
    assert!(
        outcome.out.contains(" 0% packet loss") && outcome.out.ends_with("\n0\n"),
        "{outcome:?}"
    );
    let seen = fs::read_to_string(scene.path("seen")).expect("ls");
    let line = seen.lines().find(|line| line.contains(&mine)).unwrap_or_else(|| panic!("{seen}"));
    assert!(line.contains(&yours), "{seen}");
    assert_eq!(seen.matches(&format!("{yours}[")).count(), 1, "{seen}");
    assert!(seen.contains(&format!(r#""name":"{mine}","command":"ping -c20"#)), "{seen}");
    // Two of `run` have the same process id, each in its own namespace.
    let play = scene.start_sh(&format!(
        "stdpkt run --stack lkl --name {mine} --right 10.0.0.1/24 -- sleep 1000 \
         | stdpkt run --stack lkl --name {yours} --left 10.0.0.2/24"
    ));
    let line = format!(" {yours}[");
    wait_until(SOON, || {
        let seen = scene.sh("stdpkt ls --chains").out;
        let is_it = |it: &str| it.starts_with(&format!("{mine}[")) && it.contains(&line);
        if seen.lines().any(is_it) { Ok(()) } else { Err(seen) }
    });
    play.signal_group(Signal::TERM);
    play.end();
    // A wrong one makes no device.
    let outcome = scene.sh(&format!("STDPKT_NAME='a b' {a} ping -c1 10.7.0.2"));
    assert!(outcome.err.contains("STDPKT_NAME=a b: 1 to 32 letters"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_late_lkl_function_takes_the_capture_in_the_pipe_and_joins_by_ring() {
    need!("LKL_DIR", "namespaces", "/dev/net/tun", "bash", "mkfifo", "ping");
    let scene = scene();
    config(&scene, "b.json", "/dev/stdin|back", 1, "0x8883");
    let b = hijacked("b.json");
    // After 0.1 s stdpkt sees a reader that is not aware, and writes a capture.
    let (statuses, outcome) = scene.pipeline(&format!(
        "mkfifo back; stdpkt run --link a,at=back:/dev/stdout,ip=10.7.0.2/24 \
             -- ping -c20 -i0.2 10.7.0.1 \
         | {{ sleep 1.5; exec {b} sleep 5; }}"
    ));
    assert!(!outcome.err.contains("corrupt"), "{outcome:?}");
    assert_eq!(statuses[0], 0, "{outcome:?}");
    assert!(replies(&outcome, "10.7.0.1") >= 10, "{outcome:?}");
}

#[test]
fn a_neighbour_with_other_offloads_is_named_once() {
    need!("LKL_DIR", "bash", "mkfifo", "ping");
    let scene = scene();
    config(&scene, "a.json", "f1|f2", 1, "0x8883");
    config(&scene, "b.json", "f2|f1", 2, "0");
    let (a, b) = (hijacked("a.json"), hijacked("b.json"));
    let outcome = scene.sh(&format!("mkfifo f1 f2; {a} sleep 2 & {b} ping -c1 10.7.0.1; wait"));
    assert_eq!(outcome.err.matches("give both ends the same offload").count(), 1, "{outcome:?}");
}

#[test]
fn mistakes_are_one_line() {
    need!("LKL_DIR", "bash");
    let refused = |options: &str, words: &[&str]| {
        let scene = scene();
        let script = format!("(stdpkt run {options}; echo $? >status) | cat; exit $(cat status)");
        let outcome = scene.sh(&script);
        assert_eq!(outcome.status, 125, "{options}: {outcome:?}");
        let line = outcome.only_line();
        words.iter().for_each(|word| assert!(line.contains(word), "no `{word}` in: {line}"));
    };
    let lkl = "--stack lkl --right 10.0.0.1/24";
    refused(&format!("{lkl} --lkl /nonexistent"), &["/nonexistent/lib/hijack"]);
    refused(&format!("{lkl} --route 10.1.0.0/16=10.0.0.2"), &["--route", "--gateway"]);
    refused(&format!("{lkl} --setup 'ip link'"), &["--setup", "ip link", "nft"]);
    refused(&format!("{lkl} --setup 'nft list tables' -- true"), &["--setup", "CMD"]);
    refused(&format!("{lkl} --right 10.0.0.3/24"), &["10.0.0.3/24", "one IPv4"]);
    refused("--right 10.0.0.1/24 --lkl /x", &["--lkl", "--stack lkl"]);
}

#[test]
fn mistakes_in_a_configuration_are_one_line() {
    need!("LKL_DIR", "mkfifo");
    let said = |scene: &Scene, words: &[&str]| {
        // LKL itself talks on standard output.
        let outcome = scene.sh(&format!("{} true >/dev/null", hijacked("x.json")));
        let line = outcome.only_line();
        words.iter().for_each(|word| assert!(line.contains(word), "no `{word}` in: {line}"));
    };
    let scene = scene();
    assert_eq!(scene.sh("mkfifo f1 f2; echo >plain").status, 0);
    let pipes = |pipes: &str, offload: &str, words: &[&str]| {
        config(&scene, "x.json", pipes, 1, offload);
        said(&scene, words);
    };
    pipes("f1|none", "0x8883", &["f1|none", "mkfifo"]);
    pipes("plain|f2", "0x8883", &["plain is a plain file", "mkfifo"]);
    pipes("f1|.", "0x8883", &[". is a directory", "mkfifo"]);
    pipes("f1|f2|f1", "0x8883", &["f1|f2|f1", "RX|TX"]);
    pipes("f1|f2", "0x100000", &["offload 0x100000", "no bit 20", "0x8883"]);
    for (text, why) in
        [("no JSON", "line 1"), ("{\"f\":", "line 1"), ("{\"key\":\"x\"}", "not take it")]
    {
        fs::write(scene.path("x.json"), text).expect("scene");
        said(&scene, &["x.json", why, "no LKL", "mend the file"]);
    }
    fs::remove_file(scene.path("x.json")).expect("scene");
    said(&scene, &["x.json", "No such file"]);
}

/// The words before a program that make it a function of an LKL by `stdpkt run`, which
/// sends `bytes` as soon as somebody listens, and ends at once.
fn sender(options: &str, bytes: u32) -> String {
    format!(
        "LKL --right 10.0.0.1/24 {options} -- perl -MSocket -e ' \
           $to = pack_sockaddr_in 99, inet_aton \"10.0.0.2\"; \
           for (1 .. 200) {{ \
             socket S, PF_INET, SOCK_STREAM, 0 or die; \
             setsockopt S, SOL_SOCKET, SO_SNDBUF, 400000; \
             last if connect S, $to; close S; select undef, undef, undef, 0.05; }} \
           $all = \"x\" x {bytes}; \
           while (length $all) {{ $n = syswrite S, $all or die; substr $all, 0, $n, \"\"; }} \
           exit 3'"
    )
}

#[test]
fn what_cmd_sent_last_arrives() {
    need!("LKL_DIR", "namespaces", "/dev/net/tun", "bash", "perl", "socat");
    // The peer is slow: much is left to send when CMD ends.
    let send = sender("", 3_000_000);
    let scene = scene();
    let chain = format!(
        "{send} | stdpkt run --left 10.0.0.2/24 -- socat -u TCP-LISTEN:99,rcvbuf=4096 CREATE:out"
    );
    let (statuses, outcome) = scene.pipeline(&chain.replace("LKL", "stdpkt run --stack lkl"));
    assert_eq!(statuses[0], 3, "{outcome:?}");
    let arrived = fs::metadata(scene.path("out")).expect("socat").len();
    assert_eq!(arrived, 3_000_000, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn what_nobody_takes_is_given_up_and_told() {
    need!("LKL_DIR", "namespaces", "/dev/net/tun", "bash", "perl", "socat");
    let send = sender("--linger 0.5", 200_000);
    let (statuses, outcome) = chain(&format!(
        "{send} | stdpkt run --left 10.0.0.2/24 \
           -- socat -u TCP-LISTEN:99,rcvbuf=4096 SYSTEM:'sleep 1000'"
    ));
    assert_eq!(statuses[0], 3, "{outcome:?}");
    let told = "gave up after 0.5 s without progress: ";
    assert!(outcome.err.contains(told) && outcome.err.contains(" of 1 connection"), "{outcome:?}");
}

#[test]
fn an_lkl_function_gets_no_interface_while_it_runs() {
    need!("LKL_DIR", "namespaces", "bash");
    let scene = scene();
    let play = scene.start_sh(
        "mkfifo f g; stdpkt run --stack lkl --name lkl-fixed --link l,at=f,ip=10.0.0.1/24 -- sleep 60",
    );
    wait_until(SOON, || match scene.sh("stdpkt ls lkl-fixed").out.contains("lkl-fixed") {
        true => Ok(()),
        false => Err(scene.everything_said()),
    });
    for how in ["link lkl-fixed x,at=g", "unlink lkl-fixed l"] {
        let refused = scene.sh(&format!("stdpkt {how}"));
        assert_eq!(refused.status, 125, "{how}: {refused:?}");
        assert!(refused.only_line().contains("interfaces are LKL's"), "{how}: {refused:?}");
    }
    play.end_all();
}

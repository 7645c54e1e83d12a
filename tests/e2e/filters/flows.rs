//! What belongs together stays together, whatever happens to the targets.

use std::collections::BTreeSet;

use super::bash;
use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

/// A scene with `flows.py`.
pub fn scene() -> Scene {
    let scene = Scene::new();
    std::fs::write(scene.path("flows.py"), include_str!("flows.py"))
        .expect("the scene's directory");
    scene
}

/// Runs a script that knows `serve FIFO NAME`, which leaves the pid in `$pid`, and for the
/// client `ready NAME...`, which waits for servers, and `meet HOST NAME...`, which connects
/// until each of them has answered.
pub fn play(scene: &Scene, script: &str) -> Outcome {
    let outcome = bash(
        scene,
        &format!(
            "serve() {{
                 BIND=${{bind-0.0.0.0}} stdpkt run --link l,at=$1,ip=${{ip-10.1.0.2/24}} $options \
                     -- python3 flows.py serve $2 & pid=$!
             }}
             ready() {{ for name; do until [ -e up.$name ]; do sleep 0.05; done; done; }}
             meet() {{
                 host=$1; shift; ready \"$@\"; : > met
                 for name; do
                     until grep -q \" from $name$\" met; do python3 flows.py get $host 8 1 >> met; done
                 done
             }}
             export -f ready meet
             {script}"
        ),
    );
    scene.assert_nothing_left();
    outcome
}

/// The names behind a word.
pub fn names<'a>(outcome: &'a Outcome, word: &str) -> Vec<&'a str> {
    let all = outcome.err.lines().chain(outcome.out.lines());
    let lines = all.filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    lines.map(|rest| rest.split(' ').next().unwrap_or_default()).collect()
}

#[test]
fn a_target_that_joins_takes_no_live_connection() {
    need_functions!("bash", "python3");
    let scene = scene();
    let run = play(
        &scene,
        "mkfifo f1 f2; serve f1 a; a=$pid
         (until [ -e end.held ]; do sleep 0.05; done; serve f2 b; echo $pid > b.pid; ready b; sleep 1
          touch end; wait) &
         stdpkt run --right 10.1.0.1/24 -- python3 flows.py hold 10.1.0.2 40 end \
         | stdpkt balance f1 f2
         kill $a $(cat b.pid); wait",
    );
    assert_eq!(names(&run, "lost"), [""; 0], "{run:#?}");
    assert!(names(&run, "kept").len() == 40, "{run:#?}");
}

/// Four servers under 200 connections. One after the other is killed, or ended, and another
/// takes its place or does not: only the connections of that one end.
#[test]
fn no_connection_of_a_live_target_breaks() {
    need_functions!("bash", "python3");
    let scene = scene();
    let run = play(
        &scene,
        "mkfifo f1 f2 f3 f4; declare -A pids names
         for n in 1 2 3 4; do serve f$n f$n.0; pids[$n]=$pid; names[$n]=f$n.0; done
         stdpkt run --right 10.1.0.1/24 -- python3 flows.py hold 10.1.0.2 200 end \
         | stdpkt balance f1 f2 f3 f4 & chain=$!
         until [ -e end.held ]; do kill -0 $chain || exit; sleep 0.05; done
         RANDOM=42
         for turn in 1 2 3 4 5 6 7 8; do
             n=$((RANDOM % 4 + 1))
             if [ ${pids[$n]} != 0 ]; then
                 echo ${names[$n]} >> gone
                 if [ $((RANDOM % 2)) = 0 ]; then kill -9 ${pids[$n]}; else kill ${pids[$n]}; fi
                 wait ${pids[$n]}; pids[$n]=0
             fi
             if [ $((RANDOM % 3)) != 0 ]; then
                 serve f$n f$n.$turn; pids[$n]=$pid; names[$n]=f$n.$turn; ready f$n.$turn
             fi
             sleep 0.$((RANDOM % 10))
         done
         [ \"${pids[*]}\" != '0 0 0 0' ] || { serve f1 f1.last; pids[1]=$pid; ready f1.last; sleep 2; }
         touch end; wait $chain; echo chain $?
         for n in 1 2 3 4; do [ ${pids[$n]} = 0 ] || kill ${pids[$n]}; done; wait",
    );
    assert!(run.out.contains("chain 0"), "{run:#?}");
    let gone = std::fs::read_to_string(scene.path("gone")).expect("some went");
    let gone: BTreeSet<&str> = gone.lines().collect();
    let (lost, kept) = (names(&run, "lost"), names(&run, "kept"));
    println!("{} gone, {} connections lost with them, {} kept", gone.len(), lost.len(), kept.len());
    let innocent: Vec<_> = lost.iter().filter(|name| !gone.contains(**name)).collect();
    assert!(innocent.is_empty(), "{innocent:?} were alive; {gone:?} went: {run:#?}");
    assert!(!lost.is_empty() && !kept.is_empty(), "{run:#?}");
}

/// The hop between router and client takes packets of 1300 bytes, which the servers have to be
/// told: by ICMP from the router, whose address says nothing about the connection.
#[test]
fn path_mtu_discovery_reaches_the_server_of_the_connection() {
    need_functions!("bash", "python3", "ip");
    for (client, near, far, server) in [
        ("10.2.0.1/24", "10.2.0.254/24", "10.1.0.254/24", "10.1.0.2/24"),
        ("fd02::1/64", "fd02::fe/64", "fd01::fe/64", "fd01::2/64"),
    ] {
        let scene = scene();
        let [gateway, back, host] =
            [near, far, server].map(|cidr| cidr.split('/').next().unwrap_or_default());
        let run = play(
            &scene,
            &format!(
                "mkfifo f1 f2 f3; ip={server}; options='--gateway {back}'; bind={host}
                 for n in 1 2 3; do serve f$n f$n; pids=\"$pids $pid\"; done
                 stdpkt run --right {client} --gateway {gateway} \
                     -- bash -c 'meet {host} f1 f2 f3; python3 flows.py get {host} 48 200000' \
                 | stdpkt run --left {near} --right {far} --forward --setup 'ip link set left mtu 1300' \
                 | stdpkt balance f1 f2 f3
                 kill $pids; wait"
            ),
        );
        let got = run.err.lines().filter(|line| line.starts_with("got 200000 from"));
        let servers: BTreeSet<_> = got.clone().collect();
        assert_eq!((got.count(), servers.len()), (48, 3), "{run:#?}");
    }
}

/// Questions of one port, longer and shorter than a packet can be, have one server.
#[test]
fn fragments_stay_with_their_flow() {
    need_functions!("bash", "python3");
    for (client, server) in [("10.1.0.1/24", "10.1.0.2/24"), ("fd01::1/64", "fd01::2/64")] {
        let scene = scene();
        let host = server.split('/').next().unwrap_or_default();
        let run = play(
            &scene,
            &format!(
                "mkfifo f1 f2 f3; ip={server}; bind={host}
                 for n in 1 2 3; do serve f$n f$n; pids=\"$pids $pid\"; done
                 stdpkt run --right {client} -- bash -c 'meet {host} f1 f2 f3
                     python3 flows.py ask {host} 60 100 4000 100 4000 30000' \
                 | stdpkt balance f1 f2 f3
                 kill $pids; wait"
            ),
        );
        let answers = run.err.lines().filter_map(|line| line.strip_prefix("answers "));
        let mut servers = BTreeSet::new();
        for answer in answers.clone() {
            let name = answer.split(':').next().unwrap_or_default();
            let of = [100, 4000, 100, 4000, 30000].map(|len| format!("{name}:{len}"));
            assert_eq!(answer, of.join(" "), "{run:#?}");
            servers.insert(name);
        }
        assert_eq!((answers.count(), servers.len()), (60, 3), "{run:#?}");
    }
}

//! One client, several servers behind one address.

use super::{bash, ok, scene};
use crate::support::need::{need, need_functions};

#[test]
fn tee_sends_to_two_servers_and_their_answers_merge() {
    need_functions!("bash", "ping", "tee");
    // With the tee of coreutils a capture goes to both, with ours a ring each.
    for tee in ["tee", "stdpkt tee"] {
        let scene = scene();
        let both = "for s in 2 3; do ping -q -c3 -i0.05 -W5 10.0.0.$s || exit; done
                    for s in 2 3; do
                        stdpkt perf client 10.0.0.$s --seconds 0.2 & clients=\"$clients $!\"
                    done; for c in $clients; do wait $c || exit; done; echo both >&2";
        let run = bash(
            &scene,
            &format!(
                "mkfifo f1 f2 back
                 stdpkt run --link s,at=f1:back,ip=10.0.0.2/24 -- stdpkt perf server & one=$!
                 stdpkt run --link s,at=f2:back,ip=10.0.0.3/24 -- stdpkt perf server & two=$!
                 stdpkt run --link c,at=back:/dev/stdout,ip=10.0.0.1/24 -- sh -c '{both}' \
                 | {tee} f1 > f2
                 kill $one $two; wait"
            ),
        );
        assert!(run.err.lines().any(|line| line == "both"), "{tee}: {run:#?}");
        assert_eq!(run.err.matches("3 received").count(), 2, "{tee}: {run:#?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn flows_spread_over_targets_and_leave_the_dead() {
    need_functions!("bash");
    let scene = scene();
    // Flows go on until both targets have had some, however late the second comes.
    let out = bash(
        &scene,
        "mkfifo f1 f2; : > s1; : > s2
         stdpkt run --link l,at=f1,ip=10.0.0.2/24 -- stdpkt perf server 2> s1 & one=$!
         stdpkt run --link l,at=f2,ip=10.0.0.2/24 -- stdpkt perf server 2> s2 & two=$!
         client='stdpkt perf client 10.0.0.2 --seconds 0.1'
         stdpkt run --right 10.0.0.1/24 -- sh -c \"
             until grep -q stream: s1 && grep -q stream: s2; do $client || exit 9; echo >> flows; done
             touch both; until [ -e killed ]; do sleep 0.05; done
             for n in 1 2 3 4; do $client || exit 9; echo >> flows; done\" \
         | stdpkt balance f1 f2 & chain=$!
         until [ -e both ]; do kill -0 $chain || exit; sleep 0.05; done
         kill -9 $one; touch killed
         wait $chain; echo client $?
         kill $two; wait",
    );
    assert!(out.out.contains("client 0"), "{out:#?}");
    let count = |script: &str| ok(&scene, script).trim().parse::<u32>().expect("a count");
    let [one, two] = ["s1", "s2"].map(|file| count(&format!("grep -c stream: {file} || true")));
    assert_eq!(one + two, count("wc -l < flows"), "{}", out.err);
    assert!(one > 0 && two > 4, "{one} and {two}: {}", out.err);
    scene.assert_nothing_left();
}

/// Four servers, a client with twelve addresses. netperf has a connection for
/// control and one for data, which have to come to the same server.
#[test]
fn a_killed_server_takes_its_own_flows_only() {
    need_functions!("bash", "netperf", "netserver", "ping", "ss");
    let scene = scene();
    let run = bash(
        &scene,
        r#"mkfifo f1 f2 f3 f4
         for s in 1 2 3 4; do
             stdpkt run --link l,at=f$s,ip=10.0.0.100/24 --setup 'netserver -4 > /dev/null' \
                 -- sh -c "touch up$s; until [ -e end ]; do ss -Htn state established '( sport != 12865 )' \
                           | awk '{ print \$NF }' | sed 's/:[0-9]*$//' >> seen$s; sleep 0.1; done" & servers[s]=$!
         done
         addresses=; for n in 1 2 3 4 5 6 7 8 9 10 11 12; do addresses="$addresses --right 10.0.0.$n/24"; done
         cat > client.sh <<'END'
measure() { # name, seconds
    for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
        (timeout 20 netperf -H 10.0.0.100,4 -L 10.0.0.$n,4 -l$2 -P0 -t TCP_STREAM -- -o THROUGHPUT > $1.$n 2>&1 \
            && echo $n >> $1.done) &
    done
}
until ls up1 up2 up3 up4 > /dev/null 2>&1; do sleep 0.05; done
ping -q -c5 -i0.1 10.0.0.100 > /dev/null # after that all have told their addresses
measure first 6; touch started; wait
until [ -e killed ]; do sleep 0.05; done
measure second 1; wait
END
         stdpkt run $addresses -- sh client.sh | stdpkt balance --by addresses f1 f2 f3 f4 & chain=$!
         until [ -e started ]; do kill -0 $chain || exit; sleep 0.05; done
         until [ "$(sort -u seen? | wc -l)" = 12 ]; do kill -0 $chain || exit; sleep 0.05; done
         sort -u seen1 | sed 's/.*\.//' > lost
         kill -9 ${servers[1]}; touch killed
         wait $chain; echo chain $?
         touch end; wait
         "#,
    );
    assert!(run.out.contains("chain 0"), "{run:#?}");
    let lines = |script: &str| ok(&scene, script).lines().map(str::to_owned).collect::<Vec<_>>();
    let (lost, first) = (lines("sort lost"), lines("sort first.done"));
    println!("{} of 12 flows were with the killed server", lost.len());
    for n in (1..=12).map(|n: u32| n.to_string()) {
        assert_ne!(lost.contains(&n), first.contains(&n), "flow {n}: {lost:?} {first:?} {run:#?}");
    }
    assert_eq!(lines("cat second.done").len(), 12, "{run:#?}");
    for server in 2..=4 {
        assert!(!lines(&format!("sort -u seen{server}")).is_empty(), "{server}: {run:#?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn a_left_neighbour_that_ends_before_any_target_came_is_the_end() {
    need!("bash", "mkfifo", "timeout");
    let scene = scene();
    let script = "mkfifo f; head -c 24 in.pcap > none.pcap
                  stdpkt feed none.pcap | timeout 20 stdpkt balance f";
    assert_eq!(ok(&scene, script), "");
    scene.assert_nothing_left();
}

//! netperf, round trips and numbered datagrams at once through a chain that is changed at random: its
//! router is swapped, a tee and a filter are put in and taken out.
//!
//! `STDPKT_TESTS_SWAPS=100` does each as often as that; it prints the pauses.

use crate::numbered::{RECEIVE, SEND};
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::swap::{end, name, said, swaps};

/// The line that tells of datagrams; `stream`: another connection fills the links meanwhile.
fn changed(stream: bool) -> String {
    let scene = Scene::new();
    std::fs::write(scene.path("send.py"), SEND).expect("scene");
    std::fs::write(scene.path("receive.py"), RECEIVE).expect("scene");
    let [c, r, s, t, f] = ["ac", "ar", "as", "at", "af"].map(name);
    let n = swaps();
    let stream =
        if stream { "netperf -H 10.0.1.2 -l 100000 -P0 -t TCP_STREAM" } else { "sleep 100000" };
    let run = end(scene.start_in(
        &["bash"],
        &format!(
            r#"
            router="stdpkt run --name {r} --left 10.0.0.1/24 --right 10.0.1.1/24 --forward"
            stdpkt run --name {c} --right 10.0.0.2/24 --gateway 10.0.0.1 -- bash -c '
                until [ -e ready ]; do sleep 0.05; done
                netperf -H 10.0.1.2 -l 100000 -P0 -t TCP_RR >/dev/null & trips=$!
                {stream} >/dev/null & stream=$!
                python3 send.py 10.0.1.2
                kill -0 $trips && touch trips; kill -0 $stream && touch stream
                kill $trips $stream; wait; touch over' \
            | $router | stdpkt run --name {s} --left 10.0.1.2/24 --gateway 10.0.1.1 --setup 'netserver -4 >/dev/null' -- \
                sh -c 'python3 receive.py; until [ -e over ]; do sleep 0.05; done' & chain=$!
            until [ -e flows ]; do sleep 0.05; done
            timed() {{ kind=$1 begin=$(date +%s.%N); shift; stdpkt "$@" || exit; echo $kind $begin $(date +%s.%N) >> changes; sleep 0.0$((RANDOM % 9)); }}
            swap={n} tee=$((2 * {n})) filter=$((2 * {n}))
            while [ $((swap + tee + filter)) -gt 0 ]; do
                case $((RANDOM % 3)) in
                    0) [ $swap = 0 ] || {{ timed swap swap {r} -- $router; swap=$((swap - 1)); }};;
                    1) case $tee in 0) continue;;
                        *[02468]) timed insert-tee insert {c}:right -- stdpkt tee --name {t} t.pcap;;
                        *) timed remove-tee remove {t};; esac; tee=$((tee - 1));;
                    2) case $filter in 0) continue;;
                        *[02468]) timed insert-filter insert {r}:right -- stdpkt filter --name {f} 'ip or arp';;
                        *) timed remove-filter remove {f};; esac; filter=$((filter - 1));;
                esac
            done
            touch changed; wait $chain; echo chain $?; cat counts; ls trips stream"#
        ),
    ));
    for line in ["chain 0", "trips", "stream"] {
        said(&run, line);
    }
    println!("{}", run.out);
    scene.assert_nothing_left();
    let line = run.out.lines().find(|line| line.starts_with("datagrams ")).unwrap_or_default();
    assert!(line.ends_with("doubled 0 overtaken 0"), "{run:#?}");
    line.to_owned()
}

/// What does not fit beside a stream the network stack of the client throws away, as on any full link.
#[test]
fn no_connection_breaks_and_no_datagram_is_doubled_or_overtaken_beside_a_stream() {
    need_functions!("bash", "python3", "netperf", "netserver", "libpcap");
    changed(true);
}

#[test]
fn no_datagram_is_lost_where_there_is_room() {
    need_functions!("bash", "python3", "netperf", "netserver", "libpcap");
    let line = changed(false);
    assert!(line.contains(" lost 0 "), "{line}");
}

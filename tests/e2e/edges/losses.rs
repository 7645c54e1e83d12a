//! What an edge does not deliver is counted and shown, and what its program starts ends.

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

/// Each edge that there is: a row each way, and what was turned away in one of them or in
/// that of the ring before it.
#[test]
fn what_an_edge_did_not_deliver_is_shown() {
    need_functions!("ping", "python3", "ip");
    // A reader that never reads: a stream, messages, a program.
    let reader = |kind: &str| {
        format!(
            "python3 -c 'import socket, time
s = socket.socket(socket.AF_UNIX, socket.{kind}); s.bind(\"s\"); s.listen(); c = s.accept()[0]; time.sleep(1000)'"
        )
    };
    let (stream, messages) = (reader("SOCK_STREAM"), reader("SOCK_SEQPACKET"));
    for (reader, edge) in [
        (stream, "qemu:unix:s"),
        (messages, "packet:unix:s"),
        (String::new(), "frames -- sleep 1000"),
    ] {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "{} until [ -n '{}' ] || [ -S s ]; do sleep 0.05; done
             stdpkt run --right 10.0.0.1/24 -- sh -c '
                 ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev right
                 for n in $(seq 40); do ping -q -c1 -W0.05 -s 60000 10.0.0.2; done; sleep 1.5
                 ping -q -c3 -W0.05 -s 60000 10.0.0.2; touch sent; until [ -e shown ]; do sleep 0.05; done' \
             | stdpkt join --name lossy --left {edge} & chain=$!
             until [ -e sent ]; do sleep 0.05; done
             stdpkt ls lossy --json; touch shown; wait $chain; kill $reader; wait",
            if reader.is_empty() { String::new() } else { format!("{reader} & reader=$!; ") },
            if reader.is_empty() { "none" } else { "" },
        ));
        let rows: serde_json::Value = serde_json::from_str(&outcome.out).expect("JSON");
        let links = rows["links"].as_array().expect("links");
        let form = edge.split([':', ' ']).next().expect("a form");
        let is_edge =
            |link: &&serde_json::Value| link["form"] == "edge" && link["from"]["interface"] == form;
        assert_eq!(links.iter().filter(is_edge).count(), 1, "{edge}: {outcome:?}");
        let drops = |link: &serde_json::Value| {
            link["from"]["drops"].as_u64().max(link["to"]["drops"].as_u64())
        };
        assert!(links.iter().filter_map(drops).any(|drops| drops > 0), "{edge}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

/// As in a function: daemons, too, and what a program leaves that is killed itself.
#[test]
fn what_a_program_started_ends_with_it() {
    need_functions!("ping", "setsid");
    for command in [
        "sh -c 'sleep 1000 & exec cat >/dev/null'",
        "sh -c '(setsid sleep 1000 &) ; cat >/dev/null'",
        "sh -c 'trap \"\" TERM; sleep 1000 & (sh -c \"sleep 1000; :\" &); while :; do sleep 1; done'",
        "sh -c 'sleep 1000 & exit 3'",
    ] {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "stdpkt run --right 10.0.0.1/24 -- sleep 0.5 \
             | (sleep 1000 & echo $! >other; exec stdpkt join --left frames -- {command})
             kill -0 $(cat other) && kill $(cat other); echo $?"
        ));
        // The child of the shell from before is not CMD's.
        assert!(outcome.out.ends_with("0\n"), "{command}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

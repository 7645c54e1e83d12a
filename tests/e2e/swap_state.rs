//! `stdpkt swap --state`: what the network stack of a function knows goes over, too.

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};
use crate::swap::{name, said};

/// A NAT that is swapped while a server sends; the bytes that arrived are the last line.
fn nat(scene: &Scene, state: &str, rules: &str) -> Outcome {
    let n = name("sn");
    let nat = format!(
        "stdpkt run --name {n} --left 10.0.0.1/24 --right 10.0.1.1/24 --forward --setup \"{rules}\""
    );
    let first = nat.replace(rules, "iptables -t nat -A POSTROUTING -o right -j MASQUERADE");
    scene
        .start_in(
            &["bash"],
            &format!(
                r#"
                stdpkt run --right 10.0.0.2/24 --gateway 10.0.0.1 -- sh -c '
                    until socat -u TCP:10.0.1.2:5000 OPEN:got,creat,append; do sleep 0.1; done' \
                | {first} \
                | stdpkt run --left 10.0.1.2/24 -- sh -c '
                    {{ until [ -e swapped ]; do head -c 100000 /dev/zero; done; echo end; }} | timeout 60 socat -u - TCP-LISTEN:5000; echo $? > sent' & chain=$!
                until [ -s got ]; do sleep 0.05; done
                stdpkt swap {state} {n} -- {nat}; echo swapped $?
                touch swapped
                until [ -s sent ] || ! kill -0 $chain; do sleep 0.05; done
                echo sent $(cat sent)
                for i in $(seq 100); do tail -c 4 got | tr '\0' 0 | grep -q end && echo all && break; sleep 0.1; done
                kill $(jobs -p) 2>/dev/null; wait"#
            ),
        )
        .end()
}

#[test]
fn an_established_connection_goes_on_through_a_nat_that_is_swapped() {
    need_functions!("bash", "socat", "iptables", "conntrack");
    let scene = Scene::new();
    let run = nat(&scene, "--state iptables-save --state 'conntrack -L -o save'", "true");
    for line in ["swapped 0", "sent 0", "all"] {
        said(&run, line);
    }
    scene.assert_nothing_left();
}

#[test]
fn state_that_cannot_be_carried_over_changes_nothing() {
    need_functions!("bash", "socat", "iptables");
    let scene = Scene::new();
    for (state, part) in [
        ("--state 'false => cat'", "`false` failed"),
        ("--state 'echo x => cat >/dev/null; exit 3'", "exit 3` failed"),
        ("--timeout 1 --state 'sleep 30 => cat'", "has not ended in time"),
        ("--state nonsense", "which command reads"),
    ] {
        let run = nat(&scene, state, "true");
        assert!(run.err.contains(part), "{state}: {run:#?}");
        for line in ["swapped 125", "sent 0", "all"] {
            said(&run, line);
        }
        scene.sh("rm -f got sent swapped");
    }
    scene.assert_nothing_left();
}

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

/// Two network namespaces stand for hosts, and what runs a command in one of them for ssh.
#[test]
fn a_function_goes_on_at_another_host() {
    need_functions!("bash", "ping", "ip");
    let scene = Scene::new();
    let (c, s) = (name("hc"), name("hs"));
    let run = scene
        .start_in(
            &["bash"],
            &format!(
                r#"
                stdpkt run --name {c} --right 10.0.0.2/24 -- sh -c '
                    until ping -q -c1 -W1 10.0.0.1; do :; done; touch up
                    ping -D -O -i 0.01 -c 400 10.0.0.1 > pinged' | stdpkt run --name {s} --left 10.0.0.1/24 --setup "sysctl -qw net.ipv4.ip_default_ttl=55" & chain=$!
                until [ -e up ]; do sleep 0.05; done
                stdpkt swap --state 'sysctl -n net.ipv4.ip_default_ttl => cat > ttl' {s} -- \
                    stdpkt join frames -- unshare --net stdpkt run --left 10.0.0.1/24,at=frames:stdio || exit
                stdpkt ls --chains {c}; cat ttl
                wait $chain; echo ended $?
                tail -n 3 pinged; awk '/icmp_seq/ && /time=/ {{ gsub(/[][]/, "", $1); if (last && $1 - last > gap) gap = $1 - last; last = $1 }} END {{ print "longest gap", gap, "s" }}' pinged"#
            ),
        )
        .end();
    println!("{}", run.out);
    said(&run, "55");
    assert!(run.out.contains("frames unshare["), "{run:#?}");
    assert!(
        run.out.contains("400 packets transmitted, ") && run.out.contains("longest gap"),
        "{run:#?}"
    );
    let lost = run.out.split(", ").find_map(|part| part.strip_suffix("% packet loss"));
    assert!(lost.is_some_and(|lost| lost.parse::<f64>().is_ok_and(|lost| lost < 50.0)), "{run:#?}");
    scene.assert_nothing_left();
}

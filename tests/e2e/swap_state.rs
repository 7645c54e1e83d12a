//! `stdpkt swap --state`: what the network stack of a function knows goes over, too.

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};
use crate::swap::{name, said};

/// Translates, and drops what belongs to no connection that it knows: without its state, it breaks
/// each, whoever speaks first.
const RULES: &str = "iptables -t nat -A POSTROUTING -o right -j MASQUERADE
    iptables -t nat -A PREROUTING -i right -p tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:5001
    iptables -t mangle -A PREROUTING -p tcp --dport 5000 -j CONNMARK --set-mark 7
    iptables -A FORWARD -p tcp ! --syn -m conntrack --ctstate NEW -j DROP
    iptables -A INPUT -p tcp -m conntrack --ctstate NEW -j DROP";

/// A NAT that is swapped while a server sends, and a client on the outside to a forwarded port; the
/// bytes that arrived end with `end`. Connections are listed before and after.
fn nat(scene: &Scene, state: &str, rules: &str) -> Outcome {
    let n = name("sn");
    std::fs::write(scene.path("rules"), RULES).expect("scene");
    let nat =
        format!("stdpkt run --name {n} --left 10.0.0.1/24 --right 10.0.1.1/24 --forward --setup");
    scene
        .start_in(
            &["bash"],
            &format!(
                r#"
                stream() {{ until [ -e swapped ]; do head -c 100000 /dev/zero; sleep 0.01; done; echo end; }}
                export -f stream
                shows() {{ stdpkt exec {n} -- conntrack -L 2>/dev/null | grep -E "dport=(5000|8080) " | grep -o "src=.*" | sort; }}
                stdpkt run --right 10.0.0.2/24 --gateway 10.0.0.1 -- bash -c '
                    timeout 60 socat -u TCP-LISTEN:5001 OPEN:forwarded,creat &
                    until socat -u TCP:10.0.1.2:5000,connect-timeout=1 OPEN:got,creat,append; do [ -e sent ] && break; sleep 0.1; done; wait' \
                | {nat} "sh rules" \
                | stdpkt run --left 10.0.1.2/24 -- bash -c '
                    {{ stream | timeout 20 socat -u - TCP:10.0.1.1:8080,retry=50,interval=0.1; echo $? > inward; }} &
                    stream | timeout 20 socat -u - TCP-LISTEN:5000; echo $? > sent; wait' & chain=$!
                until [ -s got ] && [ -s forwarded ]; do kill -0 $chain || exit; sleep 0.05; done
                shows > before
                stdpkt swap {state} {n} -- {nat} "{rules}"; echo swapped $?
                shows > after
                touch swapped
                until [ -s sent ] && [ -s inward ] || ! kill -0 $chain; do sleep 0.05; done
                echo sent $(cat sent) inward $(cat inward)
                for it in got forwarded; do
                    for i in $(seq 20); do tail -c 4 $it | tr '\0' 0 | grep -q end && echo all $it && break; sleep 0.1; done
                done
                diff before after && echo same connections; wc -l < before
                kill $(jobs -p) 2>/dev/null; wait"#
            ),
        )
        .end()
}

#[test]
fn established_connections_go_on_through_a_nat_that_is_swapped() {
    need_functions!("bash", "socat", "iptables", "conntrack");
    let scene = Scene::new();
    let run = nat(&scene, "--state iptables-save --state conntrack", "true");
    for line in
        ["swapped 0", "sent 0 inward 0", "all got", "all forwarded", "same connections", "2"]
    {
        said(&run, line);
    }
    scene.assert_nothing_left();
}

/// Else the test above would show nothing.
#[test]
fn without_state_they_break() {
    need_functions!("bash", "socat", "iptables", "conntrack");
    for (state, rules) in [("", "sh rules"), ("--state iptables-save", "true")] {
        let scene = Scene::new();
        let run = nat(&scene, state, rules);
        said(&run, "swapped 0");
        said(&run, "2");
        assert!(!run.out.contains("all ") && !run.out.contains("same"), "{run:#?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn state_that_cannot_be_carried_over_changes_nothing() {
    need_functions!("bash", "socat", "iptables", "conntrack");
    let scene = Scene::new();
    for (state, part) in [
        ("--state 'false => cat'", "`false` failed"),
        ("--state 'echo x => cat >/dev/null; exit 3'", "exit 3` failed"),
        ("--timeout 1 --state 'sleep 30 => cat'", "has not ended in time"),
        ("--state nonsense", "which command reads"),
    ] {
        let run = nat(&scene, state, "true");
        assert!(run.err.contains(part), "{state}: {run:#?}");
        for line in ["swapped 125", "sent 0 inward 0", "all got", "all forwarded"] {
            said(&run, line);
        }
        scene.sh("rm -f got forwarded sent inward swapped");
    }
    scene.assert_nothing_left();
}

/// Two network namespaces stand for hosts, and what runs a command in one of them for ssh.
#[test]
fn a_function_goes_on_at_another_host() {
    need_functions!("bash", "ping", "ip", "iptables");
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
                for state in conntrack iptables-save; do
                    stdpkt swap --state $state {s} -- stdpkt join frames -- sleep 60 2> refused
                    echo $state $? $(wc -l < refused) $(grep -c "no inside in which .* could run" refused)
                done
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
    // Nothing is loaded here that is meant for elsewhere.
    said(&run, "conntrack 125 1 1");
    said(&run, "iptables-save 125 1 1");
    assert!(run.out.contains("frames unshare["), "{run:#?}");
    assert!(
        run.out.contains("400 packets transmitted, ") && run.out.contains("longest gap"),
        "{run:#?}"
    );
    let lost = run.out.split(", ").find_map(|part| part.strip_suffix("% packet loss"));
    assert!(lost.is_some_and(|lost| lost.parse::<f64>().is_ok_and(|lost| lost < 50.0)), "{run:#?}");
    scene.assert_nothing_left();
}

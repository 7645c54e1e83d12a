//! A function moves to another host while frames flow: namespaces stand for hosts, sshd and ssh are real.

use super::remote::with_ssh;
use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};
use crate::swap::{name, said};

/// A NAT with one interface for both networks. What belongs to no connection that it knows it drops, so that
/// none goes on without its state.
const RULES: &str = "iptables -t nat -A POSTROUTING -s 10.0.1.0/24 -d 10.0.2.0/24 -j MASQUERADE
    iptables -A FORWARD -p tcp ! --syn -m conntrack --ctstate NEW -j DROP
    iptables -A INPUT -p tcp -m conntrack --ctstate NEW -j DROP
    sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.left.send_redirects=0";

/// The NAT moves while a server sends to a client and the client pings it; the bytes that arrived end with `end`.
fn moved(scene: &Scene, [old, new]: &[String; 2], state: &str) -> Outcome {
    std::fs::write(scene.path("rules"), RULES).expect("scene");
    let nat = "--left 10.0.2.1/24 --forward --setup \"sh rules\"";
    let run = with_ssh(
        scene,
        &format!(
            r#"
            stream() {{ until [ -e moved ]; do head -c 100000 /dev/zero; sleep 0.01; done; echo end; }}
            export -f stream
            shows() {{ "$@" -- conntrack -L 2>/dev/null | grep "dport=5000 " | grep -o "src=.*" | sort; }}
            mkfifo a b
            stdpkt run --link l,at=b,ip=10.0.2.2/24 -- bash -c '
                stream | timeout 20 socat -u - TCP-LISTEN:5000; echo $? > sent' & server=$!
            stdpkt run --link l,at=a,ip=10.0.1.2/24 --gateway 10.0.1.1 -- bash -c '
                ping -D -i 0.01 10.0.2.2 > pinged & ping=$!
                timeout 20 socat -u TCP:10.0.2.2:5000,retry=100,interval=0.1 OPEN:got,creat; echo $? > received
                kill -INT $ping; wait' & client=$!
            sh -c 'echo $$ > switch; exec stdpkt run --bridge --link a,at=a --link b,at=b --right none' \
                | stdpkt run --name {old} --left 10.0.1.1/24 {nat} & chain=$!
            until [ -s got ] && grep -q time= pinged; do kill -0 $chain || exit; sleep 0.05; done
            shows stdpkt exec {old} > before
            stdpkt swap --timeout 60 {old} {state} -- stdpkt join frames -- ssh host \
                "cd $PWD; exec stdpkt run --name {new} --left 10.0.1.1/24,at=frames:stdio {remote}"
            echo swapped $?
            shows ssh -n host stdpkt exec {new} > after
            sleep 1; touch moved
            wait $client $server; echo received $(cat received) sent $(cat sent)
            tail -c 4 got | grep -q end && echo all
            diff before after && echo same connections; wc -l < before
            kill $(cat switch); wait $chain
            tail -n 3 pinged
            awk '/time=/ {{ gsub(/[][]/, "", $1); if (last && $1 - last > gap) gap = $1 - last; last = $1 }} END {{ print "longest gap", gap, "s" }}' pinged"#,
            remote = nat.replace('"', "'"),
        ),
    );
    println!("{}", run.out);
    said(&run, "swapped 0");
    assert!(run.out.contains("longest gap"), "{run:#?}");
    run
}

/// What both tests need: two hosts, a NAT, and ssh between.
macro_rules! need_two_hosts {
    () => {
        need_functions!(
            "root",
            "bash",
            "ip",
            "ss",
            "unshare",
            "ping",
            "socat",
            "iptables",
            "conntrack",
            "sshd",
            "ssh",
            "ssh-keygen"
        );
    };
}

#[test]
fn the_connections_of_a_nat_go_on_when_it_moves_through_ssh() {
    need_two_hosts!();
    let scene = Scene::new();
    let names = ["mo", "mn"].map(name);
    let state = "--state 'stdpkt conntrack save => until ssh -n host stdpkt exec NEW -- true; do sleep 0.05; done 2>/dev/null
        ssh host stdpkt exec NEW -- stdpkt conntrack load'";
    let run = moved(&scene, &names, &state.replace("NEW", &names[1]));
    for line in ["received 0 sent 0", "all", "same connections", "1"] {
        said(&run, line);
    }
    scene.assert_nothing_left();
}

/// Else the test above would show nothing.
#[test]
fn without_state_they_break() {
    need_two_hosts!();
    let scene = Scene::new();
    let run = moved(&scene, &["mwo", "mwn"].map(name), "");
    assert!(!run.out.lines().any(|line| line == "all" || line == "same connections"), "{run:#?}");
    scene.assert_nothing_left();
}

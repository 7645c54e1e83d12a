//! The real network, which here is a namespace behind one that stands for the host.

use super::said;
use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

/// A host, 192.0.2.2, and behind it a network with a server, 192.0.2.1. The host is the
/// namespace that the script is in.
const HOST: &str = "
    mount --make-rprivate / && mount -t tmpfs none /run && mkdir /run/netns
    ip link set lo up; ip link add up0 type veth peer name peer0
    ip addr add 192.0.2.2/24 dev up0; ip link set up0 up
    ip netns add inet; ip link set peer0 netns inet
    ip -n inet addr add 192.0.2.1/24 dev peer0; ip -n inet link set peer0 up
    ip -n inet link set lo up
    ip route add default via 192.0.2.1
";

/// Runs a script on the host, with `BY` for the program that routes.
pub(crate) fn on_the_host(scene: &Scene, by: &str, script: &str) -> Outcome {
    std::fs::write(scene.path("host"), format!("BY={by}\n{HOST}\n{script}")).expect("scene");
    scene.sh("exec unshare -n -m bash host")
}

const BY: [&str; 2] = ["passt", "slirp4netns"];

/// Serves a page at 8000 and a name at 53.
pub(super) const SERVER: &str = r#"
import socket, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'from the network\n')
    def log_message(self, *args): pass
page = HTTPServer(('192.0.2.1', 8000), Page)
threading.Thread(target=page.serve_forever, daemon=True).start()
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(('192.0.2.1', 53))
open('serves', 'w')
while True:
    query, who = names.recvfrom(512)
    # The question as it came, and for type A the address of the server.
    end = query.index(0, 12) + 5
    known = query[12:end - 4] == b'\x03www\x07example\0' and query[end - 3] == 1
    answer = b'\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4' + bytes([192, 0, 2, 1]) if known else b''
    names.sendto(query[:2] + b'\x81\x80\0\1\0' + bytes([known]) + b'\0\0\0\0' + query[12:end] + answer, who)
"#;

#[test]
fn a_chain_reaches_what_the_host_reaches_by_name() {
    need_functions!("root", "ip", "unshare", "python3", "curl", "tcpdump", "passt", "slirp4netns");
    for by in BY {
        let scene = Scene::new();
        std::fs::write(scene.path("server.py"), SERVER).expect("scene");
        let outcome = on_the_host(
            &scene,
            by,
            "echo nameserver 192.0.2.1 >resolv; mount --bind resolv $(realpath /etc/resolv.conf)
             ip netns exec inet python3 server.py & server=$!
             until [ -e serves ]; do sleep 0.05; done
             stdpkt run --right 10.0.2.15/24 --gateway 10.0.2.2 --dns 10.0.2.3 \
                     -- curl -sS --retry 5 --retry-connrefused --max-time 20 http://www.example:8000/ \
                 | stdpkt tee trace.pcap | stdpkt uplink --by $BY
             echo uplink $?; kill $server; wait; cat /etc/resolv.conf; tcpdump -n -r trace.pcap",
        );
        assert!(said(&outcome).contains("from the network"), "{by}: {outcome:?}");
        assert!(outcome.out.contains("uplink 0\nnameserver 192.0.2.1\n"), "{by}: {outcome:?}");
        assert!(outcome.out.contains("A? www.example"), "nothing traced: {by}: {outcome:?}");
        // The programs' own words are none of a user's: one line each.
        let told: Vec<&str> = outcome.err.lines().filter(|line| line.contains("uplink")).collect();
        assert_eq!(told.len(), 1, "{by}: {outcome:?}");
        assert!(!outcome.err.contains("root") && !outcome.err.contains("syslog"), "{outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn ports_are_let_in() {
    need_functions!("root", "ip", "unshare", "socat", "passt", "slirp4netns");
    for by in BY {
        let scene = Scene::new();
        // Asked again and again: until the server listens, whoever connects is turned
        // away. The client speaks first: passt of 2023 tells the server of a client only then.
        let outcome = on_the_host(
            &scene,
            by,
            "echo 'socat TCP-LISTEN:80,fork,reuseaddr SYSTEM:\"read word; echo from inside\" &
                   until [ -e asked ]; do sleep 0.05; done; kill $!' >inside
             stdpkt run --right 10.0.2.15/24 --gateway 10.0.2.2 -- sh inside \
                 | stdpkt uplink --by $BY -t 8080:80 & chain=$!
             until echo hello | socat -T10 - TCP:192.0.2.2:8080 | grep inside; do sleep 0.1; done 2>/dev/null
             echo hello | ip netns exec inet socat -T10 - TCP:192.0.2.2:8080
             touch asked; wait $chain; echo uplink $?",
        );
        assert_eq!(outcome.out.matches("from inside").count(), 2, "{by}: {outcome:?}");
        assert!(outcome.out.contains("uplink 0"), "{by}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn the_hosts_own_loopback_is_reached_only_when_asked_for() {
    need_functions!("root", "ip", "unshare", "socat", "ss", "passt", "slirp4netns");
    const ASK: &str = "socat -u TCP:10.0.2.2:8000,connect-timeout=3 - ";
    for by in BY {
        let scene = Scene::new();
        let outcome = on_the_host(
            &scene,
            by,
            &format!(
                "socat TCP-LISTEN:8000,bind=127.0.0.1,fork,reuseaddr SYSTEM:'echo from loopback' & server=$!
                 until ss -tln | grep -q 127.0.0.1:8000; do sleep 0.05; done
                 for option in '' --host-loopback; do
                     stdpkt run --right 10.0.2.15/24 --gateway 10.0.2.2 -- {ASK} | stdpkt uplink --by $BY $option
                     echo end of \"$option\" >&2
                 done; kill $server; wait"
            ),
        );
        let (without, with) = outcome.err.split_once("end of \n").expect("two runs");
        assert!(!without.contains("from loopback"), "{by}: {outcome:?}");
        assert!(with.contains("from loopback"), "{by}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn an_uplink_that_cannot_be_says_why() {
    need_functions!("root", "ip", "unshare", "socat", "ss", "passt", "slirp4netns");
    let chain = |options: &str| {
        format!("stdpkt run --right 10.0.2.15/24 2>/dev/null | stdpkt uplink {options}; echo $?")
    };
    for (script, line) in [
        ("ip addr flush dev up0\n", "has no IPv4 route"),
        ("ip route del default\n", "--by slirp4netns"),
        (
            "socat TCP-LISTEN:8080 - & until ss -tln | grep -q :8080; do sleep 0.05; done\n",
            "choose another port",
        ),
        ("PATH=$PWD/bin\n", "install"),
    ] {
        for by in BY {
            if line.contains("--by") && by == "slirp4netns" {
                continue; // which does without
            }
            let scene = Scene::new();
            let script =
                format!("{script}{}\nkill $! 2>/dev/null; wait", chain("--by $BY -t 8080:80"));
            let outcome = on_the_host(&scene, by, &script);
            assert!(outcome.out.contains("125"), "{by}, {line}: {outcome:?}");
            assert_eq!(outcome.err.lines().count(), 1, "{by}, {line}: {outcome:?}");
            assert!(outcome.err.contains(line), "{by}, {line}: {outcome:?}");
            scene.assert_nothing_left();
        }
    }
}

#[test]
fn the_death_of_the_program_that_routes_is_told() {
    need_functions!("root", "ip", "unshare", "passt", "slirp4netns");
    for by in BY {
        let scene = Scene::new();
        let play = {
            let host = format!(
                "{HOST}\nstdpkt run --right 10.0.2.15/24 -- sh -c 'touch up; sleep 1000' | stdpkt uplink --by {by}; echo $?"
            );
            std::fs::write(scene.path("host"), host).expect("scene");
            scene.start_sh("exec unshare -n -m bash host")
        };
        scene.wait_for_file("up");
        // passt runs as passt.avx2 where the processor has that.
        for process in scene.processes().iter().filter(|it| it.name.starts_with(by)) {
            scene.signal(process, rustix::process::Signal::KILL);
        }
        let outcome = play.end();
        assert_eq!(outcome.out, "125\n", "{by}: {outcome:?}");
        assert!(outcome.err.contains(&format!("{by} was ended by signal 9")), "{by}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn an_uplink_that_is_killed_leaves_no_program() {
    need_functions!("root", "ip", "unshare", "passt", "slirp4netns");
    for by in BY {
        let scene = Scene::new();
        let outcome = on_the_host(
            &scene,
            by,
            "export TMPDIR=$PWD
             stdpkt run --right 10.0.2.15/24 -- sh -c 'touch up; sleep 1000' \
                 | sh -c 'echo $$ >pid; exec stdpkt uplink --by $0 -t 8080:80' $BY & chain=$!
             until [ -e up ]; do sleep 0.05; done
             ls -d stdpkt-uplink-*; kill -9 $(cat pid); wait $chain; echo $?",
        );
        assert_eq!(outcome.out, "137\n", "{by}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

//! The examples, as they stand.

use std::path::{Path, PathBuf};

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

/// A newcomer reads one at a glance.
const LONGEST: usize = 30;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").canonicalize().expect("examples")
}

fn run(name: &str) -> Outcome {
    let scene = Scene::new();
    let outcome = scene.sh(&format!("exec {}", examples().join(name).display()));
    scene.assert_nothing_left();
    outcome
}

/// Runs one, which says all of `words`, each once at least.
fn says(name: &str, words: &[&str]) {
    let outcome = run(name);
    let all = format!("{}{}", outcome.out, outcome.err);
    for word in words {
        assert!(all.contains(word), "{name}: no `{word}` in {all}");
    }
}

#[test]
fn each_is_short_listed_and_run_here() {
    let list = std::fs::read_to_string(examples().join("README.md")).expect("README.md");
    let tests = include_str!("example_files.rs");
    for file in std::fs::read_dir(examples()).expect("examples").map(Result::unwrap) {
        let name = file.file_name().into_string().expect("UTF-8");
        let text = std::fs::read_to_string(file.path()).expect("an example");
        assert!(text.lines().count() <= LONGEST, "{name}");
        if name != "README.md" {
            assert!(list.contains(&format!("({name})")), "{name} is not in the list");
            assert!(tests.contains(&format!("\"{name}\"")), "{name} is not run");
        }
    }
}

#[test]
fn nat_and_firewall() {
    need_functions!("ping", "iptables", "nft");
    says("nat.sh", &["3 received", "ttl=63"]);
    says("firewall.sh", &["2 received", "0 received", "from the outside:"]);
}

#[test]
fn routers_servers_and_a_switch() {
    need_functions!("ping", "ip", "python3", "curl", "mkfifo");
    says("triangle.sh", &["over 10.0.12.2", "over 10.0.13.3", "ttl=64", "ttl=63"]);
    says("balance.sh", &["this is server"]);
    says("switch.sh", &["icmp_seq=2", "10.0.0.3 dev eth0 lladdr"]);
}

#[test]
fn a_proxy_addresses_and_advertisements() {
    need_functions!("iptables", "socat", "curl", "dnsmasq", "busybox", "ping", "ip", "sysctl");
    says("proxy.sh", &["you asked for /index.html"]);
    says("dhcp.sh", &["router 10.0.0.1, names 10.0.0.1", "server.lan"]);
    says("ipv6.sh", &["2001:db8:1:", "2 received"]);
}

#[test]
fn a_trunk_rules_and_filters() {
    need_functions!("ping", "sed", "tcpdump", "python3", "iptables", "ip", "awk");
    says("vlan.sh", &["3 received", "vlan 100"]);
    let outcome = run("rules.sh");
    let passed = ["10.0.2.1.53:", "10.0.2.1.123:"].iter().all(|it| outcome.out.contains(it));
    assert!(passed, "{outcome:?}");
    assert!(!outcome.out.contains("10.0.2.1.80:"), "{outcome:?}");
    let scene = Scene::new();
    let filtered = |filter: &str, program: &str, only: &str| {
        let path = examples().join(filter);
        scene.sh(&format!(
            "stdpkt run --right 10.0.0.1/24 -- ping -c2 -W1 10.0.0.2 \
             | stdpkt each --only {only} -- {program} {} | stdpkt run --left 10.0.0.2/24",
            path.display()
        ))
    };
    let awk = filtered("filter.awk", "awk -f", "left-to-right");
    assert!(awk.err.contains("0 received") && awk.err.contains("awk dropped"), "{awk:?}");
    let python = filtered("filter.py", "python3", "right-to-left");
    assert!(python.err.contains("ttl=32"), "{python:?}");
}

#[test]
fn slow_links() {
    need_functions!("ping", "ss", "sed", "seq");
    says("slow.sh", &["lost (seed 7)", "stream "]);
    says("congestion.sh", &["dropped by --limit"]);
}

#[test]
fn a_program_traced() {
    need_functions!("root", "ip", "unshare", "ping", "tcpdump", "passt");
    let scene = Scene::new();
    let script = format!("exec {}", examples().join("trace-uplink.sh").display());
    let outcome = super::edges::uplink::on_the_host(&scene, "passt", &script);
    assert!(outcome.out.contains("ICMP echo request"), "{outcome:?}");
}

//! Examples of docs/edges.md, as they stand there.

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

pub const EDGES: &str = include_str!("../../docs/edges.md");

/// What is in the blocks of a language below a heading of docs/edges.md.
fn blocks<'a>(heading: &str, language: &str) -> Vec<&'a str> {
    blocks_of(EDGES, heading, language)
}

/// The same of any document.
pub fn blocks_of<'a>(document: &'a str, heading: &str, language: &str) -> Vec<&'a str> {
    let section = document.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("no heading {heading}"));
    let begin = format!("```{language}\n");
    let parts = section.split(&begin).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default()).collect()
}

/// A scene where `python3` is the one that has scapy, and the heading's script.
fn scene(heading: &str, script: &str) -> Scene {
    let scene = Scene::new();
    std::os::unix::fs::symlink("/usr/bin/python3", scene.path("bin/python3")).expect("the scene");
    std::fs::write(scene.path(script), blocks(heading, "python").concat()).expect("the scene");
    scene
}

#[test]
fn scapy_is_a_host() {
    need_functions!("bash", "ping", "scapy3");
    let heading = "Scapy as a peer";
    let scene = scene(heading, "host.py");
    let run = scene.start_in(&["bash"], &blocks(heading, "sh").concat()).end();
    assert!(run.err.contains(" bytes from 10.0.0.2: icmp_seq="), "{run:#?}");
    scene.assert_nothing_left();
}

#[test]
fn rules_are_tested_by_captures() {
    need_functions!("bash", "scapy3", "iptables", "tcpdump");
    let heading = "Rules tested by captures";
    let scene = scene(heading, "packets.py");
    let run = scene.start_in(&["bash", "-o", "pipefail"], &blocks(heading, "sh").concat()).end();
    assert_eq!(run.status, 0, "{run:#?}");
    let seen: Vec<&str> = run.out.lines().collect();
    assert_eq!(seen.len(), 2, "{run:#?}");
    assert!(
        seen[0].contains("8.8.8.8.80: Flags [S]") && seen[1].contains("8.8.8.8.53:"),
        "{run:#?}"
    );
    assert!(seen.iter().all(|line| line.contains(" IP 8.8.8.4.")), "{run:#?}");
    // The same with a mistake in a rule, and with half a capture.
    let rule = blocks(heading, "sh").concat().replace("-j REJECT", "-j NOTHING");
    let run = scene.start_in(&["bash", "-o", "pipefail"], &format!("{rule}\nfalse")).end();
    assert!(run.err.contains("setup command `iptables -A FORWARD"), "{run:#?}");
    let half = "head -c 100 in.pcap > half; stdpkt feed half | stdpkt dump -w out.pcap";
    let run = scene.start_in(&["bash", "-o", "pipefail"], half).end();
    assert_eq!(run.status, 125, "{run:#?}");
    scene.assert_nothing_left();
}

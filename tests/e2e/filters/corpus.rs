//! Captures in every format that other tools write, compared with tshark's reading.

use super::bash;
use crate::support::need::need;
use crate::support::scene::Scene;

#[test]
fn what_tshark_reads_is_read_or_counted() {
    need!(
        "bash",
        "scapy3",
        "tshark",
        "editcap",
        "mergecap",
        "text2pcap",
        "randpkt",
        "gzip",
        "zstd",
        "lz4"
    );
    let scene = Scene::new();
    std::fs::write(scene.path("corpus.py"), include_str!("corpus.py")).expect("the scene");
    // Debian's Python has scapy.
    let run = bash(&scene, "mkdir corpus; cd corpus; /usr/bin/python3 ../corpus.py");
    eprintln!("{}", run.out);
    assert!(run.status == 0 && run.out.contains("files 1"), "{run:#?}");
}

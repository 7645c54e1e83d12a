//! Captures in every format that other tools write, compared with tshark's reading.

use crate::support::need::need;
use crate::support::scene::Scene;

/// Makes the files, `what` of them, and compares. Debian's Python has scapy.
fn compare(what: &str) {
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
    for (name, script) in [
        ("make.py", include_str!("corpus/make.py")),
        ("compare.py", include_str!("corpus/compare.py")),
    ] {
        std::fs::write(scene.path(name), script).expect("the scene");
    }
    let python = "/usr/bin/python3";
    let script = format!(
        "mkdir corpus; cd corpus; {python} ../make.py {what} && timeout 2000 {python} ../compare.py"
    );
    let run = scene.start_in(&["bash"], &script).end_within(std::time::Duration::from_secs(2400));
    let run = run.unwrap_or_else(|| panic!("no end: {}", scene.everything_said()));
    println!("{}", run.out);
    assert!(run.status == 0 && run.out.contains("files: "), "{run:#?}");
}

#[test]
fn what_tshark_reads_is_read_or_counted() {
    compare("part");
}

/// The numbers in docs/filters.md.
#[test]
#[ignore = "takes minutes: 400 files, each read by tshark, too"]
fn the_whole_corpus_is_read_or_counted() {
    compare("whole");
}

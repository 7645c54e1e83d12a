//! What goes wrong beside a chain does not stop it.

use super::{bash, ok, scene};
use crate::support::need::{need, need_functions};
use crate::support::procs::Process;

const CLIENT: &str = "stdpkt run --right 10.0.0.1/24 -- ping -q -c5 -i0.02 10.0.0.2";
const SERVER: &str = "stdpkt run --left 10.0.0.2/24";

#[test]
fn a_fifo_nobody_reads_never_blocks_the_chain() {
    need_functions!("bash", "ping");
    let scene = scene();
    let run = bash(&scene, &format!("mkfifo mirror; {CLIENT} | stdpkt tee mirror | {SERVER}"));
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(run.err.contains("5 received"), "{}", run.err);
    assert!(
        run.err.contains("mirror: 1") && run.err.contains("frames without a copy"),
        "{}",
        run.err
    );
}

#[test]
fn a_fifo_whose_reader_stops_never_blocks_the_chain() {
    need_functions!("bash", "ping");
    let scene = scene();
    let run = bash(
        &scene,
        &format!(
            "mkfifo mirror; (head -c 100 > /dev/null; exec sleep 20) < mirror & reader=$!
         stdpkt run --right 10.0.0.1/24 -- stdpkt perf client 10.0.0.2 --seconds 0.3 \
         | stdpkt tee mirror | {SERVER} -- stdpkt perf server
         kill $reader"
        ),
    );
    assert!(run.err.contains("Gbit/s"), "{}", run.err);
}

#[test]
fn a_full_disk_costs_the_copy_only() {
    need_functions!("bash", "ping");
    let scene = scene();
    let run = bash(&scene, &format!("{CLIENT} | stdpkt tee /dev/full | {SERVER}"));
    // As with tee(1): the chain goes on, and in the end tee has failed.
    assert_eq!(run.status, 125, "{}", run.err);
    assert!(run.err.contains("5 received"), "{}", run.err);
    let lines: Vec<_> =
        run.err.lines().filter(|line| line.contains("/dev/full: No space")).collect();
    assert_eq!(lines.len(), 1, "{}", run.err);
}

#[test]
fn a_file_that_cannot_be_written_is_named_at_once() {
    need!("bash");
    let scene = scene();
    let run =
        bash(&scene, "stdpkt feed in.pcap | stdpkt tee no/such/file | stdpkt dump > /dev/null");
    assert!(run.err.contains("stdpkt: no/such/file: No such file or directory"), "{}", run.err);
    let run = bash(
        &scene,
        "echo text > x; stdpkt feed in.pcap | stdpkt tee -a x | stdpkt dump > /dev/null",
    );
    assert!(run.err.contains("stdpkt: x: not a capture that -a can append to"), "{}", run.err);
    assert_eq!(std::fs::read(scene.path("x")).expect("x"), b"text\n");
}

#[test]
fn nothing_is_appended_to_what_is_no_whole_capture_of_ours() {
    need!("bash", "editcap", "tcpdump");
    let scene = scene();
    for (make, said) in [
        ("printf x > x", "not a capture that -a can append to"),
        ("head -c 3 in.pcap > x", "not a capture that -a can append to"),
        ("head -c 23 in.pcap > x", "not a capture that -a can append to"),
        ("editcap -F nsecpcap in.pcap x 2>/dev/null", "not a capture that -a can append to"),
        ("editcap -F pcapng in.pcap x 2>/dev/null", "not a capture that -a can append to"),
        ("editcap -T rawip -F pcap in.pcap x 2>/dev/null", "not a capture that -a can append to"),
        (
            "editcap -s 60 -F pcap in.pcap x 2>/dev/null; printf '\\140\\0\\0\\0' | dd of=x bs=1 seek=16 conv=notrunc 2>/dev/null",
            "not a capture that -a can append to",
        ),
        (
            "head -c 200 in.pcap > x",
            "ends in the middle of a packet: cut it with `truncate -s 126`",
        ),
    ] {
        let script = format!(
            "{make}; cp x before; stdpkt feed in.pcap | stdpkt tee -a x | cat > /dev/null; cmp x before"
        );
        let run = bash(&scene, &script);
        assert!(run.err.contains(&format!("stdpkt: x: {said}")), "{make}: {run:#?}");
        assert!(!run.err.contains("differ"), "{make}: {run:#?}");
    }
    for make in ["rm -f x", ": > x", "cp in.pcap x", "truncate -s 126 x"] {
        let count = "tcpdump -nr x 2>/dev/null | wc -l";
        let script =
            format!("{make}; stdpkt feed in.pcap | stdpkt tee -a x | cat > /dev/null; {count}");
        let run = bash(&scene, &script);
        let want = match make {
            "cp in.pcap x" => "24\n",
            "truncate -s 126 x" => "13\n",
            _ => "12\n",
        };
        assert_eq!((run.out.as_str(), run.status), (want, 0), "{make}: {run:#?}");
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    need!("bash");
    let scene = scene();
    let run = bash(&scene, "stdpkt feed in.pcap | stdpkt dump --format hex | head -n 1 | wc -l");
    assert_eq!((run.out.as_str(), run.err.as_str()), ("1\n", ""));
}

#[test]
fn a_full_disk_leaves_a_whole_capture() {
    need_functions!("bash", "root", "tcpdump", "unshare");
    let scene = scene();
    let run = bash(
        &scene,
        "mkdir small
         unshare -m bash -o pipefail -c '
             mount -t tmpfs -o size=64k none small
             stdpkt run --right 10.0.0.1/24 -- stdpkt perf client 10.0.0.2 --seconds 0.3 \
             | stdpkt tee small/x.pcap | stdpkt run --left 10.0.0.2/24 -- stdpkt perf server
             cp small/x.pcap .'",
    );
    assert!(run.err.contains("Gbit/s"), "{run:#?}");
    assert_eq!(run.err.matches("small/x.pcap: No space left").count(), 1, "{run:#?}");
    assert!(run.err.contains("frames without a copy"), "{run:#?}");
    let read = bash(&scene, "tcpdump -nr x.pcap > /dev/null");
    assert!(read.status == 0 && !read.err.contains("truncated"), "{read:#?}");
    scene.assert_nothing_left();
}

#[test]
fn a_target_nobody_holds_does_not_stop_the_others() {
    need_functions!("bash", "ping", "mkfifo");
    let scene = scene();
    let run = bash(
        &scene,
        "mkfifo f1 f2
         stdpkt run --link l,at=f1,ip=10.0.0.2/24 -- sleep 1000 & one=$!
         stdpkt run --right 10.0.0.1/24 -- ping -q -c3 -i0.05 -W5 10.0.0.2 | stdpkt balance f1 f2
         kill $one; wait",
    );
    assert!(run.err.contains("3 received"), "{run:#?}");
    scene.assert_nothing_left();
}

#[test]
fn a_signal_leaves_a_whole_capture() {
    need_functions!("bash", "tcpdump");
    let filters = ["tee x.pcap", "filter ether proto 0x88b5"];
    for filter in filters {
        let scene = scene();
        // Packets that a pipe may take in part, and more of them than it holds, for a
        // reader that takes its time.
        let make = "printf -v octets ' %02x' {1..250}{,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,}; \
                    for n in {1..60}; do echo \"0 020000000002 020000000001 88B5$octets\"; done >big";
        ok(&scene, make);
        let script =
            format!("stdpkt feed big | stdpkt {filter} | (touch up; sleep 1; exec cat) >f");
        let play = scene.start_in(&["bash"], &script);
        scene.wait_for_file("up");
        std::thread::sleep(std::time::Duration::from_millis(500));
        let is_filter = |p: &Process| p.args.get(1).is_some_and(|a| filter.starts_with(a.as_str()));
        let process = scene.processes().into_iter().find(is_filter).expect("it runs");
        scene.signal(&process, rustix::process::Signal::TERM);
        play.end();
        let read = bash(&scene, "tcpdump -nr f | wc -l");
        assert!(!read.err.contains("truncated"), "{read:?}");
        assert!(read.out.trim().parse::<u32>().is_ok_and(|count| count > 3), "{read:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn frames_that_have_no_form_on_a_wire_are_counted_and_told() {
    need!("bash", "tcpdump", "libpcap");
    let scene = scene();
    // To be segmented, but no TCP; and one as it should be.
    let packet = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 6], &[0; 28]].concat();
    let framed = |header: [u8; 12]| {
        let len = ((header.len() + packet.len()) as u32).to_le_bytes();
        [&len[..], &header, &packet].concat()
    };
    let (good, bad) = (framed([0; 12]), framed([0, 1, 14, 0, 100, 0, 0, 0, 0, 0, 0, 0]));
    std::fs::write(scene.path("frames"), [&bad[..], &good, &bad].concat()).expect("the scene");
    let told =
        "left out 2 malformed frames, the first a frame to be segmented whose headers are not";
    for chain in [
        "stdpkt feed frames | cat | tcpdump -nr - 2>/dev/null",
        "stdpkt feed frames | stdpkt filter arp | cat | tcpdump -nr - 2>/dev/null",
        "stdpkt feed frames | stdpkt dump --format hex",
        "stdpkt feed frames | stdpkt wire --delay 1ms | stdpkt dump --format hex",
        "stdpkt feed frames | stdpkt each -- cat | stdpkt dump --format hex",
        "stdpkt feed frames | stdpkt join --left hex -- sh -c 'cat > seen'; cat seen",
    ] {
        let run = bash(&scene, chain);
        assert_eq!(run.err.matches(told).count(), 1, "{chain}: {run:#?}");
        assert_eq!((run.status, run.out.lines().count()), (0, 1), "{chain}: {run:#?}");
    }
    let run = bash(&scene, "stdpkt feed frames | stdpkt tee copy | stdpkt dump > x");
    assert!(run.err.contains("copy: 2 frames without a copy"), "{run:#?}");
    assert_eq!(ok(&scene, "tcpdump -nr copy 2>/dev/null").lines().count(), 1);
}

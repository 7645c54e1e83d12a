//! Captures and text, in and out, without a network stack.

use super::{bash, ok, scene};
use crate::support::need::{need, need_functions};

#[test]
fn each_format_goes_round() {
    need!("bash", "tcpdump");
    let scene = scene();
    let want = ok(&scene, "tcpdump -ntr in.pcap 2>/dev/null");
    assert_eq!(want.lines().count(), 12);
    for format in ["pcap", "pcapng", "hex", "hexdump", "hexdump --time"] {
        let through = format!("stdpkt feed in.pcap | stdpkt dump --format {format} > x");
        ok(&scene, &through);
        for into in ["stdpkt feed x", "stdpkt feed < x", "cat x | stdpkt feed -", "cat x"] {
            let got = ok(&scene, &format!("{into} | stdpkt dump | tcpdump -ntr - 2>/dev/null"));
            assert_eq!(got, want, "{format}, {into}");
        }
    }
}

#[test]
fn wireshark_reads_what_dump_writes() {
    need!("bash", "tshark", "text2pcap");
    let scene = scene();
    let fields = "-T fields -e eth.src -e udp.length -e vlan.id";
    let want = ok(&scene, &format!("tshark -r in.pcap {fields} 2>/dev/null"));
    assert_eq!(want.lines().count(), 12);
    ok(
        &scene,
        "stdpkt feed in.pcap | stdpkt dump --format hex > x
         text2pcap -q -r '^(?<time>\\S+) (?<data>[0-9A-F ]+)$' -t '%s.%f' x y.pcap",
    );
    assert_eq!(ok(&scene, &format!("tshark -r y.pcap {fields} 2>/dev/null")), want);
    ok(&scene, "stdpkt feed in.pcap | stdpkt dump --format pcapng -w z.pcapng");
    assert_eq!(ok(&scene, &format!("tshark -r z.pcapng {fields} 2>/dev/null")), want);
    let bad = "tshark -r y.pcap -o udp.check_checksum:TRUE -o ip.check_checksum:TRUE \
               -Y 'udp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed' 2>/dev/null";
    assert_eq!(ok(&scene, bad), "");
}

#[test]
fn awk_and_sed_are_filters() {
    need!("bash", "tcpdump", "awk", "sed");
    let scene = scene();
    // A filter by hardware address.
    let awk = "stdpkt feed in.pcap | stdpkt dump --format hex | awk '$2 == \"020000000004\"' \
               | stdpkt dump | tcpdump -nter - 2>/dev/null";
    let source = ok(&scene, awk);
    assert!(source.lines().all(|line| line.contains("> 02:00:00:00:00:04")), "{source}");
    assert_eq!(source.lines().count(), 1);
    // VLAN tags taken off.
    let sed = "stdpkt feed in.pcap | stdpkt dump --format hex \
               | sed 's/ 8100 00 64 \\(..\\) \\(..\\)/ \\1\\2/' | stdpkt feed \
               | stdpkt dump | tcpdump -nter - 2>/dev/null";
    let untagged = ok(&scene, sed);
    assert_eq!(untagged.lines().count(), 12);
    assert!(!untagged.contains("vlan"), "{untagged}");
}

#[test]
fn a_filter_passes_what_matches() {
    need!("bash", "tcpdump", "libpcap");
    let scene = scene();
    let filter = |expression: &str| {
        bash(
            &scene,
            &format!(
                "stdpkt feed in.pcap | stdpkt filter {expression} | stdpkt dump | tcpdump -nr - 2>/dev/null"
            ),
        )
    };
    let tagged = filter("vlan 100 and udp port 40000");
    if tagged.err.contains("needs libpcap") {
        return say::line!("skipped: {}", tagged.err.trim());
    }
    assert_eq!((tagged.out.lines().count(), tagged.status), (4, 0), "{}", tagged.err);
    assert_eq!(filter("--only right-to-left tcp").out.lines().count(), 12);
    assert_eq!(filter("tcp").out, "");
    let wrong = bash(&scene, "stdpkt filter 'tcp prot' < /dev/null");
    assert_eq!((wrong.status, wrong.err.lines().count()), (125, 1), "{}", wrong.err);
}

#[test]
fn what_is_no_capture_is_refused_in_one_line() {
    need!("bash");
    let scene = scene();
    for (make, part) in [
        ("printf 'GIF89a..'", "line 1: "),
        ("printf '\\336\\255\\276\\357'", "offset 0: begins with de ad be ef"),
        ("printf '0 FFFFFFFFFFFF 02000000001 0806 00\\n'", "line 1: `02000000001` is no source"),
        ("head -c 60 in.pcap", "offset 24: the stream ends in the middle of a packet"),
    ] {
        let run = bash(&scene, &format!("({make}) > x; stdpkt feed x | stdpkt dump > /dev/null"));
        let line = run.err.lines().find(|line| line.contains(part));
        assert!(line.is_some_and(|line| line.starts_with("stdpkt: x, ")), "{make}: {}", run.err);
        assert_eq!(run.status, 125, "{make}");
    }
    let dir = bash(&scene, "mkdir dir; stdpkt feed dir | cat");
    assert!(dir.err.starts_with("stdpkt: dir, offset 0: Is a directory"), "{dir:#?}");
    let none = bash(&scene, "stdpkt feed nowhere | cat");
    assert!(none.err.starts_with("stdpkt: nowhere: No such file"), "{}", none.err);
}

#[test]
fn text_may_go_both_ways() {
    need_functions!("bash", "ping", "sed");
    let scene = scene();
    // Nobody sends before CMD starts, and text has no header that would come first.
    let text = "stdpkt dump --format hex | sed -u ''";
    let end = |name: &str, n: u32, rest: &str| {
        format!("stdpkt run --link {name},at=/dev/stdin:/dev/stdout,ip=10.0.0.{n}/24 {rest}")
    };
    let script = format!(
        "mkfifo back; {} <back | {text} | {} | {text} >back",
        end("a", 1, "-- ping -c3 -i0.1 -W5 10.0.0.2"),
        end("b", 2, "-- sleep 1000"),
    );
    let outcome = bash(&scene, &script);
    assert!(outcome.err.contains(" 3 received"), "{outcome:?}");
    scene.assert_nothing_left();
}

//! Captures on standard input and in files: what is in them is read, what is not is
//! told, by every command in the same way.

use super::{bash, ok, scene};
use crate::support::need::{need, need_functions};

/// Every command that reads a link, from a file or pipe with a capture; those with a
/// link behind them show what they passed on.
const READERS: [(&str, &str); 6] = [
    ("stdpkt dump --format hex", ""),
    ("stdpkt feed", "| stdpkt dump --format hex"),
    ("stdpkt tee copy", "| stdpkt dump --format hex"),
    ("stdpkt filter ''", "| stdpkt dump --format hex"),
    ("stdpkt balance target", "& stdpkt dump < target > /dev/null 2>&1; wait $!"),
    ("stdpkt run --left 10.0.0.2/24", ""),
];

#[test]
fn what_a_capture_did_not_keep_is_counted_by_every_command() {
    need_functions!("bash", "editcap", "libpcap");
    let scene = scene();
    ok(&scene, "mkfifo target; editcap -F pcap -s 60 in.pcap cut 2>/dev/null");
    for (reader, rest) in READERS {
        for (name, from) in [("standard input", "cat cut | {}"), ("standard input", "{} < cut")] {
            let script = format!("{} {rest}", from.replace("{}", reader));
            let run = bash(&scene, &script);
            let said = format!("stdpkt: {name}: left out 12 of 12 packets: 12 not kept whole\n");
            assert!(run.err.contains(&said), "{script}: {run:#?}");
            assert_eq!((run.status, run.out.as_str()), (125, ""), "{script}");
        }
    }
    // What is whole beside what is not is not lost.
    ok(&scene, "editcap -F pcap -s 60 in.pcap a 2>/dev/null; cat a in.pcap > mixed");
    let run = bash(&scene, "stdpkt dump --format hex < mixed");
    assert_eq!((run.status, run.out.lines().count()), (125, 12), "{run:#?}");
    let line = "stdpkt: standard input: left out 12 of 24 packets: 12 not kept whole\n";
    assert_eq!(run.err, line);
    scene.assert_nothing_left();
}

#[test]
fn a_capture_that_breaks_off_ends_with_a_line_everywhere() {
    need_functions!("bash", "libpcap");
    let scene = scene();
    ok(&scene, "mkfifo target; head -c 150 in.pcap > broken");
    for (reader, rest) in READERS {
        let run = bash(&scene, &format!("cat broken | {reader} {rest}"));
        let said = "stdpkt: standard input, offset 126: the stream ends in the middle of a packet, \
                    after 1 packet\n";
        assert!(run.err.contains(said) && run.status == 125, "{reader}: {run:#?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn a_plain_file_is_a_link_that_is_read() {
    need_functions!("bash", "tcpdump", "mkfifo", "libpcap");
    let scene = scene();
    let want = ok(&scene, "stdpkt dump --format hex < in.pcap");
    assert_eq!(want.lines().count(), 12);
    let without_time = "| stdpkt dump --format hex | cut -d' ' -f2-";
    let want = ok(&scene, &format!("cat in.pcap {without_time}"));
    for reader in ["stdpkt tee copy", "stdpkt filter ''", "stdpkt feed"] {
        assert!(ok(&scene, &format!("{reader} < in.pcap {without_time}")) == want, "{reader}");
    }
    let balanced = "mkfifo target; stdpkt dump --format hex < target > out & \
                    stdpkt balance target < in.pcap; wait; cut -d' ' -f2- out";
    assert!(ok(&scene, balanced) == want);
    for link in ["--left 10.0.0.2/24", "--link left,at=/dev/stdin:back,ip=10.0.0.2/24"] {
        let back =
            "mkfifo back$$; ln -sf back$$ back; stdpkt run --link x,at=back,ip=10.0.0.3/24 &";
        let (back, end) = if link.contains("back") { (back, "kill $!") } else { ("", ":") };
        let run = bash(
            &scene,
            &format!(
                "{back} stdpkt run {link} \
                 -- timeout 20 tcpdump --immediate-mode -c 12 -ntei left udp < in.pcap; s=$?; {end}; exit $s"
            ),
        );
        assert_eq!((run.status, run.out.lines().count()), (0, 12), "{link}: {run:#?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn here_documents_of_every_shell_are_read() {
    need_functions!("bash", "tcpdump");
    let scene = scene();
    let arp = "FFFFFFFFFFFF 020000000001 0806 00 01 08 00 06 04 00 01 02 00 00 00 00 01 \
               0A 00 00 01 00 00 00 00 00 00 0A 00 00 09";
    std::fs::write(
        scene.path("doc"),
        format!(
            "stdpkt run --left 10.0.0.2/24 \
               -- timeout 20 tcpdump --immediate-mode -nti left -c 2 2>/dev/null <<EOF\n\
             0 {arp}\n0 {arp}\nEOF\n\
             stdpkt dump --format hexdump <<EOF\n0 {arp}\nEOF\n"
        ),
    )
    .expect("the scene's directory");
    for shell in ["bash", "dash", "zsh", "ksh93", "mksh", "busybox sh"] {
        let program = shell.split(' ').next().unwrap_or(shell);
        if !crate::support::need::have(&[program]) {
            continue;
        }
        let out = ok(&scene, &format!("{shell} doc"));
        let who = "ARP, Request who-has 10.0.0.9 tell 10.0.0.1, length 28\n";
        assert_eq!(out.matches(who).count(), 2, "{shell}: {out}");
        assert!(out.contains("000000 FF FF FF FF FF FF 02 00 00 00 00 01 08 06"), "{shell}: {out}");
    }
    if crate::support::need::have(&["fish"]) {
        let fish = "fish -c 'stdpkt dump --format hex < in.pcap; \
                    echo 0 FFFFFFFFFFFF 020000000001 0806 00 | stdpkt dump --format hex'";
        assert_eq!(ok(&scene, fish).lines().count(), 13);
    }
    scene.assert_nothing_left();
}

#[test]
fn dumps_of_every_tool_are_read_for_what_they_are() {
    need!("bash", "xxd", "od", "hexdump", "tcpdump", "tshark", "text2pcap", "awk");
    let scene = scene();
    let packets = "cut -d' ' -f2-";
    let want = ok(&scene, &format!("stdpkt dump --format hex < in.pcap | {packets}"));
    // What prints whole captures.
    for tool in [
        "tshark -x -r in.pcap",
        "tshark -P -x -r in.pcap",
        "tshark -V -x -r in.pcap",
        "tcpdump -xx -nr in.pcap",
        "tcpdump -XX -nttttr in.pcap",
        "stdpkt dump --format hexdump < in.pcap",
        "stdpkt dump --format hexdump --time < in.pcap",
    ] {
        let got = ok(&scene, &format!("{tool} 2>/dev/null | stdpkt dump --format hex | {packets}"));
        assert!(got == want, "{tool}: {}", got.lines().count());
    }
    // What prints the bytes of one packet.
    ok(&scene, "head -c 126 in.pcap | tail -c 86 > packet");
    let first = want.lines().next().expect("a packet");
    for tool in [
        "od -Ax -tx1",
        "od -Ax -tx1 -v",
        "od -Ax -tx1z",
        "od -tx1",
        "od -Ad -tx1",
        "xxd",
        "xxd -g1",
        "xxd -c 8",
        "hexdump -C",
        "hexdump -vC",
    ] {
        let got = ok(&scene, &format!("{tool} packet | stdpkt dump --format hex | {packets}"));
        assert_eq!(got.trim_end(), first, "{tool}");
        let got = ok(&scene, &format!("({tool} packet; {tool} packet) | stdpkt dump --format hex"));
        assert_eq!(got.lines().count(), 2, "{tool}");
    }
    // As `tcpdump -x` dumps it, the link's header is missing: one is made.
    let ip = ok(&scene, "tcpdump -x -nr in.pcap not vlan 2>/dev/null | stdpkt dump --format hex");
    assert_eq!(ip.lines().count(), 8);
    assert!(ip.lines().all(|line| line.contains(" 02720A000002 02720A000001 0800 ")), "{ip}");
}

#[test]
fn a_dump_that_text2pcap_and_xxd_take() {
    need!("bash", "xxd", "tcpdump", "text2pcap");
    let scene = scene();
    let want = ok(&scene, "tcpdump -ttnr in.pcap 2>/dev/null");
    let through = "stdpkt dump --format hexdump --time < in.pcap \
                   | text2pcap -q -t %s.%f - - 2>/dev/null | tcpdump -ttnr - 2>/dev/null";
    assert_eq!(ok(&scene, through), want);
    // The line of a mirror.
    let without_time = "tcpdump -tnr in.pcap 2>/dev/null";
    let mirror = "mkfifo pipe1; cat in.pcap > pipe1 & stdpkt dump --format hexdump < pipe1 \
                  | text2pcap - - 2>/dev/null | tcpdump -tnr - 2>/dev/null";
    assert_eq!(ok(&scene, mirror), ok(&scene, without_time));
    let one = "head -c 126 in.pcap | stdpkt dump --format hexdump | xxd -r | cmp - packet";
    ok(&scene, &format!("head -c 126 in.pcap | tail -c 86 > packet; {one}"));
    let refused = bash(&scene, "stdpkt dump --format hex --time < in.pcap");
    assert!(refused.err.starts_with("stdpkt: --time: only with --format hexdump"), "{refused:?}");
}

#[test]
fn what_is_no_capture_is_named_and_helped() {
    need!("bash", "editcap", "xz", "od", "awk");
    let scene = scene();
    for (make, said, help) in [
        (
            "editcap -F snoop in.pcap - 2>/dev/null",
            "a capture of snoop: put `editcap -F pcapng FILE - |` before this command",
            "editcap -F pcapng x -",
        ),
        (
            "editcap -F k12text in.pcap - 2>/dev/null",
            "a capture of K12 text: put `editcap -T ether -F pcapng FILE - |` before this command",
            "editcap -T ether -F pcapng x -",
        ),
        (
            "xz -c in.pcap",
            "compressed with xz: put `xz -dc FILE |` before this command",
            "xz -dc x",
        ),
        ("tail -c +41 in.pcap", "an Ethernet frame with nothing before it, as a TAP gives it", ""),
        (
            "stdpkt dump --format hex < in.pcap | cut -d' ' -f2-",
            "line 1: `020000000000` is no time, in seconds or 0: a line is time, destination,",
            "sed 's/^/0 /' x",
        ),
        (
            "stdpkt dump --format hex < in.pcap | awk '{ $1 = \"\"; print }'",
            "line 1: `020000000000` is no time",
            "sed 's/^/0 /' x",
        ),
        ("hexdump in.pcap", "a dump of words, in an order of bytes that only who wrote them", ""),
        ("od -Ax -tx1 in.pcap", "the dump of a capture, not of packets", "od -Ax -tx1 x | xxd -r"),
        ("tcpdump -nr in.pcap 2>/dev/null", "text of tcpdump: let it write packets", ""),
    ] {
        let run = bash(&scene, &format!("({make}) > x; stdpkt feed x | cat"));
        assert!(run.err.starts_with("stdpkt: x, ") && run.err.contains(said), "{make}: {run:#?}");
        assert_eq!((run.status, run.err.lines().count()), (125, 1), "{make}: {run:#?}");
        if !help.is_empty() && !help.starts_with("od") {
            let helped = ok(&scene, &format!("{help} 2>/dev/null | stdpkt dump --format hex"));
            assert_eq!(helped.lines().count(), 12, "{help}");
        }
    }
    // QEMU's framing, and the way out.
    ok(&scene, "printf '\\0\\0\\0\\126' > framed; head -c 126 in.pcap | tail -c 86 >> framed");
    let run = bash(&scene, "stdpkt dump < framed > /dev/null");
    assert!(run.err.contains("write `stdpkt join qemu -- CMD |` for `CMD |`"), "{run:#?}");
    let joined = ok(&scene, "stdpkt join qemu -- cat framed | stdpkt dump --format hex");
    assert_eq!(joined.lines().count(), 1);
}

#[test]
fn a_program_behind_feed_sees_all_of_it() {
    need_functions!("bash", "tcpdump", "libpcap");
    let scene = scene();
    for between in ["", "| stdpkt filter ''", "| stdpkt tee copy"] {
        let run = bash(
            &scene,
            &format!(
                "stdpkt feed --loop 2 in.pcap {between} | stdpkt run --left 10.0.0.2/24 \
                 -- timeout 30 tcpdump --immediate-mode -c 24 -ni left udp 2>/dev/null"
            ),
        );
        assert_eq!((run.status, run.out.lines().count()), (0, 24), "{between}: {run:#?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn a_program_that_takes_its_time_to_begin_sees_all_of_it() {
    need_functions!("bash", "tcpdump", "libpcap");
    let scene = scene();
    // As on a machine where everything takes long: it computes, and listens then.
    let slow = "end=$((${EPOCHREALTIME/[.,]/} + 1500000))
                while [ ${EPOCHREALTIME/[.,]/} -lt $end ]; do :; done
                exec timeout 30 tcpdump --immediate-mode -c 12 -ni left net 10 or vlan 2>/dev/null";
    std::fs::write(scene.path("slow"), slow).expect("the scene's directory");
    for from in
        ["stdpkt feed in.pcap |", "cat in.pcap |", "stdpkt feed in.pcap | stdpkt filter '' |"]
    {
        let run = bash(&scene, &format!("{from} stdpkt run --left 10.0.0.2/24 -- bash slow"));
        assert_eq!((run.status, run.out.lines().count()), (0, 12), "{from}: {run:#?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn feed_keeps_the_time_and_goes_round() {
    need!("bash");
    let scene = scene();
    let rounds = "stdpkt feed --loop 3 in.pcap | stdpkt dump --format hex | wc -l";
    assert_eq!(ok(&scene, rounds), "36\n");
    let text = "0 FFFFFFFFFFFF 020000000001 0806 00";
    let slow = format!(
        "printf '%s\\n' '1700000000 {}' '1700000001.5 {}' > x
         begin=$(date +%s%N); stdpkt feed --after-cmd 0 --speed 2 x | stdpkt dump --format hex | wc -l
         echo $((($(date +%s%N) - begin) / 1000000 >= 750))",
        &text[2..],
        &text[2..]
    );
    assert_eq!(ok(&scene, &slow), "2\n1\n");
    let refused = bash(&scene, "cat in.pcap | stdpkt feed --loop 2 | cat");
    assert!(refused.err.contains("--loop: standard input cannot be read again"), "{refused:?}");
}

//! On a live chain of functions.

use crate::Bench;

const CLIENT: &str = "stdpkt run --right 10.0.0.1/24 -- ping -q -c10 -i0.02 10.0.0.2";
const SERVER: &str = "stdpkt run --left 10.0.0.2/24";

#[test]
fn tee_copies_both_directions() {
    let Some(bench) = Bench::with_networks(&["tcpdump"]) else { return };
    let out = bench.ok(&format!("{CLIENT} | stdpkt tee x.pcap y.pcap | {SERVER}"));
    assert_eq!(out, "", "what CMD says does not go into the link");
    for file in ["x.pcap", "y.pcap"] {
        let seen = bench.ok(&format!("tcpdump -nr {file} icmp 2>/dev/null"));
        assert_eq!(seen.lines().count(), 20, "{seen}");
    }
    bench.ok(&format!("{CLIENT} | stdpkt tee -a x.pcap | {SERVER}"));
    assert_eq!(bench.ok("tcpdump -nr x.pcap icmp 2>/dev/null").lines().count(), 40);
}

#[test]
fn a_fifo_is_a_mirror_for_whoever_reads_it() {
    let Some(bench) = Bench::with_networks(&["tcpdump"]) else { return };
    for reader in ["tcpdump -nr mirror icmp", "stdpkt dump < mirror | tcpdump -nr - icmp"] {
        let out = bench.ok(&format!(
            "rm -f mirror; mkfifo mirror
             ({reader} > seen 2>/dev/null) & reader=$!
             {CLIENT} | stdpkt tee mirror | {SERVER}
             wait $reader; cat seen"
        ));
        assert_eq!(out.lines().count(), 20, "{reader}: {out}");
    }
}

#[test]
fn tcpdump_reads_a_link() {
    let Some(bench) = Bench::with_networks(&["tcpdump"]) else { return };
    let run = bench.sh("stdpkt run --right 10.0.0.1/24 -- ping -c2 -W1 10.0.0.2 2>/dev/null \
         | tcpdump -nr - 2>/dev/null");
    assert!(run.out.contains("ARP, Request who-has 10.0.0.2"), "{} {}", run.out, run.err);
    // A reader that has had enough ends the chain without a word.
    let run = bench.sh("stdpkt run --right 10.0.0.1/24 -- ping -c9 -W1 10.0.0.2 2>/dev/null \
         | tcpdump -c1 -nr - 2>/dev/null");
    assert!(!run.err.contains("stdpkt:"), "{}", run.err);
}

#[test]
fn a_capture_of_large_segments_has_no_bad_checksum() {
    let Some(bench) = Bench::with_networks(&["tshark", "capinfos"]) else { return };
    let perf = "-- stdpkt perf client 10.0.0.2 --seconds 0.2";
    bench.sh(&format!(
        "stdpkt run --right 10.0.0.1/24 {perf} | stdpkt tee x.pcap \
         | {SERVER} -- stdpkt perf server"
    ));
    // The seeds' way: coreutils in between, and a FIFO for the way back.
    bench.sh(&format!(
        "mkfifo back
         stdpkt run --link a,at=back:/dev/stdout,ip=10.0.0.1/24 {perf} | tee y.pcap | cat \
         | stdpkt run --link b,at=/dev/stdin:back,ip=10.0.0.2/24 -- stdpkt perf server"
    ));
    for file in ["x.pcap", "y.pcap"] {
        let count = bench.ok(&format!("capinfos -Mc {file} | sed -n 's/.*packets: *//p'"));
        assert!(count.trim().parse::<u32>().unwrap() > 200, "{file}: {count} packets");
        let bad = bench.ok(&format!(
            "tshark -r {file} -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE \
             -Y 'tcp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed || frame.len > 1514' \
             2>/dev/null"
        ));
        assert_eq!(bad, "", "{file}");
    }
}

#[test]
fn pipes_and_sockets_in_between_carry_a_link_one_way() {
    let Some(bench) = Bench::with_networks(&["socat"]) else { return };
    let out = bench.ok("mkfifo back
         stdpkt run --link a,at=back:/dev/stdout,ip=10.0.0.1/24 \
             -- sh -c 'ping -q -c5 -i0.05 10.0.0.2 >&2' | socat -u - - | cat \
         | stdpkt run --link b,at=/dev/stdin:back,ip=10.0.0.2/24 && echo fine");
    assert_eq!(out, "fine\n");
}

#[test]
fn flows_spread_over_targets_and_leave_the_dead() {
    let Some(bench) = Bench::with_networks(&[]) else { return };
    let out = bench.sh(
        "mkfifo f1 f2
         stdpkt run --link l,at=f1,ip=10.0.0.2/24 -- stdpkt perf server 2> s1 & one=$!
         stdpkt run --link l,at=f2,ip=10.0.0.2/24 -- stdpkt perf server 2> s2 & two=$!
         sleep 1
         stdpkt run --right 10.0.0.1/24 -- sh -c '
             for n in 1 2 3 4 5 6 7 8 9 10; do stdpkt perf client 10.0.0.2 --seconds 0.1 || exit 9; done
             sleep 1.5
             for n in 1 2 3 4; do stdpkt perf client 10.0.0.2 --seconds 0.1 || exit 9; done' \
         | stdpkt balance f1 f2 & chain=$!
         sleep 3.5; kill -9 $one
         wait $chain; echo client $?
         kill $two; wait
         grep -c stream: s1 s2",
    );
    assert!(out.out.contains("client 0"), "{} {}", out.out, out.err);
    let count = |name: &str| {
        let line = out.out.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.parse::<u32>().unwrap()
    };
    let (one, two) = (count("s1:"), count("s2:"));
    assert!(one > 0 && two > 0 && one + two == 14, "{one} and {two}: {}", out.err);
}

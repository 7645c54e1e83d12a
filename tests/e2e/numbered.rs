//! A sender numbers its datagrams while the chain that they go through is changed: none is lost,
//! doubled or overtaken.
//!
//! Prints the pauses. As a report: `STDPKT_TESTS_SWAPS=100 cargo test --release --workspace --test e2e
//! numbered -- --nocapture`.

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};
use crate::swap::{end, name, swaps};

/// A datagram each half millisecond until there is a file `changed`, then their number.
pub const SEND: &str = "
import os, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to = (sys.argv[1], 5000)
while not os.path.exists('ready'): time.sleep(0.01)
n = 0
while not os.path.exists('changed'):
    s.sendto(b'%d' % n, to)
    n += 1
    time.sleep(0.0005)
time.sleep(0.2)
for _ in range(5):
    s.sendto(b'end %d' % n, to)
    time.sleep(0.1)
";

/// Notes when each came; then tells what is missing, and the longest pause in each change of
/// `changes`, whose lines are: kind, begin, end.
pub const RECEIVE: &str = "
import os, socket, statistics, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.bind(('', 5000))
open('ready', 'w').close()
seen, times = [], []
while True:
    data = s.recv(100)
    if data.startswith(b'end'):
        sent = int(data.split()[1])
        break
    seen.append(int(data)); times.append(time.time())
    if len(seen) == 1: open('flows', 'w').close()
out = open('counts.new', 'w')
lost = sent - len(set(seen))
doubled = len(seen) - len(set(seen))
overtaken = sum(b < a for a, b in zip(seen, seen[1:]))
print('datagrams', sent, 'lost', lost, 'doubled', doubled, 'overtaken', overtaken, file=out)
pauses = {}
for line in open('changes'):
    kind, begin, end = line.split()
    begin, end = float(begin), float(end)
    gaps = [b - a for a, b in zip(times, times[1:]) if b >= begin and a <= end]
    pauses.setdefault(kind, []).append(max(gaps, default=0) * 1000)
for kind, all in pauses.items():
    print('%s: %d times, pause %.1f ms in the median, %.1f ms at worst' % (kind, len(all), statistics.median(all), max(all)), file=out)
out.close()
os.rename('counts.new', 'counts')
";

/// Runs `change` in a loop while datagrams pass client | router | server.
fn numbered(scene: &Scene, [c, r, s]: [&str; 3], change: &str) -> Outcome {
    std::fs::write(scene.path("send.py"), SEND).expect("scene");
    std::fs::write(scene.path("receive.py"), RECEIVE).expect("scene");
    let n = swaps();
    end(scene.start_in(
            &["bash"],
            &format!(
                r#"
                router="stdpkt run --name {r} --left 10.0.0.1/24 --right 10.0.1.1/24 --forward"
                stdpkt run --name {c} --right 10.0.0.2/24 --gateway 10.0.0.1 -- python3 send.py 10.0.1.2 \
                | $router | stdpkt run --name {s} --left 10.0.1.2/24 --gateway 10.0.1.1 -- python3 receive.py & chain=$!
                until [ -e flows ]; do sleep 0.05; done
                timed() {{ kind=$1 begin=$(date +%s.%N); shift; stdpkt "$@" || exit; echo $kind $begin $(date +%s.%N) >> changes; sleep 0.0$((RANDOM % 9)); }}
                for i in $(seq {n}); do {change}; done; touch changed
                wait $chain; cat counts"#
            ),
        ))
}

fn lost(run: &Outcome) -> u64 {
    let line = run.out.lines().find(|line| line.starts_with("datagrams ")).unwrap_or_default();
    println!("{}", run.out);
    assert!(line.ends_with("doubled 0 overtaken 0"), "{run:#?}");
    line.split(' ').nth(3).and_then(|word| word.parse().ok()).expect("a number")
}

#[test]
fn no_datagram_is_lost_when_functions_are_put_in_and_taken_out() {
    need_functions!("bash", "python3", "libpcap");
    let scene = Scene::new();
    let [c, r, s, t, f] = ["nc", "nr", "ns", "nt", "nf"].map(name);
    let change = format!(
        "timed insert-tee insert {c}:right -- stdpkt tee --name {t} t.pcap; \
         timed insert-filter insert {r} {s} -- stdpkt filter --name {f} ip or arp; \
         timed remove-tee remove {t}; timed remove-filter remove {f}"
    );
    let run = numbered(&scene, [&c, &r, &s], &change);
    assert_eq!(lost(&run), 0, "{run:#?}");
    scene.assert_nothing_left();
}

#[test]
fn no_datagram_is_lost_when_a_router_gets_and_loses_an_interface() {
    need_functions!("bash", "python3");
    let scene = Scene::new();
    assert_eq!(scene.sh("mkfifo fifo").status, 0);
    let [c, r, s] = ["oc", "or", "os"].map(name);
    let change = format!(
        "timed link link {r} x,at=fifo,ip=10.0.2.1/24; stdpkt run --link l,at=fifo,ip=10.0.2.2/24 -- \
         ping -q -c 3 -i 0.01 10.0.2.1 >/dev/null || exit; timed unlink unlink {r} x"
    );
    let run = numbered(&scene, [&c, &r, &s], &change);
    assert_eq!(lost(&run), 0, "{run:#?}");
    scene.assert_nothing_left();
}

/// But for what is inside of its kernel at that moment.
#[test]
fn datagrams_are_lost_in_the_kernel_of_a_router_that_is_swapped_and_nowhere_else() {
    need_functions!("bash", "python3");
    let scene = Scene::new();
    let [c, r, s] = ["mc", "mr", "ms"].map(name);
    let run = numbered(&scene, [&c, &r, &s], &format!("timed swap swap {r} -- $router"));
    // A kernel that holds packets holds those of some milliseconds.
    let lost = lost(&run);
    assert!(lost <= u64::from(swaps()) * 100, "{run:#?}");
    scene.assert_nothing_left();
}

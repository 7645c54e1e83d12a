//! Chains at random: whatever stands between two functions, all bytes that TCP
//! took and all datagrams arrive, though their sender ends at once; and whatever router
//! on FIFOs ends or is killed meanwhile, all that TCP took arrives, and all datagrams that
//! are sent once each is there again; and what a stopped neighbour has no room for is counted
//! where `stdpkt ls` shows it. A few by default; for a long run:
//!
//! ```text
//! STDPKT_TESTS_CHAINS=500 cargo test -p stdpkt-tests --test e2e property
//! ```

mod counted;
mod devices;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::procs::Process;
use crate::support::scene::{Play, Scene};
use crate::support::{WATCHDOG, wait_until};

/// Bytes of a datagram. Two hundred of them fit into a socket that nobody reads.
const DATAGRAM: u64 = 200;

#[derive(Debug, Clone)]
struct Chain {
    middle: Vec<Middle>,
    fifo: bool,
    /// Whether the last function sends, against the direction of the pipes.
    back: bool,
    bytes: u64,
    datagrams: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Middle {
    Router,
    Tee,
    Filter,
}

fn middles() -> impl Strategy<Value = Middle> {
    prop_oneof![Just(Middle::Router), Just(Middle::Tee), Just(Middle::Filter)]
}

fn chains() -> impl Strategy<Value = Chain> {
    let middle = prop::collection::vec(middles(), 0..4);
    (middle, any::<bool>(), any::<bool>(), 0u64..6_000_000, 0u64..=200).prop_map(
        |(middle, fifo, back, bytes, datagrams)| Chain { middle, fifo, back, bytes, datagrams },
    )
}

impl Chain {
    /// As one would type it.
    fn script(&self) -> String {
        let routers = self.middle.iter().filter(|it| **it == Middle::Router).count();
        let (first, last) = ("10.0.0.1".to_owned(), format!("10.0.{routers}.2"));
        let receiver = if self.back { &first } else { &last };
        let send = format!(
            "bash -c 'head -c {} /dev/zero | socat -u - TCP:{receiver}:99,retry=100,interval=0.1; \
             exec 3>/dev/udp/{receiver}/9; printf -v data %0{DATAGRAM}d; \
             for ((n = 0; n < {}; n++)); do printf $data >&3; done'",
            self.bytes, self.datagrams
        );
        let receive = "bash -c 'socat -u UDP-RECV:9 CREATE:udp & \
                       until grep -q :0009 /proc/net/udp; do sleep 0.02; done; \
                       socat -u TCP-LISTEN:99 CREATE:tcp; sleep 1000'"
            .to_owned();
        let (at_first, at_last) = if self.back { (receive, send) } else { (send, receive) };
        self.between(&at_first, &at_last)
    }

    /// The chain between a CMD of its first function and one of its last.
    fn between(&self, at_first: &str, at_last: &str) -> String {
        let routers = self.middle.iter().filter(|it| **it == Middle::Router).count();
        let (first, last) = ("10.0.0.1", format!("10.0.{routers}.2"));
        let run = if self.fifo { "stdpkt run --channel fifo" } else { "stdpkt run" };
        let mut script = format!("{run} --right {first}/24 --gateway 10.0.0.2 -- {at_first}");
        let mut net = 0;
        for (at, middle) in self.middle.iter().enumerate() {
            script += &match middle {
                Middle::Tee => format!(" | stdpkt tee x{at}.pcap"),
                Middle::Filter => format!(" | stdpkt filter 'ip or arp or port {}'", at + 1),
                Middle::Router => {
                    let back = |to: u32| format!("--route 10.0.{to}.0/24=10.0.{net}.1 ");
                    let back: String = (0..net).map(back).collect();
                    net += 1;
                    format!(
                        " | {run} --forward {back} --left 10.0.{}.2/24 --right 10.0.{net}.1/24 \
                         --gateway 10.0.{net}.2",
                        net - 1
                    )
                }
            };
        }
        format!("{script} | {run} --name last --left {last}/24 --gateway 10.0.{net}.1 -- {at_last}")
    }
}

/// The live function or filter with `word` on its command line.
fn element(scene: &Scene, word: &str) -> Option<Process> {
    let is = |it: &Process| it.name == "stdpkt" && it.args.iter().any(|arg| arg == word);
    scene.processes().into_iter().find(is)
}

fn runner(cases: u32) -> TestRunner {
    let wish = std::env::var("STDPKT_TESTS_CHAINS").ok();
    let cases = wish.map_or(cases, |text| text.parse().expect("a number of chains"));
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[test]
fn whatever_a_chain_is_all_arrives() {
    need_functions!("bash", "socat", "libpcap");
    let property = |chain: Chain| {
        let scene = Scene::new();
        let (statuses, outcome) = scene.pipeline(&chain.script());
        let size = |file: &str| std::fs::metadata(scene.path(file)).map_or(0, |meta| meta.len());
        prop_assert_eq!(size("tcp"), chain.bytes, "{:?} {:?} {:?}", chain, statuses, outcome);
        let expected = chain.datagrams * DATAGRAM;
        prop_assert_eq!(size("udp"), expected, "{:?} {:?} {:?}", chain, statuses, outcome);
        let sender = if chain.back { statuses.last() } else { statuses.first() };
        prop_assert_eq!(sender, Some(&0), "{:?}", outcome);
        scene.assert_nothing_left();
        Ok(())
    };
    if let Err(error) = runner(6).run(&chains(), property) {
        panic!("{error}");
    }
}

/// Routers on FIFOs between a sender and a receiver.
#[derive(Debug, Clone)]
struct Restarts {
    routers: usize,
    fifo: bool,
    /// Of each: which router, whether it is killed, and how long until there is another.
    events: Vec<(usize, bool, u64)>,
    /// Bytes in each of [`CHUNKS`] pieces, one after the other.
    bytes: u64,
    datagrams: u64,
}

/// A connection that lives as long as routers come and go.
const CHUNKS: u64 = 50;

fn restarts() -> impl Strategy<Value = Restarts> {
    let event = (0usize..3, any::<bool>(), 0u64..400);
    let events = prop::collection::vec(event, 1..5);
    (1usize..4, any::<bool>(), events, 0u64..100_000, 0u64..=200).prop_map(
        |(routers, fifo, events, bytes, datagrams)| {
            let events = events.into_iter().map(|(at, kill, pause)| (at % routers, kill, pause));
            Restarts { routers, fifo, events: events.collect(), bytes, datagrams }
        },
    )
}

impl Restarts {
    /// The sides of link `n`, which two FIFOs are.
    fn sides(&self, n: usize) -> [String; 2] {
        [format!("r,at=b{n}:a{n},ip=10.0.{n}.1/24"), format!("l,at=a{n}:b{n},ip=10.0.{n}.2/24")]
    }

    fn run(&self, rest: &str) -> String {
        let channel = if self.fifo { "--channel fifo" } else { "" };
        format!("exec stdpkt run {channel} {rest}")
    }

    fn router(&self, n: usize) -> String {
        let ([_, left], [right, _]) = (self.sides(n), self.sides(n + 1));
        let back: String = (0..n).map(|to| format!("--route 10.0.{to}.0/24=10.0.{n}.1 ")).collect();
        let forth = n + 1;
        self.run(&format!("--forward --link {left} --link {right} {back} --gateway 10.0.{forth}.2"))
    }

    fn sender(&self) -> String {
        let last = format!("10.0.{}.2", self.routers);
        self.run(&format!(
            "--link {} --gateway 10.0.0.2 -- bash -c '
             for ((n = 0; n < {CHUNKS}; n++)); do head -c {} /dev/zero; sleep 0.02; done \
             | socat -u - TCP:{last}:99,retry=100,interval=0.1
             until [ -e calm ] && ping -q -c1 -W1 {last} >/dev/null; do sleep 0.02; done
             exec 3>/dev/udp/{last}/9; printf -v data %0{DATAGRAM}d
             for ((n = 0; n < {}; n++)); do printf $data >&3; done'",
            self.sides(0)[0],
            self.bytes,
            self.datagrams
        ))
    }

    fn receiver(&self) -> String {
        let n = self.routers;
        self.run(&format!(
            "--link {} --gateway 10.0.{n}.1 -- bash -c '
             socat -u UDP-RECV:9 CREATE:udp & until grep -q :0009 /proc/net/udp; do sleep 0.02; done
             socat -u TCP-LISTEN:99 CREATE:tcp; touch received; sleep 1000'",
            self.sides(n)[1]
        ))
    }

    /// Routers end and others come in their places, while the connection lives.
    fn happen<'a>(&self, scene: &'a Scene, routers: &mut [Play<'a>]) {
        for &(at, kill, pause) in &self.events {
            std::thread::sleep(std::time::Duration::from_millis(100));
            let word = &self.sides(at)[1];
            wait_until(WATCHDOG, || scene.find_function(word).map(drop).ok_or(word.clone()));
            let signal = if kill { Signal::KILL } else { Signal::TERM };
            scene.signal(&scene.function(word), signal);
            std::thread::sleep(std::time::Duration::from_millis(pause));
            let next = scene.start_sh(&self.router(at));
            std::mem::replace(&mut routers[at], next).end();
        }
        std::fs::write(scene.path("calm"), "").expect("a file");
    }
}

#[test]
fn whatever_is_restarted_all_arrives() {
    need_functions!("bash", "socat", "ping", "mkfifo");
    let property = |chain: Restarts| {
        let scene = Scene::new();
        let fifos: String = (0..=chain.routers).map(|n| format!("a{n} b{n} ")).collect();
        prop_assert_eq!(scene.sh(&format!("mkfifo {fifos}")).status, 0);
        let receiver = scene.start_sh(&chain.receiver());
        let mut routers: Vec<_> =
            (0..chain.routers).map(|n| scene.start_sh(&chain.router(n))).collect();
        let sender = scene.start_sh(&chain.sender());
        chain.happen(&scene, &mut routers);
        let sent = sender.end();
        // On a machine with much to do it may be told whom it waits for.
        let said = sent.err.lines().any(|line| !line.contains(": waiting for another stdpkt on "));
        prop_assert!(sent.status == 0 && !said, "{:?} {:?}", chain, sent);
        let size = |file: &str| std::fs::metadata(scene.path(file)).map_or(0, |meta| meta.len());
        // What the sender's end left in the links is still on its way.
        let expected = [chain.bytes * CHUNKS, chain.datagrams * DATAGRAM];
        wait_until(WATCHDOG, || {
            let arrived = [size("tcp"), size("udp")];
            if arrived == expected {
                return Ok(());
            }
            let counted = scene.sh("stdpkt ls --json").out;
            Err(format!("{chain:?}: {arrived:?} of {expected:?}: {counted}"))
        });
        for play in routers.into_iter().chain([receiver]) {
            play.signal_group(Signal::TERM);
            play.end();
        }
        scene.assert_nothing_left();
        Ok(())
    };
    if let Err(error) = runner(3).run(&restarts(), property) {
        panic!("{error}");
    }
}

//! Chains at random: whatever stands between two functions, all bytes that TCP
//! took and all datagrams arrive, though their sender ends at once. A few by
//! default; for a long run:
//!
//! ```text
//! STDPKT_TESTS_CHAINS=500 cargo test -p stdpkt-tests --test e2e property
//! ```

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

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

fn chains() -> impl Strategy<Value = Chain> {
    let middle = prop_oneof![Just(Middle::Router), Just(Middle::Tee), Just(Middle::Filter)];
    let middle = prop::collection::vec(middle, 0..4);
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
        let run = if self.fifo { "stdpkt run --channel fifo" } else { "stdpkt run" };
        let mut script = format!("{run} --right {first}/24 --gateway 10.0.0.2 -- {at_first}");
        let mut net = 0;
        for (at, middle) in self.middle.iter().enumerate() {
            script += &match middle {
                Middle::Tee => format!(" | stdpkt tee x{at}.pcap"),
                Middle::Filter => " | stdpkt filter 'ip or arp'".to_owned(),
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
        format!("{script} | {run} --left {last}/24 --gateway 10.0.{net}.1 -- {at_last}")
    }
}

#[test]
fn whatever_a_chain_is_all_arrives() {
    need_functions!("bash", "socat");
    let cases = std::env::var("STDPKT_TESTS_CHAINS").ok();
    let cases = cases.map_or(6, |text| text.parse().expect("a number of chains"));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
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
    if let Err(error) = TestRunner::new(config).run(&chains(), property) {
        panic!("{error}");
    }
}

//! What does not arrive is counted: a flood of datagrams runs into a chain one element
//! of which is stopped for a while.

use std::time::Duration;

use proptest::prelude::*;
use rustix::process::Signal;

use super::{Chain, Middle, element, middles, runner};
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::{WATCHDOG, wait_until};

#[derive(Debug, Clone)]
struct Flood {
    chain: Chain,
    datagrams: u64,
    /// Which element behind the sender is stopped, and how many milliseconds.
    stopped: (usize, u64),
}

fn floods() -> impl Strategy<Value = Flood> {
    let middle = prop::collection::vec(middles(), 0..3);
    (middle, any::<bool>(), 0u64..20_000, any::<prop::sample::Index>(), 0u64..1500).prop_map(
        |(middle, fifo, datagrams, at, pause)| {
            let stopped = (at.index(middle.len() + 1), pause);
            let chain = Chain { middle, fifo, back: false, bytes: 0, datagrams: 0 };
            Flood { chain, datagrams, stopped }
        },
    )
}

impl Flood {
    fn script(&self) -> String {
        let routers = self.chain.middle.iter().filter(|it| **it == Middle::Router).count();
        let last = format!("10.0.{routers}.2");
        let send = format!(
            "bash -c 'until ping -q -c1 -W1 {last} >/dev/null; do sleep 0.02; done; touch ready
             until [ -e go ]; do sleep 0.02; done
             exec 3>/dev/udp/{last}/9
             for ((n = 0; n < {}; n++)); do printf %0200d >&3; done; touch sent; sleep 1000'",
            self.datagrams
        );
        self.chain.between(&send, "socat -u UDP-RECV:9 OPEN:/dev/null")
    }

    /// The pid of the element that is stopped: each has a capture or a rule of its own, or an
    /// address.
    fn word(&self) -> String {
        let at = self.stopped.0;
        match self.chain.middle.get(at) {
            Some(Middle::Tee) => format!("x{at}.pcap"),
            Some(Middle::Filter) => format!("ip or arp or port {}", at + 1),
            other => {
                let before = &self.chain.middle[..at];
                let net = before.iter().filter(|it| **it == Middle::Router).count();
                debug_assert!(other.is_none_or(|it| *it == Middle::Router));
                format!("10.0.{net}.2/24")
            }
        }
    }
}

/// Datagrams that came to the receiver's network stack, read from it or not.
fn arrived(scene: &Scene) -> u64 {
    let counters = scene.sh("stdpkt exec last -- cat /proc/net/snmp").out;
    let mut udp = counters.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (Some(names), Some(values)) = (udp.next(), udp.next()) else { return 0 };
    names
        .split(' ')
        .zip(values.split(' '))
        .filter(|(name, _)| matches!(*name, "InDatagrams" | "NoPorts" | "RcvbufErrors"))
        .map(|(_, value)| value.parse::<u64>().expect("a number"))
        .sum()
}

/// Frames that `stdpkt ls` shows as dropped by functions and filters of this scene.
fn dropped(scene: &Scene) -> (u64, String) {
    let json = scene.sh("stdpkt ls --json").out;
    let shown: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let ours: Vec<_> = scene.processes().iter().map(|it| i64::from(it.pid)).collect();
    // Between two processes: a tee's ring to itself carries copies.
    let is_ours = |link: &&serde_json::Value| {
        let [from, to] = ["from", "to"].map(|end| link[end]["pid"].as_i64());
        from != to && from.is_some_and(|pid| ours.contains(&pid))
    };
    let drops = |link: &serde_json::Value| {
        let counters = ["drops", "interface_drops"];
        counters.iter().filter_map(|key| link["from"][key].as_u64()).sum::<u64>()
    };
    (shown["links"].as_array().expect("links").iter().filter(is_ours).map(drops).sum(), json)
}

#[test]
fn what_does_not_arrive_is_counted() {
    need_functions!("bash", "socat", "ping");
    let property = |flood: Flood| {
        let scene = Scene::new();
        let play = scene.start_in(&["bash", "-c"], &flood.script());
        scene.wait_for_file("ready");
        let stopped = element(&scene, &flood.word()).expect("what is to be stopped");
        scene.signal(&stopped, Signal::STOP);
        std::fs::write(scene.path("go"), "").expect("a file");
        std::thread::sleep(Duration::from_millis(flood.stopped.1));
        scene.signal(&stopped, Signal::CONT);
        scene.wait_for_file("sent");
        // A few frames that are none of ours are dropped as well: who has which address.
        let sent = flood.datagrams;
        wait_until(WATCHDOG, || {
            let (arrived, (dropped, json)) = (arrived(&scene), dropped(&scene));
            match (sent..=sent + 200).contains(&(arrived + dropped)) {
                true => Ok(()),
                false => Err(format!("{flood:?}: {sent} sent, {arrived} + {dropped}: {json}")),
            }
        });
        play.signal_group(Signal::TERM);
        play.end();
        scene.assert_nothing_left();
        Ok(())
    };
    if let Err(error) = runner(4).run(&floods(), property) {
        panic!("{error}");
    }
}

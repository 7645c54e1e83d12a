//! Between two LKL devices, whose kernels are doubles, with filters at random: what one sends
//! arrives at the other once, whole and in order.

use std::time::Duration;

use lkl_netdev::{Config, Ends, Netdev};
use proptest::prelude::*;
use rustix::process::Signal;

#[path = "../../../lkl-netdev/tests/double/mod.rs"]
mod double;

use double::{Guest, frame};

use super::runner;
use crate::support::need::need;
use crate::support::scene::Scene;

/// A filter that passes on all there is.
fn filters() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("tee x.pcap"), Just("filter 'len >= 0'"), Just("wire")]
}

fn device(scene: &Scene, fifo: &str) -> Guest {
    let ends = Ends::open(scene.path(fifo).to_str().expect("text")).expect("a FIFO");
    Guest::add(Netdev::new(ends, 0x8883, Config::default()).expect("a device").into_raw(), 4096)
}

/// Takes what comes until nothing has come for a while, and says where it is not what was sent.
fn receive(guest: &Guest, frames: u64) -> Result<(), String> {
    for n in 0..frames {
        let got = guest.recv_for(double::PATIENCE).ok_or(format!("{n} of {frames} frames"))?;
        if got != frame(n) {
            let number = got.get(26..34).map(|it| u64::from_le_bytes(it.try_into().expect("8")));
            return Err(format!("{number:?}, {} bytes, in the place of {n}", got.len()));
        }
    }
    match guest.recv_for(Duration::from_millis(50)) {
        None => Ok(()),
        Some(more) => Err(format!("{} bytes more than was sent", more.len())),
    }
}

#[test]
fn whatever_is_between_two_devices_all_arrives() {
    need!("mkfifo", "libpcap");
    let chains = (prop::collection::vec(filters(), 1..4), 0u64..5_000, 0u64..5_000);
    let property = |(filters, forth, back): (Vec<&str>, u64, u64)| {
        let scene = Scene::new();
        prop_assert_eq!(scene.sh("mkfifo a b").status, 0);
        let (left, right) = (device(&scene, "a"), device(&scene, "b"));
        let play = scene.start_sh(&format!("{{ stdpkt {}; }} <a >b", filters.join(" | stdpkt ")));
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| (0..forth).for_each(|n| left.send(&frame(n))));
            scope.spawn(|| (0..back).for_each(|n| right.send(&frame(n))));
            let at_right = scope.spawn(|| receive(&right, forth));
            [receive(&left, back), at_right.join().expect("no panic")]
        });
        let said = scene.everything_said();
        prop_assert_eq!(seen, [Ok(()), Ok(())], "{:?} {}", filters, said);
        drop((left, right));
        play.signal_group(Signal::TERM);
        play.end();
        scene.assert_nothing_left();
        Ok(())
    };
    if let Err(error) = runner(4).run(&chains, property) {
        panic!("{error}");
    }
}

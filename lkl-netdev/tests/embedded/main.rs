//! A program that embeds LKL, as docs/lkl.md tells: with a real LKL, devices come
//! and go under traffic. Runs where `LKL_DIR` is set; `LKL_KERNELS` is how many kernels
//! are booted for it, each with as many devices as LKL lets it have; those with odd numbers
//! have threads that look at the rings.

#[path = "../double/mod.rs"]
mod double;
mod lkl;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use double::{Fifos, Guest, PATIENCE};
use etherparse::PacketBuilder;
use lkl::Lkl;
use lkl_netdev::{Config, Ends, Netdev};

const OFFLOAD: u32 = 0x8883;
/// LKL takes no more devices in the life of a kernel.
const ROUNDS: u64 = 16;
/// Datagrams each way before a device is removed, while more are under way.
const ENOUGH: u64 = 100;
const LKL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 255);
const TO_LKL: u16 = 1001;
const TO_NEIGHBOUR: u16 = 1002;

fn device(ifname: &str) -> Netdev {
    Netdev::new(Ends::open(ifname).unwrap(), OFFLOAD, Config::default()).unwrap()
}

/// A datagram for LKL as it crosses the link.
fn datagram(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; frames::VNET_LEN];
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [0xff; 6])
        .ipv4(NEIGHBOUR.octets(), BROADCAST.octets(), 64)
        .udp(TO_NEIGHBOUR, TO_LKL)
        .write(&mut frame, text)
        .unwrap();
    frame
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn holding() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (std::fs::read_dir("/proc/self/fd").unwrap().count(), maps.matches("memfd:").count())
}

/// A kernel, and a neighbour that sends and drains all the time, through all the
/// devices that the kernel may have, one after the other.
fn one_kernel(dir: &Path, look: bool) {
    let lkl = Lkl::boot(dir, look);
    let socket = lkl.socket(TO_LKL);
    // What a process says of itself is there from its first device on, as long as it lives.
    drop(device(&Fifos::new().names().0));
    let before = holding();
    let fifos = Fifos::new();
    let (ours, theirs) = fifos.names();
    let neighbour = Guest::add(device(&theirs).into_raw(), 4096);
    let (stop, round, arrived) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let text = |round: u64| round.to_le_bytes();
    let busy = |work: &(dyn Fn() + Sync)| {
        while !stop.load(Relaxed) {
            work();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            busy(&|| {
                if !lkl.send(socket, BROADCAST, TO_NEIGHBOUR, &text(round.load(Relaxed))) {
                    std::thread::yield_now();
                }
            });
        });
        scope.spawn(|| {
            busy(&|| {
                if !neighbour.try_send(&datagram(&text(round.load(Relaxed)))) {
                    std::thread::yield_now();
                }
            });
        });
        scope.spawn(|| {
            busy(&|| {
                let Some(frame) = neighbour.recv_for(Duration::from_millis(10)) else { return };
                let of_this_round = frame.ends_with(&text(round.load(Relaxed)));
                arrived.fetch_add(u64::from(of_this_round), Relaxed);
            });
        });
        for now in 1..=ROUNDS {
            let device = lkl.add(device(&ours), OFFLOAD, LKL);
            arrived.store(0, Relaxed);
            round.store(now, Relaxed);
            let mut received = 0;
            until(&format!("round {now}: datagrams both ways"), || {
                while received < ENOUGH
                    && let Some(data) = lkl.receive(socket)
                {
                    received += u64::from(data == text(now));
                }
                received >= ENOUGH && arrived.load(Relaxed) >= ENOUGH
            });
            lkl.remove(device);
        }
        stop.store(true, Relaxed);
    });
    drop(neighbour);
    drop(fifos);
    until("descriptors and mappings are left", || holding() == before);
}

#[test]
fn devices_come_and_go_under_traffic_and_nothing_is_left() {
    let Some(dir) = std::env::var_os("LKL_DIR").filter(|dir| !dir.is_empty()) else {
        say::line!("embedded: skipped, for want of LKL_DIR");
        return;
    };
    // A process has one kernel, once.
    if let Some(look) = std::env::var_os("EMBEDDED_LOOK") {
        std::thread::spawn(|| {
            std::thread::sleep(2 * PATIENCE);
            say::line!("this process did not end");
            std::process::abort();
        });
        return one_kernel(&PathBuf::from(dir), look == "1");
    }
    let kernels = std::env::var("LKL_KERNELS").map_or(4, |count| count.parse().unwrap());
    for kernel in 1..=kernels {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "devices_come_and_go"])
            .env("EMBEDDED_LOOK", if kernel % 2 == 1 { "1" } else { "0" })
            .output()
            .unwrap();
        let text =
            [child.stdout, child.stderr].map(|out| String::from_utf8_lossy(&out).into_owned());
        assert!(child.status.success(), "kernel {kernel}: {}\n{}", child.status, text.concat());
    }
}

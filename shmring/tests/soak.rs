//! Frames of random sizes between two processes, both ways at once, each with a
//! number and a checksum. A second of each kind by default; for a long run:
//!
//! ```text
//! cargo test --release -p shmring --test soak -- --seconds 600 [--fifo 1] [--storm 1]
//! ```
//!
//! `--fifo 1`: through the pipe instead of the ring. `--storm 1`: a signal every
//! 100 µs interrupts whatever system call can be interrupted.
#![cfg(not(loom))]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shmring::{Channel, Offer, PipeEnd, RecvError, Rendezvous, Role, RuntimeDir, Rx, Tx};
use support::{Frames, argument, footprint, start_storm, stop_storm, watchdog};

fn main() {
    let seconds = argument("--seconds", 0);
    if let Some(dir) = std::env::var_os("SHMRING_SOAK_CHILD") {
        let how = (seconds, argument("--fifo", 0), argument("--storm", 0));
        return side("child", Path::new(&dir), Role::Writer, how);
    }
    if std::env::args().any(|arg| arg == "--list") {
        return;
    }
    if seconds > 0 {
        return run(seconds, argument("--fifo", 0), argument("--storm", 0));
    }
    for (fifo, storm) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        run(1, fifo, storm);
    }
}

fn run(seconds: u64, fifo: u64, storm: u64) {
    println!("fifo {fifo}, storm {storm}:");
    let scratch = tempfile::tempdir().expect("tempdir");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, scratch.path().join("fifo"), mode).expect("mkfifo");
    let mut child = Command::new("/proc/self/exe")
        .env("SHMRING_SOAK_CHILD", scratch.path())
        .args(["--seconds", &seconds.to_string()])
        .args(["--fifo", &fifo.to_string(), "--storm", &storm.to_string()])
        .spawn()
        .expect("a child");
    side("parent", scratch.path(), Role::Reader, (seconds, fifo, storm));
    stop_storm();
    assert!(child.wait().expect("wait").success());
}

fn side(name: &str, scratch: &Path, role: Role, (seconds, fifo, storm): (u64, u64, u64)) {
    if storm == 1 {
        start_storm();
    }
    let dir = RuntimeDir::at(&scratch.join("run")).expect("runtime directory");
    let end = PipeEnd::open(&scratch.join("fifo"), role).expect("the FIFO");
    let channel = if fifo == 1 { Channel::Fifo } else { Channel::Shm };
    let offer = Offer { label: name.into(), channel, ..Offer::default() };
    let link = Rendezvous::new(end, &dir, offer).and_then(|mut r| r.wait()).expect("a link");
    let (tx, rx) = (link.tx.expect("a way out"), link.rx.expect("a way in"));
    let steps = Arc::new(AtomicU64::new(0));
    let watched = steps.clone();
    watchdog(move || watched.load(Ordering::Relaxed));
    let start = Instant::now();
    let (sent, received, early) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(tx, start + Duration::from_secs(seconds)));
        let receiver = scope.spawn(|| receive(rx, &steps));
        std::thread::sleep(Duration::from_millis(500 * seconds));
        let early = footprint();
        (sender.join().expect("sender"), receiver.join().expect("receiver"), early)
    });
    let late = footprint();
    println!(
        "{name}: {} frames ({} MB) sent, {} ({} MB) received in {:.1} s; descriptors {} then {}, \
         memory {} KiB then {} KiB",
        sent.number,
        sent.bytes >> 20,
        received.number,
        received.bytes >> 20,
        start.elapsed().as_secs_f64(),
        early.0,
        late.0,
        early.1,
        late.1,
    );
    assert!(late.0 <= early.0, "descriptors leak");
}

fn send(mut tx: Tx, until: Instant) -> Frames {
    let mut frames = Frames::new(1);
    while !frames.number.is_multiple_of(1024) || Instant::now() < until {
        frames.send(&mut tx, false).expect("send");
        // Batches of one to eight frames, now and then a pause in which the
        // consumer falls asleep.
        if frames.number.wrapping_mul(0x9e37_79b9) >> 7 & 7 < 3 {
            tx.publish();
        }
        if frames.number.is_multiple_of(50_000) {
            tx.publish();
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    frames.send(&mut tx, true).expect("send");
    frames
}

fn receive(mut rx: Rx, steps: &AtomicU64) -> Frames {
    let mut frames = Frames::new(1);
    let mut last = false;
    loop {
        match frames.receive(&mut rx) {
            Ok(is_last) => {
                assert!(!last, "a frame after the last");
                last = is_last;
                steps.store(frames.number, Ordering::Relaxed);
            }
            Err(RecvError::Empty) => rx.wait(None).expect("wait"),
            Err(RecvError::Ended) => break,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(last, "the end came before the last frame");
    frames
}

//! Frames of random sizes between two processes, both ways at once, each with a
//! number and a checksum. A second of each kind by default; for a long run:
//!
//! ```text
//! cargo test --release -p stdpkt-shmring --test soak -- --seconds 600 [--frames N] [--fifo 1] [--storm 1]
//! ```
//!
//! `--frames N`: ends earlier, after N frames, half of them each way. `--fifo 1`:
//! through the pipe instead of the ring. `--storm 1`: a signal every 100 µs
//! interrupts whatever system call can be interrupted. A line a minute says how
//! far it is, and what it takes up.
#![cfg(not(loom))]
#![allow(clippy::disallowed_types, reason = "atomics of a test, not of the ring")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shmring::{Channel, Offer, PipeEnd, RecvError, Rendezvous, Role, RuntimeDir, Rx, Tx};
use support::{Frames, argument, footprint, start_storm, stop_storm, watched_rounds};

/// What the command line says; each side is told the same.
#[derive(Debug, Clone, Copy)]
struct How {
    seconds: u64,
    /// At most so many each way.
    frames: u64,
    fifo: bool,
    storm: bool,
}

fn main() {
    let how = How {
        seconds: argument("--seconds", 0),
        frames: argument("--frames", u64::MAX).div_ceil(2),
        fifo: argument("--fifo", 0) == 1,
        storm: argument("--storm", 0) == 1,
    };
    if let Some(dir) = std::env::var_os("SHMRING_SOAK_CHILD") {
        return side("child", Path::new(&dir), Role::Writer, how);
    }
    if std::env::args().any(|arg| arg == "--list") {
        return;
    }
    if how.seconds > 0 {
        return run(how, std::env::args().skip(1).collect());
    }
    for (fifo, storm) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let how = How { seconds: 1, fifo: fifo == 1, storm: storm == 1, ..how };
        run(
            how,
            format!("--seconds 1 --fifo {fifo} --storm {storm}")
                .split(' ')
                .map(Into::into)
                .collect(),
        );
    }
}

fn run(how: How, args: Vec<String>) {
    println!("{how:?}:");
    let scratch = tempfile::tempdir().expect("tempdir");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, scratch.path().join("fifo"), mode).expect("mkfifo");
    let mut child = Command::new("/proc/self/exe")
        .env("SHMRING_SOAK_CHILD", scratch.path())
        .args(args)
        .spawn()
        .expect("a child");
    side("parent", scratch.path(), Role::Reader, how);
    stop_storm();
    assert!(child.wait().expect("wait").success());
}

fn side(name: &str, scratch: &Path, role: Role, how: How) {
    if how.storm {
        start_storm();
    }
    let dir = RuntimeDir::at(&scratch.join("run")).expect("runtime directory");
    let end = PipeEnd::open(&scratch.join("fifo"), role).expect("the FIFO");
    let channel = if how.fifo { Channel::Fifo } else { Channel::Shm };
    let offer = Offer { label: name.into(), channel, ..Offer::default() };
    let link = Rendezvous::new(end, &dir, offer).and_then(|mut r| r.wait()).expect("a link");
    let (tx, rx) = (link.tx.expect("a way out"), link.rx.expect("a way in"));
    let steps = watched_rounds();
    let start = Instant::now();
    let until = start + Duration::from_secs(how.seconds);
    let (sent, received, early) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(tx, until, how.frames));
        let receiver = scope.spawn(|| receive(rx, &steps));
        let early = look(name, until, || steps.load(Ordering::Relaxed), || receiver.is_finished());
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

/// Returns the footprint after a minute, or at half time.
fn look(
    name: &str,
    until: Instant,
    frames: impl Fn() -> u64,
    ended: impl Fn() -> bool,
) -> (usize, u64) {
    let start = Instant::now();
    let every = Duration::from_secs(60).min((until - start) / 2);
    let mut early = None;
    let mut next = start + every;
    while !ended() {
        std::thread::sleep(Duration::from_millis(10));
        if Instant::now() >= next {
            next += every;
            let now = footprint();
            early.get_or_insert(now);
            println!(
                "{name}: {:.0} s, {} frames received, {} descriptors, {} KiB",
                start.elapsed().as_secs_f64(),
                frames(),
                now.0,
                now.1
            );
        }
    }
    early.unwrap_or_else(footprint)
}

fn send(mut tx: Tx, until: Instant, most: u64) -> Frames {
    let mut frames = Frames::new(1);
    let goes_on = |sent: u64| !sent.is_multiple_of(1024) || Instant::now() < until;
    // The last one comes after the loop.
    while frames.number + 1 < most && goes_on(frames.number) {
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

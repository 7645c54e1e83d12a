//! kill -9 under traffic: the survivor drains exactly what was committed, in
//! order, then sees the end; a replacement attaches to the same FIFO.
//!
//! ```text
//! cargo test --release -p stdpkt-shmring --test crash -- --rounds 10000
//! ```
//!
//! In each round a child (this program again) is the neighbour, by turns as
//! writer and as reader of the FIFO, with traffic both ways, and is killed at a
//! random instant. It notes in a file that both map how many frames it is about
//! to publish and has published; the survivor must receive no more and no fewer.
#![cfg(not(loom))]
#![allow(clippy::disallowed_types, reason = "atomics of a test, not of the ring")]
#![allow(unsafe_code)]

mod support;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use rustix::process::{Pid, Signal, kill_process};
use shmring::{Event, Link, Offer, PipeEnd, RecvError, Rendezvous, Role, RuntimeDir, Rx, Tx};
use support::{Chance, Frames, argument, footprint, scratch_with_fifo, watched_rounds};

/// What goes on while the child is killed.
const TRAFFIC: [&str; 5] = ["both ways", "now and then", "child deaf", "parent deaf", "stopped"];

/// What the child says about itself: `begun` before and `done` after each publication.
struct Notes(MmapRaw);

impl Notes {
    fn open(path: &Path) -> Notes {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.expect("notes");
        file.set_len(4096).expect("notes");
        Notes(MmapRaw::map_raw(&file).expect("notes"))
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: the page is mapped while `self` lives, and nobody truncates it.
        unsafe { &*self.0.as_mut_ptr().cast::<AtomicU64>().add(at) }
    }

    fn begun(&self) -> &AtomicU64 {
        self.word(0)
    }

    fn done(&self) -> &AtomicU64 {
        self.word(1)
    }
}

fn offer(label: &str) -> Offer {
    Offer { label: label.into(), capacity: 256 << 10, ..Offer::default() }
}

fn meet(scratch: &Path, role: Role, label: &str) -> Rendezvous {
    let dir = RuntimeDir::at(&scratch.join("run")).expect("runtime directory");
    let end = PipeEnd::open(&scratch.join("fifo"), role).expect("the FIFO");
    Rendezvous::new(end, &dir, offer(label)).expect("a rendezvous")
}

fn main() {
    if let Some(dir) = std::env::var_os("SHMRING_CRASH_CHILD") {
        let role = if argument("--writes", 0) == 1 { Role::Writer } else { Role::Reader };
        return child(Path::new(&dir), role, argument("--traffic", 0) as usize);
    }
    if std::env::args().any(|arg| arg == "--list") {
        return;
    }
    let rounds = argument("--rounds", 100);
    let seed = argument("--seed", 1);
    let scratch = scratch_with_fifo();
    let step = watched_rounds();

    let start = Instant::now();
    let mut chance = Chance::new(seed);
    let mut totals = Totals::default();
    let mut early = (0, 0);
    for n in 0..rounds {
        round(scratch.path(), n, &mut chance, &mut totals);
        step.store(n + 1, Ordering::Relaxed);
        if n == rounds / 2 {
            early = footprint();
        }
    }
    let late = footprint();
    println!(
        "{rounds} kills in {:.0} s: {} with a link, {} before; {} frames received and checked, \
         {} sent; descriptors {} then {}, memory {} KiB then {} KiB",
        start.elapsed().as_secs_f64(),
        totals.linked,
        rounds - totals.linked,
        totals.received,
        totals.sent,
        early.0,
        late.0,
        early.1,
        late.1,
    );
    assert_eq!(early.0, late.0, "descriptors leak");
    assert!(totals.linked > 0 && totals.received > 0);
}

#[derive(Default)]
struct Totals {
    linked: u64,
    received: u64,
    sent: u64,
}

fn round(scratch: &Path, n: u64, chance: &mut Chance, totals: &mut Totals) {
    let child_writes = n.is_multiple_of(2);
    let traffic = (n / 2) as usize % TRAFFIC.len();
    let notes = Notes::open(&scratch.join("notes"));
    notes.begun().store(0, Ordering::SeqCst);
    notes.done().store(0, Ordering::SeqCst);

    let role = if child_writes { Role::Reader } else { Role::Writer };
    let mut rendezvous = meet(scratch, role, "parent");
    let mut child = Command::new("/proc/self/exe")
        .env("SHMRING_CRASH_CHILD", scratch)
        .args(["--writes", if child_writes { "1" } else { "0" }])
        .args(["--traffic", &traffic.to_string()])
        .spawn()
        .expect("a child");

    // One round in eight kills during the handshake.
    let link = if n % 8 == 7 {
        std::thread::sleep(Duration::from_micros(chance.below(3000)));
        kill(&mut child);
        rendezvous.poll().expect("poll").and_then(Event::into_link)
    } else {
        Some(rendezvous.wait().expect("a link"))
    };
    let Some(Link { tx: Some(mut tx), rx: Some(mut rx), .. }) = link else {
        kill(&mut child);
        return;
    };
    totals.linked += 1;
    let deaf = TRAFFIC[traffic] == "parent deaf";
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_until_closed(&mut tx));
        let mut frames = Frames::new(2);
        let delay = Duration::from_micros(chance.below(4000));
        let notes = &notes;
        let killer = scope.spawn(move || {
            // However slow the machine, most of them get to send something.
            while n / 16 % 4 != 3 && notes.begun().load(Ordering::SeqCst) == 0 {
                std::thread::sleep(Duration::from_micros(50));
            }
            std::thread::sleep(delay);
            if TRAFFIC[traffic] == "stopped" {
                signal(&child, Signal::STOP);
                std::thread::sleep(Duration::from_millis(1));
                signal(&child, Signal::CONT);
            }
            kill(&mut child);
        });
        if deaf {
            killer.join().expect("killer");
            drain(&mut rx, &mut frames);
        } else {
            drain(&mut rx, &mut frames);
            killer.join().expect("killer");
        }
        let (done, begun) =
            (notes.done().load(Ordering::SeqCst), notes.begun().load(Ordering::SeqCst));
        assert!(
            (done..=begun).contains(&frames.number),
            "round {n} ({}): {} frames received, {done} to {begun} committed",
            TRAFFIC[traffic],
            frames.number
        );
        totals.received += frames.number;
        totals.sent += sender.join().expect("sender");
    });
    // The end stays the end.
    assert_eq!(rx.borrow().err(), Some(RecvError::Ended));
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id() as i32).expect("a pid");
    kill_process(pid, signal).expect("kill"); // not reaped yet, so it is ours
}

fn kill(child: &mut Child) {
    child.kill().expect("kill -9");
    child.wait().expect("wait");
}

fn drain(rx: &mut Rx, frames: &mut Frames) {
    loop {
        match frames.receive(rx) {
            Ok(_) => {}
            Err(RecvError::Empty) => rx.wait(None).expect("wait"),
            Err(RecvError::Ended) => return,
            Err(e) => panic!("{e}"),
        }
    }
}

fn send_until_closed(tx: &mut Tx) -> u64 {
    let mut frames = Frames::new(2);
    while !tx.is_closed() && frames.send(tx, false).is_ok() {
        tx.publish();
        if frames.number.is_multiple_of(64) {
            // Takes note of a hang-up even where the ring never fills.
            tx.woken().expect("woken");
        }
    }
    frames.number
}

/// The neighbour that will be killed.
fn child(scratch: &Path, role: Role, traffic: usize) {
    let notes = Notes::open(&scratch.join("notes"));
    let mut rendezvous = meet(scratch, role, "child");
    let link = rendezvous.wait().expect("a link");
    let (mut tx, mut rx) = (link.tx.expect("a way out"), link.rx.expect("a way in"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut frames = Frames::new(2);
            let mut chance = Chance::new(u64::from(std::process::id()));
            loop {
                let batch = 1 + chance.below(8);
                for _ in 0..batch {
                    // A full ring publishes what is staged by itself.
                    notes.begun().store(frames.number + 1, Ordering::SeqCst);
                    if frames.send(&mut tx, false).is_err() {
                        return;
                    }
                }
                tx.publish();
                notes.done().store(frames.number, Ordering::SeqCst);
                if TRAFFIC[traffic] == "now and then" {
                    std::thread::sleep(Duration::from_micros(chance.below(300)));
                }
            }
        });
        if TRAFFIC[traffic] == "child deaf" {
            std::thread::sleep(Duration::from_secs(60));
        }
        drain(&mut rx, &mut Frames::new(2));
    });
}

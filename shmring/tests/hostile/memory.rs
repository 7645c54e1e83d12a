//! The shared memory, written by somebody who keeps to nothing.
#![allow(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use shmring::{Consumer, Link, RecvError, Rendezvous, Rx, SendError, Tx};

use crate::neighbour::{doorbell, join};
use crate::support::{Chance, HANG, offer, outcome, pipe, place};

const TAIL: usize = 128;
const HEAD: usize = 256;
const CONSUMER_CLOSED: usize = 264;
const RECORDS: usize = 4096;
const CAPACITY: u64 = 64 << 10;

/// The neighbour's own mapping of a ring.
struct Memory(MmapRaw);

impl Memory {
    fn map(memfd: &OwnedFd) -> Memory {
        let file = std::fs::File::from(memfd.try_clone().unwrap());
        Memory(MmapRaw::map_raw(&file).unwrap())
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.0.len());
        // SAFETY: inside the mapping and aligned.
        unsafe { &*self.0.as_mut_ptr().add(at).cast() }
    }

    fn set(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::SeqCst);
    }
}

/// A victim with a link to a neighbour that holds both rings' memory.
struct Scene {
    link: Link,
    /// The ring into the victim, and the one out of it.
    into: Memory,
    out: Memory,
    /// For the neighbour to send nothing over, or to close.
    socket: OwnedFd,
}

fn scene() -> Scene {
    let place = place();
    let (read, write) = pipe();
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let joined = std::thread::scope(|scope| {
        let joining = scope.spawn(|| join(&write, &doorbell()));
        let link = outcome(&mut victim).unwrap();
        (link, joining.join().unwrap())
    });
    let (link, joined) = joined;
    let [into, out] = &joined.memfds[..] else { panic!("two rings") };
    Scene { into: Memory::map(into), out: Memory::map(out), link, socket: joined.socket }
}

impl Scene {
    fn rx(&mut self) -> &mut Consumer {
        match self.link.rx.as_mut().unwrap() {
            Rx::Ring(consumer) => consumer,
            Rx::Stream(_) => panic!("no ring"),
        }
    }

    fn tx(&mut self) -> &mut Tx {
        self.link.tx.as_mut().unwrap()
    }

    fn received(&mut self) -> Option<RecvError> {
        self.rx().borrow().err()
    }
}

fn corrupt(error: Option<RecvError>) -> bool {
    matches!(error, Some(RecvError::Corrupt(_)))
}

#[test]
fn an_impossible_tail_is_noticed() {
    for tail in [1, 7, 12, CAPACITY + 8, 1 << 40, u64::MAX, u64::MAX - 7] {
        let mut scene = scene();
        scene.into.set(TAIL, tail);
        assert!(corrupt(scene.received()), "tail {tail}");
        // And stays so, whatever the neighbour does about it.
        scene.into.set(TAIL, 0);
        assert!(corrupt(scene.received()), "tail {tail}");
        scene.rx().wait(None).unwrap();
        assert!(!scene.rx().arm());
    }
}

#[test]
fn a_tail_that_goes_back_is_noticed() {
    let mut scene = scene();
    scene.into.set(TAIL, 32);
    for _ in 0..3 {
        scene.rx().borrow().unwrap().release(); // empty frames of 8 bytes
    }
    // Behind what was seen, although not behind what was read.
    scene.into.set(TAIL, 24);
    scene.rx().borrow().unwrap().release();
    assert!(corrupt(scene.received()));
}

#[test]
fn a_tail_that_goes_back_within_a_batch_is_noticed() {
    let mut scene = scene();
    scene.into.set(TAIL, 32);
    let into = scene.into.word(TAIL) as *const AtomicU64;
    let mut batch = scene.rx().batch();
    for _ in 0..4 {
        batch.next().unwrap();
    }
    // SAFETY: the mapping lives as long as the scene.
    unsafe { &*into }.store(16, Ordering::SeqCst);
    assert!(corrupt(batch.next().err()));
    assert!(corrupt(batch.next().err()));
}

#[test]
fn an_impossible_length_is_noticed() {
    for (tail, len) in
        [(8, 1), (16, 9), (8, u64::MAX), (8, u64::MAX - 7), (4096, 2001), (16, 1 << 63)]
    {
        let mut scene = scene();
        scene.into.set(RECORDS, len);
        scene.into.set(TAIL, tail);
        assert!(corrupt(scene.received()), "length {len} of {tail}");
        scene.into.set(RECORDS, 0);
        assert!(corrupt(scene.received()), "length {len} of {tail}: mended");
    }
}

#[test]
fn a_batch_ends_at_an_impossible_length() {
    let mut scene = scene();
    scene.into.set(RECORDS + 8, 77);
    scene.into.set(TAIL, 24);
    let mut batch = scene.rx().batch();
    assert_eq!(batch.next().unwrap().len(), 0);
    assert!(corrupt(batch.next().err()));
    assert!(corrupt(batch.next().err()));
    batch.release();
    assert!(corrupt(scene.received()));
}

#[test]
fn an_impossible_head_is_noticed() {
    for head in [8, 1, u64::MAX, CAPACITY, CAPACITY * 2] {
        let mut scene = scene();
        scene.out.set(HEAD, head); // nothing was published yet
        assert!(!scene.tx().arm(), "head {head}: goes to sleep");
        let end = fill(scene.tx(), 2000);
        assert!(matches!(end, SendError::Corrupt(_)), "head {head}: {end}");
        scene.out.set(HEAD, 0);
        assert!(matches!(fill(scene.tx(), 2000), SendError::Corrupt(_)));
        scene.tx().wait(None).unwrap();
        assert!(!scene.tx().arm());
    }
}

/// Sends until there is a reason not to.
fn fill(tx: &mut Tx, len: usize) -> SendError {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < HANG, "hangs");
        match tx.reserve(len).map(|room| room.stage(len)) {
            Ok(()) => {}
            Err(SendError::Full) if !tx.arm() => {}
            Err(end) => return end,
        }
    }
}

#[test]
fn a_head_that_goes_back_is_noticed() {
    let mut scene = scene();
    assert_eq!(fill(scene.tx(), 2000), SendError::Full);
    scene.out.set(HEAD, 2008 * 32);
    assert!(scene.tx().reserve(2000).is_ok());
    assert_eq!(fill(scene.tx(), 2000), SendError::Full);
    scene.out.set(HEAD, 2008);
    assert!(matches!(fill(scene.tx(), 2000), SendError::Corrupt(_)));
}

#[test]
fn a_neighbour_that_says_it_closed_is_believed() {
    let mut scene = scene();
    scene.out.set(CONSUMER_CLOSED, u64::MAX);
    assert!(scene.tx().is_closed());
    assert_eq!(fill(scene.tx(), 2000), SendError::Closed);
}

/// Bytes over a socket that carries none any more are as good as a hang-up.
#[test]
fn a_neighbour_that_talks_out_of_turn_has_left() {
    let mut scene = scene();
    assert!(crate::neighbour::send(&scene.socket, b"hello?", &[]));
    scene.rx().wait(Some(HANG)).unwrap();
    assert_eq!(scene.received(), Some(RecvError::Ended));
}

/// Holes in the memory read as zeros and are filled again when written.
#[test]
fn holes_in_the_memory_are_no_bus_error() {
    use rustix::fs::{FallocateFlags, fallocate};
    let place = place();
    let (read, write) = pipe();
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    std::thread::scope(|scope| {
        let joining = scope.spawn(|| join(&write, &doorbell()));
        let mut link = outcome(&mut victim).unwrap();
        let joined = joining.join().unwrap();
        for memfd in &joined.memfds {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(memfd, punch, 0, 4096 + CAPACITY).unwrap();
            assert!(rustix::fs::ftruncate(memfd, 0).is_err());
            assert!(rustix::fs::ftruncate(memfd, 1 << 30).is_err());
        }
        assert_eq!(fill(link.tx.as_mut().unwrap(), 2000), SendError::Full);
        assert_eq!(link.rx.as_mut().unwrap().borrow().map(|_| ()).err(), Some(RecvError::Empty));
    });
}

/// Arbitrary bytes at arbitrary times, all over both rings, while the victim
/// sends and receives. `SHMRING_HOSTILE_SECONDS` makes it longer.
#[test]
fn arbitrary_writes_end_in_errors_at_worst() {
    let seconds = std::env::var("SHMRING_HOSTILE_SECONDS").ok().and_then(|s| s.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(3));
    let (mut rounds, mut writes, mut frames, mut errors) = (0u64, 0, 0, [0u64; 2]);
    while Instant::now() < until {
        let mut scene = scene();
        let stop = AtomicBool::new(false);
        let (into, out) = (&scene.into, &scene.out);
        std::thread::scope(|scope| {
            let vandal = scope.spawn(|| vandalise(into, out, rounds, &stop));
            let mut rx = scene.link.rx.take().unwrap();
            let mut tx = scene.link.tx.take().unwrap();
            let (mut sending, mut receiving) = (true, true);
            let round = Instant::now() + Duration::from_millis(50);
            while (sending || receiving) && Instant::now() < round {
                if receiving {
                    match receive(&mut rx) {
                        Ok(n) => frames += n,
                        Err(_) => {
                            errors[0] += 1;
                            receiving = false;
                        }
                    }
                }
                if sending && send(&mut tx).is_err() {
                    errors[1] += 1;
                    sending = false;
                }
            }
            stop.store(true, Ordering::Relaxed);
            writes += vandal.join().unwrap();
        });
        rounds += 1;
    }
    println!(
        "{rounds} links, {writes} writes, {frames} frames, {errors:?} receive and send errors"
    );
    assert!(errors[0] > 0 && errors[1] > 0, "the vandal was too kind");
}

fn receive(rx: &mut Rx) -> Result<u64, RecvError> {
    let mut frames = 0;
    let mut copy = [0; 2000];
    for _ in 0..64 {
        match rx.borrow() {
            Ok(mut frame) => {
                let bytes = frame.bytes();
                assert!(bytes.len() <= 2000);
                bytes.copy_to(0, &mut copy);
                frame.release();
                frames += 1;
            }
            Err(RecvError::Empty) => rx.wait(Some(Duration::from_micros(100))).unwrap(),
            Err(end) => return Err(end),
        }
    }
    Ok(frames)
}

fn send(tx: &mut Tx) -> Result<(), SendError> {
    for _ in 0..64 {
        match tx.reserve(1500) {
            Ok(mut room) => {
                room.fill(|bytes| bytes.copy_from(0, &[0xaa; 1500]));
                room.stage(1500);
            }
            Err(SendError::Full) => {
                tx.wait(Some(Duration::from_micros(100))).unwrap();
                return Ok(());
            }
            Err(end) => return Err(end),
        }
    }
    tx.publish();
    Ok(())
}

/// Writes plausible and absurd words to the fields that matter and everywhere else.
fn vandalise(into: &Memory, out: &Memory, seed: u64, stop: &AtomicBool) -> u64 {
    let mut chance = Chance::new(seed + 1);
    let mut writes = 0;
    while !stop.load(Ordering::Relaxed) {
        let memory = if chance.below(2) == 0 { into } else { out };
        let value = match chance.below(8) {
            0 => chance.next(),
            1 => u64::MAX - chance.below(16),
            2 => chance.below(CAPACITY * 2),
            _ => chance.below(256) * 8,
        };
        let at = match chance.below(16) {
            // Forward in steps that may well be right: the deepest way in.
            0..8 => {
                let field = if chance.below(2) == 0 { TAIL } else { HEAD };
                memory.word(field).fetch_add((value % 4096) & !7, Ordering::Relaxed);
                writes += 1;
                continue;
            }
            8 if chance.below(50) == 0 => chance.below(128) as usize * 8,
            8 => 384 + 128 * chance.below(2) as usize, // the waiting flags
            9 if chance.below(50) == 0 => TAIL,
            9 if chance.below(50) == 0 => HEAD,
            _ => RECORDS + chance.below(CAPACITY / 8) as usize * 8,
        };
        memory.set(at, value);
        writes += 1;
    }
    writes
}

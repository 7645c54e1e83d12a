//! The ring within one process: frames, batches, the end, and every size.
#![cfg(not(loom))]

use std::time::Duration;

use shmring::{RecvError, SendError, loopback};

fn pattern(i: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (i * 31 + at) as u8).collect()
}

#[test]
fn frames_of_every_size_cross_whole_and_in_order() {
    let (mut tx, mut rx) = loopback(256 << 10, 65_600).unwrap();
    let sizes: Vec<usize> = (0..4_000).map(|i| (i * 7919) % 65_601).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (i, &len) in sizes.iter().enumerate() {
                loop {
                    match tx.reserve(len) {
                        Ok(mut room) => {
                            room.bytes().copy_from(0, &pattern(i, len));
                            if i % 3 == 0 {
                                room.commit(len)
                            } else {
                                room.stage(len)
                            }
                            break;
                        }
                        Err(SendError::Full) => tx.wait(None).unwrap(),
                        Err(e) => panic!("{e}"),
                    }
                }
            }
            drop(tx);
        });
        for (i, &len) in sizes.iter().enumerate() {
            let got = loop {
                match rx.borrow() {
                    Ok(frame) => {
                        let got = frame.bytes().to_vec();
                        frame.release();
                        break got;
                    }
                    Err(RecvError::Empty) => rx.wait(None).unwrap(),
                    Err(e) => panic!("frame {i}: {e}"),
                }
            };
            assert!(got == pattern(i, len), "frame {i} of {len} bytes differs");
        }
        loop {
            match rx.borrow().map(|_| ()) {
                Err(RecvError::Ended) => break,
                Err(RecvError::Empty) => rx.wait(None).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(rx.counters().frames, 4_000);
}

#[test]
fn a_full_ring_says_so_and_a_long_frame_never_fits() {
    let (mut tx, mut rx) = loopback(64 << 10, 4096).unwrap();
    assert!(matches!(tx.reserve(4097).err(), Some(SendError::TooLong { len: 4097, max: 4096 })));
    let mut sent = 0u64;
    while let Ok(room) = tx.reserve(4096) {
        room.stage(4096);
        sent += 1;
    }
    assert_eq!(sent, (64 << 10) / 4104);
    assert_eq!(tx.reserve(4096).err(), Some(SendError::Full));
    // Full publishes what was staged, so the consumer can make room.
    for _ in 0..sent {
        rx.borrow().unwrap().release();
    }
    assert_eq!(rx.borrow().err(), Some(RecvError::Empty));
    assert!(tx.reserve(4096).is_ok());
}

#[test]
fn an_unreleased_frame_is_the_next_one_again() {
    let (mut tx, mut rx) = loopback(64 << 10, 100).unwrap();
    let mut room = tx.reserve(1).unwrap();
    room.bytes().copy_from(0, b"x");
    room.commit(1);
    let _given_up = tx.reserve(50).unwrap();
    assert_eq!(rx.borrow().unwrap().bytes().to_vec(), b"x");
    rx.borrow().unwrap().release();
    assert_eq!(rx.borrow().err(), Some(RecvError::Empty));
}

#[test]
fn each_side_learns_of_the_others_end() {
    let (mut tx, rx) = loopback(64 << 10, 100).unwrap();
    drop(rx);
    tx.wait(Some(Duration::from_secs(10))).unwrap();
    assert!(tx.is_closed());
    let (tx, mut rx) = loopback(64 << 10, 100).unwrap();
    drop(tx);
    rx.wait(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(rx.borrow().err(), Some(RecvError::Ended));
}

#[test]
fn a_sleeping_consumer_is_rung_once_for_a_batch() {
    let (mut tx, mut rx) = loopback(64 << 10, 100).unwrap();
    assert!(rx.arm());
    for _ in 0..10 {
        tx.reserve(10).unwrap().commit(10);
    }
    assert_eq!(tx.counters().wakeups, 1);
    rx.woken().unwrap();
    for _ in 0..10 {
        rx.borrow().unwrap().release();
    }
    assert!(rx.arm());
    assert_eq!(rx.counters().frames, 10);
}

#[test]
fn an_eighth_of_the_ring_is_published_without_being_asked_for() {
    let (mut tx, mut rx) = loopback(64 << 10, 1016).unwrap();
    for _ in 0..7 {
        tx.reserve(1016).unwrap().stage(1016);
    }
    assert_eq!(rx.borrow().err(), Some(RecvError::Empty));
    tx.reserve(1016).unwrap().stage(1016);
    for _ in 0..8 {
        rx.borrow().unwrap().release();
    }
}

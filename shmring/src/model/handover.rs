//! An end goes to another process while the neighbour sends, takes, sleeps and ends:
//! nothing is lost or doubled, nobody sleeps for ever.

use loom::thread;

use super::{check, pair, receive, send, stage};
use crate::error::{RecvError, SendError};

#[test]
fn a_producer_is_handed_over_while_its_consumer_sleeps_and_takes() {
    for record in [true, false] {
        check("a_producer_is_handed_over_while_its_consumer_sleeps_and_takes", move || {
            let (mut tx, mut rx) = pair(256);
            let old = thread::spawn(move || {
                send(&mut tx, 1).unwrap();
                stage(&mut tx, 2).unwrap(); // published by the hand-over
                let mut heir = tx.hand_on(record);
                thread::spawn(move || send(&mut heir, 3).unwrap());
            });
            for value in 1..=3 {
                assert_eq!(receive(&mut rx), Ok(value));
            }
            assert_eq!(receive(&mut rx), Err(RecvError::Ended));
            old.join().unwrap();
        });
    }
}

#[test]
fn a_producer_is_handed_over_while_the_ring_is_full() {
    check("a_producer_is_handed_over_while_the_ring_is_full", || {
        let (mut tx, mut rx) = pair(32);
        send(&mut tx, 1).unwrap();
        send(&mut tx, 2).unwrap();
        let old = thread::spawn(move || {
            tx.arm(); // about to sleep, and handed over instead
            let mut heir = tx.hand_on(true);
            thread::spawn(move || send(&mut heir, 3).unwrap());
        });
        for value in 1..=3 {
            assert_eq!(receive(&mut rx), Ok(value));
        }
        old.join().unwrap();
    });
}

#[test]
fn a_consumer_is_handed_over_while_its_producer_fills_the_ring() {
    for record in [true, false] {
        check("a_consumer_is_handed_over_while_its_producer_fills_the_ring", move || {
            let (mut tx, mut rx) = pair(32);
            let old = thread::spawn(move || {
                assert_eq!(receive(&mut rx), Ok(1));
                rx.arm();
                let mut heir = rx.hand_on(record);
                let heir = thread::spawn(move || {
                    assert_eq!(receive(&mut heir), Ok(2));
                    assert_eq!(receive(&mut heir), Ok(3));
                });
                heir.join().unwrap();
            });
            for value in 1..=3 {
                send(&mut tx, value).unwrap();
            }
            old.join().unwrap();
        });
    }
}

/// The end that comes meanwhile is seen by the new owner.
#[test]
fn a_neighbour_ends_during_the_hand_over() {
    check("a_neighbour_ends_during_the_hand_over", || {
        let (mut tx, rx) = pair(256);
        let other = thread::spawn(move || send(&mut tx, 1).unwrap());
        let mut heir = rx.hand_on(true);
        assert_eq!(receive(&mut heir), Ok(1));
        assert_eq!(receive(&mut heir), Err(RecvError::Ended));
        other.join().unwrap();
    });
    check("a_neighbour_ends_during_the_hand_over: consumer", || {
        let (mut tx, rx) = pair(32);
        let other = thread::spawn(move || drop(rx));
        send(&mut tx, 1).unwrap_or(());
        let mut heir = tx.hand_on(true);
        let end = (2..=5).find_map(|value| send(&mut heir, value).err());
        assert_eq!(end, Some(SendError::Closed));
        other.join().unwrap();
    });
}

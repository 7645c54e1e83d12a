//! The end, orderly or not: everything committed arrives, then the end, once.

use loom::thread;

use super::{FRAME, check, pair, receive, send, stage};
use crate::error::{RecvError, SendError};

#[test]
fn what_was_sent_before_the_close_arrives_before_the_end() {
    check("what_was_sent_before_the_close_arrives_before_the_end", || {
        // So large that one frame is not published for being an eighth of it.
        let (mut tx, mut rx) = pair(256);
        let producer = thread::spawn(move || {
            send(&mut tx, 1).unwrap();
            stage(&mut tx, 2).unwrap(); // published by the drop
        });
        assert_eq!(receive(&mut rx), Ok(1));
        assert_eq!(receive(&mut rx), Ok(2));
        assert_eq!(receive(&mut rx), Err(RecvError::Ended));
        assert_eq!(receive(&mut rx), Err(RecvError::Ended));
        producer.join().unwrap();
    });
}

/// The link's other half lives, so there is no hang-up: the flag and the ring
/// have to do.
#[test]
fn the_close_of_one_half_wakes_its_consumer() {
    check("the_close_of_one_half_wakes_its_consumer", || {
        let (mut tx, mut rx) = pair(64);
        let other_half = tx.waiter().other_half();
        let producer = thread::spawn(move || send(&mut tx, 1).unwrap());
        assert_eq!(receive(&mut rx), Ok(1));
        assert_eq!(receive(&mut rx), Err(RecvError::Ended));
        producer.join().unwrap();
        drop(other_half);
    });
}

#[test]
fn the_close_of_one_half_wakes_its_producer() {
    check("the_close_of_one_half_wakes_its_producer", || {
        let (mut tx, mut rx) = pair(32);
        let other_half = rx.waiter().other_half();
        let consumer = thread::spawn(move || {
            let _ = rx.borrow().map(|frame| frame.release());
        });
        let end = (1..=5).find_map(|value| send(&mut tx, value).err());
        assert_eq!(end, Some(SendError::Closed));
        consumer.join().unwrap();
        drop(other_half);
    });
}

/// Killed at each point of a publication.
#[test]
fn a_killed_producer_leaves_what_it_committed_and_nothing_else() {
    for point in 0..4 {
        check("a_killed_producer_leaves_what_it_committed_and_nothing_else", move || {
            // So large that one frame is not published for being an eighth of it.
            let (mut tx, mut rx) = pair(256);
            let producer = thread::spawn(move || {
                send(&mut tx, 1).unwrap();
                if point == 0 {
                    return tx.die();
                }
                let mut room = tx.reserve(FRAME).unwrap();
                room.bytes().fill(2);
                if point == 1 {
                    return tx.die();
                }
                room.stage(FRAME);
                if point == 2 {
                    return tx.die();
                }
                tx.die_after_the_store_of_tail();
            });
            assert_eq!(receive(&mut rx), Ok(1));
            if point == 3 {
                assert_eq!(receive(&mut rx), Ok(2));
            }
            assert_eq!(receive(&mut rx), Err(RecvError::Ended));
            producer.join().unwrap();
        });
    }
}

#[test]
fn a_killed_consumer_ends_a_sleeping_producer() {
    for releases in 0..2 {
        check("a_killed_consumer_ends_a_sleeping_producer", move || {
            let (mut tx, mut rx) = pair(32);
            let consumer = thread::spawn(move || {
                for _ in 0..releases {
                    receive(&mut rx).unwrap();
                }
                rx.die();
            });
            let end = (1..=5).find_map(|value| send(&mut tx, value).err());
            assert_eq!(end, Some(SendError::Closed));
            consumer.join().unwrap();
        });
    }
}

//! Frames flow: whole, once, in order, and whoever sleeps is woken.

use loom::thread;

use super::{FRAME, check, pair, receive, send, stage};
use crate::error::{RecvError, SendError};

/// Full, empty, wrap-around and both sides asleep. The producer outlives the
/// reception of the last frame, so no hang-up can stand in for a lost wake-up.
#[test]
fn frames_arrive_in_order_and_nobody_sleeps_on() {
    check("frames_arrive_in_order_and_nobody_sleeps_on", || {
        let (mut tx, mut rx) = pair(32);
        let producer = thread::spawn(move || {
            for value in 1..=3 {
                send(&mut tx, value).unwrap();
            }
            tx
        });
        for value in 1..=3 {
            assert_eq!(receive(&mut rx), Ok(value));
        }
        drop(producer.join().unwrap());
        assert_eq!(receive(&mut rx), Err(RecvError::Ended));
        assert_eq!(rx.counters().frames, 3);
    });
}

/// The same, the consumer in the thread that loom preempts first.
#[test]
fn a_producer_that_fills_the_ring_is_woken() {
    check("a_producer_that_fills_the_ring_is_woken", || {
        let (mut tx, mut rx) = pair(32);
        let consumer = thread::spawn(move || {
            for value in 1..=4 {
                assert_eq!(receive(&mut rx), Ok(value));
            }
            rx
        });
        for value in 1..=4 {
            send(&mut tx, value).unwrap();
        }
        drop(consumer.join().unwrap());
        tx.wait(None).unwrap();
        assert!(tx.is_closed());
    });
}

#[test]
fn a_batch_is_published_and_released_as_one() {
    check("a_batch_is_published_and_released_as_one", || {
        let (mut tx, mut rx) = pair(64);
        let producer = thread::spawn(move || {
            for value in 1..=3 {
                stage(&mut tx, value).unwrap();
            }
            tx.publish();
            stage(&mut tx, 4).unwrap();
            stage(&mut tx, 5).unwrap();
            tx.publish();
            tx
        });
        let mut next = 1;
        while next <= 5 {
            let mut batch = rx.batch();
            loop {
                match batch.next() {
                    Ok(frame) => assert_eq!(frame.words(), [next]),
                    Err(end) => {
                        assert_eq!(end, RecvError::Empty);
                        break;
                    }
                }
                next += 1;
            }
            batch.release();
            if next <= 5 {
                rx.wait(None).unwrap();
            }
        }
        drop(producer.join().unwrap());
    });
}

/// Room given back late, an eighth of the ring at a time.
#[test]
fn room_given_back_in_eighths_is_enough_to_wake_the_producer() {
    check("room_given_back_in_eighths_is_enough_to_wake_the_producer", || {
        let (mut tx, mut rx) = pair(256);
        for value in 0..16 {
            send(&mut tx, value).unwrap();
        }
        let consumer = thread::spawn(move || {
            for value in 0..17 {
                assert_eq!(receive(&mut rx), Ok(value));
            }
            rx
        });
        send(&mut tx, 16).unwrap();
        drop(consumer.join().unwrap());
    });
}

/// `arm`, a poll of the descriptor, `woken`: how an event loop waits.
#[test]
fn an_event_loop_is_woken_too() {
    check("an_event_loop_is_woken_too", || {
        let (mut tx, mut rx) = pair(32);
        let producer = thread::spawn(move || {
            for value in 1..=3 {
                while let Err(full) = tx.reserve(FRAME).map(|mut room| {
                    room.bytes().fill(value);
                    room.commit(FRAME);
                }) {
                    assert_eq!(full, SendError::Full);
                    if tx.arm() {
                        tx.waiter().poll();
                        tx.woken().unwrap();
                    }
                }
            }
            tx
        });
        for value in 1..=3 {
            while let Err(empty) = rx.borrow().map(|frame| {
                assert_eq!(frame.bytes().words(), [value]);
                frame.release();
            }) {
                assert_eq!(empty, RecvError::Empty);
                if rx.arm() {
                    rx.waiter().poll();
                    rx.woken().unwrap();
                }
            }
        }
        drop(producer.join().unwrap());
    });
}

//! Every interleaving of two sides, as far as `LOOM_MAX_PREEMPTIONS` goes.
//!
//! Run by `ci/loom.sh`; what each model is for and which mistakes it was seen
//! to find is in `docs/model-checking.md`. A sleep that nobody ends is a
//! deadlock, a read of what was not published or a write into what was not
//! released is a race: loom reports both by itself.

mod death;
mod flow;
mod handover;

use crate::bell::Waiter;
use crate::error::{RecvError, SendError};
use crate::region::Region;
use crate::ring::{Consumer, Producer};

/// Frames of one word, so a ring of 32 bytes holds two.
const FRAME: usize = 8;

/// Runs a model, and says how many schedules that were.
fn check(name: &str, model: impl Fn() + Sync + Send + 'static) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering}; // not loom's: counts its runs
    let schedules = Arc::new(AtomicU64::new(0));
    let count = schedules.clone();
    loom::model(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{name}: {} schedules", schedules.load(Ordering::Relaxed));
}

fn pair(capacity: usize) -> (Producer, Consumer) {
    let (left, right) = Region::pair(capacity);
    let (left_bell, right_bell) = Waiter::pair();
    (Producer::new(left, left_bell, FRAME, "p"), Consumer::new(right, right_bell, FRAME, "c"))
}

fn send(tx: &mut Producer, value: u64) -> Result<(), SendError> {
    stage(tx, value)?;
    tx.publish();
    Ok(())
}

fn stage(tx: &mut Producer, value: u64) -> Result<(), SendError> {
    loop {
        match tx.reserve(FRAME) {
            Ok(mut room) => {
                room.bytes().fill(value);
                room.stage(FRAME);
                return Ok(());
            }
            Err(SendError::Full) => tx.wait(None).unwrap(),
            Err(end) => return Err(end),
        }
    }
}

fn receive(rx: &mut Consumer) -> Result<u64, RecvError> {
    loop {
        match rx.borrow() {
            Ok(frame) => {
                let value = frame.bytes().words()[0];
                frame.release();
                return Ok(value);
            }
            Err(RecvError::Empty) => rx.wait(None).unwrap(),
            Err(end) => return Err(end),
        }
    }
}

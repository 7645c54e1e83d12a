//! As `answers.rs`, without waiting in a call: each half of a link has a
//! descriptor, for any runtime that can wait until one is readable.
//!
//!     cargo run --example questions | cargo run --example answers_async

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use async_io::{Async, block_on};
use shmring::{RecvError, Rx, SendError, Tx};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (tx, rx) = shmring::on(io::stdin())?.split()?;
    Ok(block_on(answer(tx, rx))?)
}

async fn answer(mut tx: Tx, mut rx: Rx) -> io::Result<()> {
    // A second descriptor of the same doorbell, for the runtime to own.
    let frame_came: Async<OwnedFd> = Async::new_nonblocking(rx.as_fd().try_clone_to_owned()?)?;
    let room_came: Async<OwnedFd> = Async::new_nonblocking(tx.as_fd().try_clone_to_owned()?)?;
    while let Some(question) = recv(&mut rx, &frame_came).await? {
        send(&mut tx, &room_came, &question.to_ascii_uppercase()).await?;
    }
    Ok(())
}

/// The next frame, or `None` at the end.
async fn recv(rx: &mut Rx, doorbell: &Async<OwnedFd>) -> io::Result<Option<Vec<u8>>> {
    loop {
        match rx.borrow() {
            Ok(mut frame) => {
                let bytes = frame.bytes().to_vec();
                frame.release();
                return Ok(Some(bytes));
            }
            Err(RecvError::Empty) => {}
            Err(RecvError::Ended) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // `arm` says whether to sleep: `false` when a frame has come meanwhile.
        if rx.arm() {
            doorbell.readable().await?;
            rx.woken()?;
        }
    }
}

async fn send(tx: &mut Tx, doorbell: &Async<OwnedFd>, frame: &[u8]) -> io::Result<()> {
    loop {
        match tx.reserve(frame.len()) {
            Ok(mut room) => {
                room.fill(|bytes| bytes.copy_from(0, frame));
                room.stage(frame.len());
                tx.publish();
                return Ok(());
            }
            Err(SendError::Full) => {}
            Err(error) => return Err(error.into()),
        }
        if tx.arm() {
            doorbell.readable().await?;
            tx.woken()?;
        }
    }
}

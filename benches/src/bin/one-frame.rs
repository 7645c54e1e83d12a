//! `one-frame COUNT`: reserve, commit, borrow and release a frame of 64 bytes
//! COUNT times in one thread, for a tool that counts instructions.

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let count: u64 = std::env::args().nth(1).context("usage: one-frame COUNT")?.parse()?;
    let (mut tx, mut rx) = shmring::loopback(1 << 20, 2048)?;
    let frame = [7; 64];
    let mut copy = [0; 64];
    for _ in 0..count {
        let mut room = tx.reserve(frame.len())?;
        room.bytes().copy_from(0, &frame);
        room.commit(frame.len());
        let frame = rx.borrow()?;
        frame.bytes().copy_to(0, &mut copy);
        frame.release();
        std::hint::black_box(&copy);
    }
    Ok(())
}

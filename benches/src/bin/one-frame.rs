//! `one-frame COUNT [WAY]`: takes a frame of 64 bytes from one side to the other
//! COUNT times in one thread, for a tool that counts instructions. WAY is `ring`
//! (reserve, commit, borrow, release) or `jack` (from edge to edge over cables, of which
//! [`edge_to_link`] and [`link_to_edge`] are what each side does).

use anyhow::{Context, Result, bail};
use cable::edge::{NotNow, NotTaken, Watch};
use cable::{Cable, Edge, Jack};
use frames::{FEATURES, MAX_FRAME};
use shmring::{Bytes, BytesMut};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let count = args.next().context("usage: one-frame COUNT [ring|jack]")?.parse()?;
    match args.next().as_deref() {
        None | Some("ring") => ring(count),
        Some("jack") => jack(count),
        Some(other) => bail!("{other}: ring or jack"),
    }
}

fn ring(count: u64) -> Result<()> {
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

/// Has frames of 64 bytes, and takes all.
struct Memory {
    left: u64,
}

impl Edge for Memory {
    fn features(&self) -> u64 {
        FEATURES
    }

    fn plugged(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn unplugged(&mut self) -> Result<()> {
        Ok(())
    }

    fn has_frames(&mut self) -> bool {
        self.left > 0
    }

    fn has_room(&mut self) -> bool {
        true
    }

    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        self.left = self.left.checked_sub(1).ok_or(NotNow)?;
        Ok(room.copy_from(0, &[7; 64]))
    }

    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken> {
        let mut copy = [0; 64];
        frame.copy_to(0, &mut copy);
        std::hint::black_box(&copy);
        Ok(())
    }

    fn watch(&self, _: &mut Watch<'_>) -> Result<()> {
        Ok(())
    }

    fn woken(&mut self) {}
}

fn jack(count: u64) -> Result<()> {
    let (here, there) = shmring::pair(1 << 20, MAX_FRAME, FEATURES, ["left", "right"])?;
    let jack = |link, left| -> Result<Jack<Memory>> {
        let mut cable = Cable::local(link, "memory")?;
        cable.on_time(&mut |_, _, _, _| Ok(()))?;
        Ok(Jack::new("memory".to_owned(), Memory { left }, vec![cable]))
    };
    let (mut from, mut to) = (jack(here, count)?, jack(there, 0)?);
    while link_to_edge(&mut to) < count {
        edge_to_link(&mut from);
    }
    Ok(())
}

#[inline(never)]
fn edge_to_link(jack: &mut Jack<Memory>) {
    jack.turn();
}

#[inline(never)]
fn link_to_edge(jack: &mut Jack<Memory>) -> u64 {
    jack.turn();
    jack.taken()
}

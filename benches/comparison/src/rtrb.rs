//! rtrb: threads of one process, a ring of bytes, busy on both sides. The
//! length goes before each frame.

use anyhow::Result;
use rtrb::{Consumer, Producer, RingBuffer};
use stdpkt_benches::harness::frames::{Checker, Source};
use stdpkt_benches::harness::{Ends, Far, Kind, Receiver, Sender};

const PREFIX: usize = 4;

pub fn kind() -> Kind {
    Kind {
        name: "rtrb (threads)",
        busy_polls: true,
        max_frame: usize::MAX,
        near: |setup| {
            let (near_tx, far_rx) = RingBuffer::new(setup.ring);
            let (far_tx, near_rx) = RingBuffer::new(setup.ring);
            let max_frame = setup.max_frame;
            let near = move || Ok(ends(near_tx, near_rx, max_frame));
            let far = move || Ok(ends(far_tx, far_rx, max_frame));
            Ok((Box::new(near), Far::Thread(Box::new(far))))
        },
        far: |_, _| anyhow::bail!("rtrb knows no processes"),
    }
}

fn ends(tx: Producer<u8>, rx: Consumer<u8>, max_frame: usize) -> Ends {
    Ends { tx: Box::new(Tx(tx)), rx: Box::new(Rx { rx, frame: vec![0; PREFIX + max_frame] }) }
}

struct Tx(Producer<u8>);

impl Sender for Tx {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        for _ in 0..count {
            let frame = source.next();
            while self.0.slots() < PREFIX + frame.len() {
                std::hint::spin_loop();
            }
            self.0.push_entire_slice(&(frame.len() as u32).to_le_bytes())?;
            self.0.push_entire_slice(frame)?;
        }
        Ok(())
    }
}

struct Rx {
    rx: Consumer<u8>,
    frame: Vec<u8>,
}

impl Rx {
    fn wait(&self, bytes: usize) {
        while self.rx.slots() < bytes {
            std::hint::spin_loop();
        }
    }
}

impl Receiver for Rx {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        for _ in 0..count {
            let mut prefix = [0; PREFIX];
            self.wait(PREFIX);
            self.rx.pop_entire_slice(&mut prefix)?;
            let len = u32::from_le_bytes(prefix) as usize;
            self.wait(len);
            let chunk = self.rx.read_chunk(len)?;
            // In place, unless it lies around the end.
            match chunk.as_slices() {
                (whole, []) => checker.check(&whole)?,
                (first, second) => {
                    self.frame[..first.len()].copy_from_slice(first);
                    self.frame[first.len()..len].copy_from_slice(second);
                    checker.check(&&self.frame[..len])?;
                }
            }
            chunk.commit_all();
        }
        Ok(())
    }
}

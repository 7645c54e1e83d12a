//! ringfire's blobs: busy on both sides, and lossy: a slow reader is lapped.
//! Here the writer waits before that happens, so that every frame arrives.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ringfire::{BlobConsumer, BlobProducer};
use stdpkt_benches::harness::frames::{Checker, Source};
use stdpkt_benches::harness::{Ends, Far, Kind, Receiver, Sender, Setup};

pub fn kind() -> Kind {
    Kind {
        name: "ringfire",
        busy_polls: true,
        max_frame: usize::MAX,
        near: |setup| {
            let tx = producer(setup, "there")?;
            let setup = setup.clone();
            let near = move || join(&setup, tx, "back");
            Ok((Box::new(near), Far::Process(vec![])))
        },
        far: |setup, _| join(setup, producer(setup, "back")?, "there"),
    }
}

/// Packets that fit the arena twice over.
fn slots(setup: &Setup) -> u64 {
    (setup.ring / (2 * setup.max_frame.next_multiple_of(64))).max(8).next_power_of_two() as u64
}

fn producer(setup: &Setup, name: &str) -> Result<BlobProducer<u64>> {
    let arena = 4 * slots(setup) as usize * setup.max_frame.next_power_of_two();
    Ok(BlobProducer::create(setup.dir.join(name), slots(setup), arena)?)
}

fn join(setup: &Setup, tx: BlobProducer<u64>, rx: &str) -> Result<Ends> {
    let until = Instant::now() + Duration::from_secs(5);
    let rx = loop {
        match BlobConsumer::attach_with_name(setup.dir.join(rx), "bench") {
            Ok(rx) => break rx,
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let slots = slots(setup);
    Ok(Ends { tx: Box::new(Tx { tx, slots, credit: 0 }), rx: Box::new(Rx(rx)) })
}

struct Tx {
    tx: BlobProducer<u64>,
    slots: u64,
    /// Packets that may be sent before looking at the reader again.
    credit: u64,
}

impl Sender for Tx {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        for _ in 0..count {
            while self.credit == 0 {
                self.credit = self.tx.headroom().saturating_sub(self.slots / 4);
                std::hint::spin_loop();
            }
            self.credit -= 1;
            self.tx.push(&0, source.next())?;
        }
        Ok(())
    }
}

struct Rx(BlobConsumer<u64>);

impl Receiver for Rx {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        for _ in 0..count {
            loop {
                match self.0.view(|_, frame| checker.check(&frame))? {
                    Some(checked) => break checked?,
                    None => std::hint::spin_loop(),
                }
            }
            if self.0.lapped_count() > 0 {
                bail!("frames were lost");
            }
        }
        self.0.registry().context("no registry")?;
        Ok(())
    }
}

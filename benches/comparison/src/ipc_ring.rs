//! ipc_ring: a ring in a mapped file, a copy on both sides; sleeps, but looks
//! every 2 ms.

use std::time::{Duration, Instant};

use anyhow::Result;
use ipc_ring::{RingReader, RingWriter};
use stdpkt_benches::harness::frames::{Checker, Source};
use stdpkt_benches::harness::{Ends, Far, Kind, Receiver, Sender, Setup};

pub fn kind() -> Kind {
    Kind {
        name: "ipc_ring",
        busy_polls: false,
        max_frame: usize::MAX,
        near: |setup| {
            let tx = RingWriter::create(setup.dir.join("there"), setup.ring)?;
            let setup = setup.clone();
            let near = move || join(&setup, tx, "back");
            Ok((Box::new(near), Far::Process(vec![])))
        },
        far: |setup, _| {
            let tx = RingWriter::create(setup.dir.join("back"), setup.ring)?;
            join(setup, tx, "there")
        },
    }
}

fn join(setup: &Setup, tx: RingWriter, rx: &str) -> Result<Ends> {
    let until = Instant::now() + Duration::from_secs(5);
    let rx = loop {
        match RingReader::open(setup.dir.join(rx)) {
            Ok(rx) => break rx,
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    Ok(Ends { tx: Box::new(Tx(tx)), rx: Box::new(Rx { rx, frame: Vec::new() }) })
}

struct Tx(RingWriter);

impl Sender for Tx {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        for _ in 0..count {
            self.0.push(source.next(), None)?;
        }
        Ok(())
    }
}

struct Rx {
    rx: RingReader,
    frame: Vec<u8>,
}

impl Receiver for Rx {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        for _ in 0..count {
            let len = self.rx.pop(&mut self.frame, None)?;
            checker.check(&&self.frame[..len])?;
        }
        Ok(())
    }
}

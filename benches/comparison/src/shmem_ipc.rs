//! shmem-ipc: a ring of bytes, eventfds, blocks. The length goes before each
//! frame, and a frame may lie around the end.
#![allow(unsafe_code)]
// Unsafe lives here because shmem-ipc hands out raw pointers.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use shmem_ipc::sharedring::{Receiver as Ring, Sender as RingSender};
use stdpkt_benches::harness::frames::{Checker, HEADER, Source, length_in};
use stdpkt_benches::harness::{Ends, Far, Kind, Receiver, Sender};

pub fn kind() -> Kind {
    Kind {
        name: "shmem-ipc",
        busy_polls: false,
        max_frame: usize::MAX,
        near: |setup| {
            let tx = RingSender::<u8>::new(setup.ring)?;
            let rx = Ring::<u8>::new(setup.ring)?;
            let mut fds: Vec<OwnedFd> = Vec::new();
            for file in [
                tx.memfd().as_file(),
                tx.empty_signal(),
                tx.full_signal(),
                rx.memfd().as_file(),
                rx.empty_signal(),
                rx.full_signal(),
            ] {
                fds.push(file.try_clone()?.into());
            }
            Ok((Box::new(move || Ok(ends(tx, rx))), Far::Process(fds)))
        },
        far: |setup, fds| {
            let mut files = fds.into_iter().map(File::from);
            let mut file = || files.next().context("six descriptors");
            let rx = Ring::open(setup.ring, file()?, file()?, file()?)?;
            let tx = RingSender::open(setup.ring, file()?, file()?, file()?)?;
            Ok(ends(tx, rx))
        },
    }
}

fn ends(tx: RingSender<u8>, rx: Ring<u8>) -> Ends {
    Ends { tx: Box::new(Tx(tx)), rx: Box::new(Rx { rx, frame: vec![0; 1 << 17] }) }
}

struct Tx(RingSender<u8>);

impl Sender for Tx {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        for _ in 0..count {
            let mut left = source.next();
            while !left.is_empty() {
                self.0.block_until_writable()?;
                self.0.send_raw(|to, room| {
                    let n = room.min(left.len());
                    // SAFETY: `to` is valid for `room` bytes, `left` is private.
                    unsafe { std::ptr::copy_nonoverlapping(left.as_ptr(), to, n) };
                    left = &left[n..];
                    n
                })?;
            }
        }
        Ok(())
    }
}

struct Rx {
    rx: Ring<u8>,
    frame: Vec<u8>,
}

impl Receiver for Rx {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        let mut left = count;
        let mut held = 0;
        while left > 0 {
            self.rx.block_until_readable()?;
            let frame = &mut self.frame;
            let mut result = Ok(());
            self.rx.receive_raw(|from, there| {
                let mut used = 0;
                while left > 0 && used < there {
                    // In place where a whole frame lies there, else piece by piece.
                    // SAFETY: `from` is valid for `there` bytes; the neighbour, who
                    // is trusted here, does not write to them before they are given back.
                    let rest = unsafe { std::slice::from_raw_parts(from.add(used), there - used) };
                    if held == 0
                        && let Some(header) = rest.first_chunk::<HEADER>()
                        && let Some(whole) = rest.get(..length_in(header))
                    {
                        result = checker.check(&whole);
                        used += whole.len();
                    } else {
                        let want = match frame[..held].first_chunk::<HEADER>() {
                            Some(header) => length_in(header),
                            None => HEADER,
                        };
                        let n = (want - held).min(rest.len());
                        frame[held..held + n].copy_from_slice(&rest[..n]);
                        held += n;
                        used += n;
                        let done = held > HEADER
                            && frame[..held].first_chunk().map(length_in) == Some(held);
                        if !done {
                            continue;
                        }
                        result = checker.check(&&frame[..held]);
                        held = 0;
                    }
                    left -= 1;
                    if result.is_err() {
                        break;
                    }
                }
                used
            })?;
            result?;
        }
        Ok(())
    }
}

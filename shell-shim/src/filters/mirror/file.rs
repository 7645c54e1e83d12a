//! Copies for a capture, written beside the chain.
//!
//! A thread of its own finishes packets and writes them, with less claim to a processor:
//! frames pass first. It gets them through a ring; what finds that full has no copy, as with
//! tcpdump when it cannot keep up.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use shmring::{Bytes, Consumer, Producer, RecvError};

use cable::PUBLISH_EVERY;
use cable::stream_tx::now;
use frames::MAX_FRAME;
use frames::Packets;
use frames::capture::{Encoder, Format};

/// Bytes of frames that wait to be written. Few enough to stay in the cache,
/// where a copy costs the chain least.
const RING: usize = 1 << 20;
/// Bytes of time before each frame.
const TIME: usize = size_of::<u64>();
/// Bytes of packets that are written at once.
const CHUNK: usize = 256 << 10;
/// By so much nicer than the chain, of nice(2), is who writes: a ninth of its share of a
/// processor that both want (sched(7)).
const NICER: i32 = 10;

/// The side of the chain.
pub(super) struct Capture {
    tx: Producer,
    /// Bytes that the writer has not heard of.
    staged: usize,
    taken: u64,
    writer: JoinHandle<u64>,
}

impl Capture {
    /// Opens a capture and starts its writer.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn open(path: &Path, append: bool) -> Result<Capture> {
        let name = || path.display().to_string();
        let mut options = OpenOptions::new();
        options.create(true).append(append).write(true).truncate(!append);
        let file = options.open(path).with_context(name)?;
        let len = file.metadata().with_context(name)?.len();
        if append && len > 0 {
            check(File::open(path).with_context(name)?, len).with_context(name)?;
        }
        let mut buffer = Vec::new();
        // An appended capture has its header already.
        if len == 0 {
            Encoder(Format::Pcap).begin(&mut buffer);
        }
        let (tx, rx) = shmring::loopback(RING, TIME + MAX_FRAME).with_context(name)?;
        let writer = Writer { path: path.to_owned(), file, len, buffer };
        let writer = std::thread::Builder::new().spawn(move || writer.run(rx));
        Ok(Capture { tx, staged: 0, taken: 0, writer: writer.with_context(name)? })
    }

    /// Takes a copy of a frame; `false` if there is no room for it.
    pub fn take(&mut self, bytes: &Bytes<'_>) -> bool {
        let Ok(mut room) = self.tx.reserve(TIME + bytes.len()) else {
            self.tx.count_drop();
            return false;
        };
        let nanos = now().as_nanos() as u64; // until the year 2554
        room.bytes().copy_from(0, &nanos.to_le_bytes());
        room.bytes().copy_from_bytes(TIME, *bytes);
        room.stage(TIME + bytes.len());
        self.staged += bytes.len();
        self.taken += 1;
        if self.staged >= PUBLISH_EVERY {
            self.publish();
        }
        true
    }

    /// Shows the writer what was taken.
    pub fn publish(&mut self) {
        self.tx.publish();
        self.staged = 0;
    }

    /// Waits for the writer; returns how many frames it could not write.
    pub fn finish(self) -> u64 {
        let Capture { tx, taken, writer, .. } = self;
        drop(tx);
        taken - writer.join().unwrap_or(0)
    }
}

/// Whether packets can be appended to a file: it is a capture of our own kind, and whole.
fn check(file: File, len: u64) -> Result<()> {
    /// From the magic number on, and where the longest packet and the link type stand.
    const HEADER: usize = 24;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER];
    let mut ours = Vec::new();
    Encoder(Format::Pcap).begin(&mut ours);
    let is_header = file.read_exact(&mut header).is_ok()
        && header[..16] == ours[..16]
        && header[20..] == ours[20..HEADER];
    let longest = u32::from_le_bytes([header[16], header[17], header[18], header[19]]) as usize;
    if !is_header || longest > 0 && longest < MAX_FRAME {
        bail!(
            "not a capture that -a can append to, which is pcap of whole Ethernet packets as tee and tcpdump write it"
        );
    }
    let mut at = HEADER as u64;
    while at < len {
        let mut packet = [0; 16];
        let kept = file.read_exact(&mut packet).ok().map(|()| {
            u64::from(u32::from_le_bytes([packet[8], packet[9], packet[10], packet[11]]))
        });
        let end = kept.map(|kept| at + 16 + kept).filter(|end| *end <= len);
        let Some(end) = end else {
            bail!("ends in the middle of a packet: cut it with `truncate -s {at}` before");
        };
        file.seek_relative((end - at - 16) as i64)?;
        at = end;
    }
    Ok(())
}

/// The side of the file.
struct Writer {
    path: PathBuf,
    file: File,
    /// Of the file.
    len: u64,
    /// Packets to be written.
    buffer: Vec<u8>,
}

impl Writer {
    /// Writes until the chain ends or nothing can be written; returns how many
    /// frames were written.
    fn run(mut self, mut rx: Consumer) -> u64 {
        give_way();
        let (mut packets, mut frame) = (Packets::default(), Vec::new());
        let (mut written, mut pending) = (0, 0);
        loop {
            let next = rx.borrow().map(|next| {
                next.bytes().copy_into(&mut frame);
                next.release();
            });
            if next.is_ok()
                && let Some((time, frame)) = frame.split_first_chunk::<TIME>()
            {
                let time = std::time::Duration::from_nanos(u64::from_le_bytes(*time));
                let each = |packet: &[u8]| {
                    Encoder(Format::Pcap).packet(time, packet, &mut self.buffer);
                };
                pending += u64::from(packets.each(frame, each).is_ok());
            }
            // What is there is written before it waits for more.
            if next.is_err() || self.buffer.len() >= CHUNK {
                if let Err(error) = self.write() {
                    say::error!("{}: {error}; no more is written there", self.path.display());
                    return written;
                }
                written += std::mem::take(&mut pending);
            }
            match next {
                Ok(()) => {}
                Err(RecvError::Empty) if rx.wait(None).is_ok() => {}
                Err(_) => return written,
            }
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        if let Err(error) = self.file.write_all(&self.buffer) {
            // The last packets may be there in part: what stays is a whole capture.
            let _ = self.file.set_len(self.len);
            return Err(error);
        }
        self.len += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// The frames' own thread comes first. Not by SCHED_IDLE: on a busy machine such a thread waits for
/// many seconds, even to end, and the process ends when its last thread does.
fn give_way() {
    // Where it is forbidden, all stays as it is.
    if let Ok(nice) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, (nice + NICER).min(19));
    }
}

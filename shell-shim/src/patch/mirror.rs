//! A file that gets a copy of each frame. Whatever becomes of it, the chain goes on.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shmring::{Bytes, PipeEnd, RuntimeDir, SendError};

use super::offer;
use crate::capture::{Encoder, Format};
use crate::link::stream_tx::now;
use crate::link::{Cable, CablePlan, Fallback};
use crate::wire::Packets;

/// Between two looks whether somebody reads a FIFO.
const RETRY: Duration = Duration::from_millis(50);
/// Between two tries to hand waiting frames over.
const PUMP: Duration = Duration::from_millis(5);
/// Frames wait this long for a first reader, who may be about to start.
const FIRST: Duration = Duration::from_secs(1);
/// Bytes of frames that wait for a reader which is there.
const QUEUE: usize = 8 << 20;

/// Where copies go.
pub struct Mirror {
    path: PathBuf,
    target: Target,
    /// Frames without a copy.
    missed: u64,
}

enum Target {
    File { file: File, packets: Packets, buffer: Vec<u8>, frame: Vec<u8> },
    Fifo(Box<Fifo>),
    Failed,
}

struct Fifo {
    dir: RuntimeDir,
    /// As long as somebody reads.
    cable: Option<Cable>,
    next_try: Instant,
    /// Until then a first reader may turn up.
    first: Option<Instant>,
    queue: VecDeque<Vec<u8>>,
    queued: usize,
}

impl Mirror {
    /// Opens a capture, or gets ready for the readers of a FIFO.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn open(path: &Path, append: bool) -> Result<Mirror> {
        let name = || path.display().to_string();
        let fifo = path.metadata().is_ok_and(|meta| meta.file_type().is_fifo());
        let target = if fifo {
            Target::Fifo(Box::new(Fifo {
                dir: RuntimeDir::for_user()?,
                cable: None,
                next_try: Instant::now(),
                first: Some(Instant::now() + FIRST),
                queue: VecDeque::new(),
                queued: 0,
            }))
        } else {
            let mut options = OpenOptions::new();
            options.create(true).append(append).write(true).truncate(!append);
            let file = options.open(path).with_context(name)?;
            let mut buffer = Vec::new();
            let mut magic = [0; 4];
            let known = File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok();
            if append && known && u32::from_le_bytes(magic) != 0xa1b2_c3d4 {
                bail!("{}: not a capture that -a can append to, which is pcap", path.display());
            }
            // An appended capture has its header already.
            if file.metadata().with_context(name)?.len() == 0 {
                Encoder(Format::Pcap).begin(&mut buffer);
            }
            Target::File { file, packets: Packets::default(), buffer, frame: Vec::new() }
        };
        Ok(Mirror { path: path.to_owned(), target, missed: 0 })
    }

    /// Takes a copy of a frame; never waits for a reader.
    pub fn take(&mut self, bytes: &Bytes<'_>) {
        match &mut self.target {
            Target::File { packets, buffer, frame, .. } => {
                frame.resize(bytes.len(), 0);
                bytes.copy_to(0, frame);
                let time = now();
                let each = |packet: &[u8]| Encoder(Format::Pcap).packet(time, packet, buffer);
                self.missed += u64::from(packets.each(frame, each).is_err());
            }
            Target::Fifo(fifo) => {
                fifo.look(&self.path);
                if !fifo.may_be_read() || fifo.queued + bytes.len() > QUEUE {
                    self.missed += 1;
                } else {
                    fifo.queued += bytes.len();
                    fifo.queue.push_back(bytes.to_vec());
                }
            }
            Target::Failed => self.missed += 1,
        }
    }

    /// Writes what was taken.
    pub fn pump(&mut self) {
        match &mut self.target {
            Target::File { file, buffer, .. } if !buffer.is_empty() => {
                let written = file.write_all(buffer);
                buffer.clear();
                if let Err(error) = written {
                    eprintln!("stdpkt: {}: {error}; no more is written there", self.path.display());
                    self.target = Target::Failed;
                }
            }
            Target::Fifo(fifo) => {
                if !fifo.queue.is_empty() {
                    fifo.look(&self.path);
                }
                self.missed += fifo.pump();
            }
            _ => {}
        }
    }

    /// When [`Mirror::pump`] wants to be called again.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.target {
            Target::Fifo(fifo) if !fifo.queue.is_empty() => Some(Instant::now() + PUMP),
            _ => None,
        }
    }

    /// Hands over what is left, to a reader that takes it soon, and says what was missed.
    pub fn finish(&mut self) {
        let until = Instant::now() + Duration::from_secs(1);
        while self.deadline().is_some() && Instant::now() < until {
            self.pump();
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Target::Fifo(fifo) = &mut self.target {
            self.missed += fifo.queue.len() as u64;
            let left = |cable: &mut Cable| {
                while Instant::now() < until && !cable.is_drained() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            fifo.cable.iter_mut().for_each(left);
        }
        if self.missed > 0 {
            eprintln!("stdpkt: {}: {} frames without a copy", self.path.display(), self.missed);
        }
    }
}

impl Fifo {
    /// Looks whether somebody reads by now.
    fn look(&mut self, path: &Path) {
        let now = Instant::now();
        if self.cable.is_some() || now < self.next_try {
            return;
        }
        self.next_try = now + RETRY;
        // Fails while nobody reads. Each reader gets a capture of its own, since
        // the pipe is empty when its last reader and we have gone.
        let mut options = OpenOptions::new();
        let Ok(fifo) = options.write(true).custom_flags(libc::O_NONBLOCK).open(path) else {
            return;
        };
        let Ok(end) = PipeEnd::new(fifo, &path.display().to_string()) else { return };
        let plan = CablePlan {
            end,
            offer: shmring::Offer { duplex: false, ..offer("mirror") },
            vital: true,
            both_ways: false,
            fallback: Fallback::AtOnce,
        };
        self.cable = Cable::new(plan, &self.dir).ok();
        self.first = None;
    }

    fn may_be_read(&self) -> bool {
        self.cable.is_some() || self.first.is_some_and(|until| Instant::now() < until)
    }

    fn give_up(&mut self) -> u64 {
        self.cable = None;
        self.queued = 0;
        std::mem::take(&mut self.queue).len() as u64
    }

    /// Returns how many frames the reader that went away did not get.
    fn pump(&mut self) -> u64 {
        if !self.may_be_read() {
            return self.give_up();
        }
        let Some(cable) = &mut self.cable else { return 0 };
        match Self::hand_over(cable, &mut self.queue, &mut self.queued) {
            true => 0,
            false => self.give_up(),
        }
    }

    /// `false` when the reader is gone.
    fn hand_over(cable: &mut Cable, queue: &mut VecDeque<Vec<u8>>, queued: &mut usize) -> bool {
        // Nobody sleeps on these descriptors: they are looked at with each pump.
        let (mut serial, mut wake) = (0, |_, _, _: std::os::fd::BorrowedFd<'_>, _| Ok(()));
        if cable.on_rendezvous(&mut serial, &mut wake).is_err()
            || cable.on_time(&mut serial, &mut wake).is_err()
        {
            return false;
        }
        cable.refresh();
        let gone = cable.was_up && cable.sender().is_none_or(|tx| tx.is_closed());
        let Some(tx) = cable.sender().filter(|_| !gone) else { return !gone };
        while let Some(frame) = queue.front() {
            let sent = tx.send(frame.len(), |room| {
                room.copy_from(0, frame);
                Ok::<_, ()>(frame.len())
            });
            match sent {
                Err(SendError::Full) => break,
                Err(SendError::Closed | SendError::Corrupt(_)) => return false,
                Ok(_) | Err(SendError::TooLong { .. }) => {
                    *queued -= frame.len();
                    queue.pop_front();
                }
            }
        }
        tx.publish();
        true
    }
}

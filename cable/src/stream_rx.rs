//! Frames out of a byte stream: a file, or the bytes of a writer that does not know
//! of rings.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use shmring::board::Meter;
use shmring::{ByteStream, Bytes, RecvError, StreamIn};

use super::bytes;
use super::capture_in::CaptureIn;
use frames::capture::CaptureError;
use frames::recorded::{HEAD_START, set_head_start};

/// Bytes read at once: a pipe's worth.
const CHUNK: usize = 64 << 10;

/// A pipe or file whose bytes are a capture.
pub struct StreamRx {
    source: OwnedFd,
    decoder: CaptureIn,
    chunk: Vec<u8>,
    /// How long after a function's CMD was started its frames may arrive.
    head_start: Duration,
    /// The next frame, if `have`.
    frame: Vec<u8>,
    have: bool,
    /// The pipe was empty and has not said since that there is more.
    blocked: bool,
    state: State,
    meter: Meter,
    /// Packets left out that are counted already.
    left_out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Not to be read for now.
    Held,
    /// No more bytes will come.
    Ended,
}

impl StreamRx {
    /// Reads `source`, which does not block, or is a file.
    pub fn new(source: OwnedFd, what: &str) -> StreamRx {
        StreamRx {
            source,
            decoder: CaptureIn::new(what),
            chunk: vec![0; CHUNK],
            head_start: HEAD_START,
            frame: Vec::new(),
            have: false,
            blocked: false,
            state: State::Open,
            meter: Meter::default(),
            left_out: 0,
        }
    }

    fn fill(&mut self) -> Result<(), RecvError> {
        if self.blocked || self.state == State::Held {
            return Err(RecvError::Empty);
        }
        match bytes::read(&self.source, &mut self.chunk) {
            Ok(0) => self.finish(),
            Ok(n) => self.decoder.push(&self.chunk[..n]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                self.blocked = true;
                return Err(RecvError::Empty);
            }
            Err(errno) => self.decoder.fail(errno.to_string()),
        }
        Ok(())
    }

    /// Bytes that somebody else took out of the pipe.
    pub fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Reads nothing for now.
    pub fn hold(&mut self, held: bool) {
        if self.state != State::Ended {
            self.state = if held { State::Held } else { State::Open };
        }
    }

    /// No more bytes will come.
    pub fn finish(&mut self) {
        self.state = State::Ended;
        self.decoder.end();
    }

    /// Whether every frame was taken.
    pub fn is_ended(&self) -> bool {
        !self.have
            && (self.error().is_some() || self.state == State::Ended && self.decoder.is_empty())
    }

    /// Looks for the first frame, without waiting; `false` when there will be none
    /// since the capture is none.
    pub fn peek(&mut self) -> bool {
        let _ = self.next_len();
        self.have || self.error().is_none()
    }

    /// What is wrong with the capture.
    pub fn error(&self) -> Option<&CaptureError> {
        self.decoder.error()
    }

    /// How long after a function's CMD was started frames may reach it, instead of
    /// [`HEAD_START`].
    pub fn set_head_start(&mut self, head_start: Duration) {
        self.head_start = head_start;
    }

    /// When the packet of the frame passed, since 1970, if the capture says so.
    pub fn time(&self) -> Option<Duration> {
        self.decoder.time()
    }
}

impl ByteStream for StreamRx {
    fn arm(&mut self) -> bool {
        let sleep = self.next_len() == Err(RecvError::Empty);
        if sleep {
            self.meter.stalled();
        }
        sleep
    }

    fn woken(&mut self) -> io::Result<()> {
        self.blocked = false;
        Ok(())
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn meter_mut(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn pipe(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl StreamIn for StreamRx {
    /// After a mistake in the capture, which is [`StreamRx::error`], it has ended.
    fn next_len(&mut self) -> Result<usize, RecvError> {
        while !self.have {
            match self.decoder.next(&mut self.frame) {
                Ok(true) => {
                    self.have = true;
                    set_head_start(&mut self.frame, self.head_start);
                }
                Ok(false) if self.state == State::Ended => return Err(RecvError::Ended),
                Ok(false) => self.fill()?,
                Err(_) => return Err(RecvError::Ended),
            }
        }
        Ok(self.frame.len())
    }

    fn frame(&self) -> Bytes<'_> {
        Bytes::of_slice(&self.frame)
    }

    fn release(&mut self) {
        self.have = false;
        self.meter.passed(self.frame.len());
        while self.left_out < self.decoder.tally().left_out() {
            self.left_out += 1;
            self.meter.dropped();
        }
    }
}

impl AsFd for StreamRx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

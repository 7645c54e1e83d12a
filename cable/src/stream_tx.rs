//! Frames into a byte stream, for a reader that does not know of rings.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use shmring::board::{Entry, Meter};
use shmring::{BytesMut, SendError};

use super::bytes;
use frames::capture::{Encoder, Format};
use frames::{MAX_FRAME, Packets, WireError};

/// A pipe that frames go into as a capture of complete packets. Dropped, it says how
/// many have no such form.
pub struct StreamTx {
    pipe: OwnedFd,
    /// Its name for people.
    what: String,
    encoder: Encoder,
    packets: Packets,
    frame: Vec<u8>,
    /// Whole packets; `sent..` is still to be written.
    out: Vec<u8>,
    sent: usize,
    /// The pipe was full and has not said since that there is room.
    blocked: bool,
    state: State,
    meter: Meter,
    malformed: Malformed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// No more frames for now.
    Held,
    /// The reader is gone.
    Closed,
}

impl StreamTx {
    /// Starts a pcap capture in `pipe`, where the first `sent` bytes of it are already.
    pub fn new(pipe: OwnedFd, what: &str, sent: usize) -> StreamTx {
        let encoder = Encoder(Format::Pcap);
        let mut out = Vec::new();
        encoder.begin(&mut out);
        let mut stream = StreamTx {
            pipe,
            what: what.to_owned(),
            encoder,
            packets: Packets::default(),
            frame: vec![0; MAX_FRAME],
            out,
            sent,
            blocked: false,
            state: State::Open,
            meter: Meter::default(),
            malformed: Malformed::default(),
        };
        stream.flush();
        stream
    }

    /// Gives `fill` room for a frame of up to `len` bytes and sends what it says it filled.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send<E>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut BytesMut<'_>) -> Result<usize, E>,
    ) -> Result<Result<(), E>, SendError> {
        if len > MAX_FRAME {
            return Err(SendError::TooLong { len, max: MAX_FRAME });
        }
        if !self.ready()? {
            return Err(SendError::Full);
        }
        let filled = match fill(&mut BytesMut::of_slice(&mut self.frame[..len])) {
            Ok(filled) => filled,
            Err(error) => return Ok(Err(error)),
        };
        let time = now();
        let StreamTx { encoder, packets, frame, out, .. } = self;
        match packets.each(&frame[..filled], |packet| encoder.packet(time, packet, out)) {
            Ok(_) => self.meter.passed(filled),
            Err(error) => {
                self.meter.dropped(); // as a network card would
                self.malformed.count(error);
            }
        }
        self.flush();
        Ok(Ok(()))
    }

    /// Whether there is room for a frame.
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub fn ready(&mut self) -> Result<bool, SendError> {
        let is_empty = self.flush();
        match self.state {
            State::Closed => Err(SendError::Closed),
            State::Held => Ok(false),
            State::Open => Ok(is_empty),
        }
    }

    /// Sends no more frames for now.
    pub fn hold(&mut self, held: bool) {
        if !self.is_closed() {
            self.state = if held { State::Held } else { State::Open };
        }
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.sent == self.out.len()
    }

    /// Whether the reader is gone.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Counts a frame that could not be sent.
    pub fn count_drop(&mut self) {
        self.meter.dropped();
    }

    /// Shows what it counts.
    pub fn show(&mut self, entry: Entry) {
        self.meter.show(entry);
    }

    /// Prepares to sleep until there is room: `false` when there is.
    pub fn arm(&mut self) -> bool {
        let is_empty = self.flush();
        let sleep = match self.state {
            State::Closed => false,
            State::Held => true,
            State::Open => !is_empty,
        };
        if sleep {
            self.meter.stalled();
        }
        sleep
    }

    /// The descriptor became ready for something.
    pub fn woken(&mut self) {
        self.blocked = false;
        // With nothing to write, only poll(2) tells that the reader is gone: by an
        // error of a pipe, a hang-up of a socket.
        let mut fds = [PollFd::new(&self.pipe, PollFlags::OUT)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(&mut fds, Some(&now)).is_ok()
            && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
        {
            self.state = State::Closed;
        }
    }

    /// Writes what it can; whether that was everything.
    pub(crate) fn flush(&mut self) -> bool {
        while !self.is_empty() && !self.blocked && !self.is_closed() {
            match bytes::write(&self.pipe, &self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.blocked = true,
                // The reader has what it wanted.
                Err(Errno::PIPE | Errno::CONNRESET) => self.state = State::Closed,
                Err(errno) => {
                    say::error!("{}: the capture cannot be written: {errno}", self.what);
                    self.state = State::Closed;
                }
            }
        }
        let is_empty = self.is_empty();
        if is_empty {
            self.out.clear();
            self.sent = 0;
        }
        is_empty
    }

    /// Whether everything is written, or nobody reads it any more.
    pub fn is_flushed(&mut self) -> bool {
        self.flush() || self.is_closed()
    }
}

/// Frames that have no form on a wire.
#[derive(Debug, Default)]
pub struct Malformed {
    count: u64,
    /// What was wrong with the first.
    first: Option<WireError>,
}

impl Malformed {
    /// One more.
    pub fn count(&mut self, error: WireError) {
        self.count += 1;
        self.first.get_or_insert(error);
    }

    /// Says how many there were on the way to `what`, if there were any.
    pub fn tell(&self, what: &str) {
        if let Some(first) = &self.first {
            say::note!("{what}: left out {} malformed frames, the first {first}", self.count);
        }
    }
}

impl Drop for StreamTx {
    fn drop(&mut self) {
        self.malformed.tell(&self.what);
    }
}

impl AsFd for StreamTx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// The time since 1970.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

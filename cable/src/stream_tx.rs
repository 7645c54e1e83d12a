//! Frames into a byte stream, for a reader that does not know of rings.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use shmring::board::Meter;
use shmring::{ByteStream, BytesMut, SendError, StreamOut};

use super::bytes;
use frames::capture::{Encoder, Format};
use frames::{MAX_FRAME, PacketError, Packets};

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A pipe that frames go into as a capture of complete packets. Dropped, it says how
/// many have no such form.
pub struct StreamTx {
    pipe: OwnedFd,
    /// An epoll instance: readable when the pipe has room again, or no reader.
    ready: OwnedFd,
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
    ///
    /// # Errors
    /// Those of epoll_create1(2).
    pub fn new(pipe: OwnedFd, what: &str, sent: usize) -> io::Result<StreamTx> {
        let ready = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&ready, &pipe, EventData::new_u64(0), EventFlags::OUT | EventFlags::ET)?;
        let encoder = Encoder(Format::Pcap);
        let mut out = Vec::new();
        encoder.begin(&mut out);
        let mut stream = StreamTx {
            pipe,
            ready,
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
        Ok(stream)
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

    /// With nothing to write, only poll(2) tells that the reader is gone: by an error
    /// of a pipe, a hang-up of a socket.
    fn look(&mut self) {
        let mut fds = [PollFd::new(&self.pipe, PollFlags::OUT)];
        if rustix::event::poll(&mut fds, Some(&NOW)).is_ok()
            && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
        {
            self.state = State::Closed;
        }
    }
}

impl ByteStream for StreamTx {
    fn arm(&mut self) -> bool {
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

    fn woken(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(1);
        epoll::wait(&self.ready, spare_capacity(&mut events), Some(&NOW))?;
        self.blocked = false;
        self.look();
        Ok(())
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn meter_mut(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl StreamOut for StreamTx {
    fn reserve(&mut self, len: usize) -> Result<(), SendError> {
        if len > MAX_FRAME {
            return Err(SendError::TooLong { len, max: MAX_FRAME });
        }
        let is_empty = self.flush();
        match self.state {
            State::Closed => Err(SendError::Closed),
            State::Open if is_empty => Ok(()),
            _ => Err(SendError::Full),
        }
    }

    fn room(&mut self, len: usize) -> BytesMut<'_> {
        BytesMut::of_slice(&mut self.frame[..len])
    }

    fn commit(&mut self, len: usize) {
        let time = now();
        let StreamTx { encoder, packets, frame, out, .. } = self;
        match packets.each(&frame[..len], |packet| encoder.packet(time, packet, out)) {
            Ok(_) => self.meter.passed(len),
            Err(error) => {
                self.meter.dropped(); // as a network card would
                self.malformed.count(error);
            }
        }
        self.flush();
    }

    fn is_flushed(&mut self) -> bool {
        self.flush() || self.is_closed()
    }

    fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    fn max_frame(&self) -> usize {
        MAX_FRAME
    }
}

/// Frames that have no form on a wire.
#[derive(Debug, Default)]
pub struct Malformed {
    count: u64,
    /// What was wrong with the first.
    first: Option<PacketError>,
}

impl Malformed {
    /// One more.
    pub fn count(&mut self, error: PacketError) {
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
        self.ready.as_fd()
    }
}

/// The time since 1970.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

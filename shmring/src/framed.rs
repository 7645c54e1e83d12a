//! The channel that is a pipe: a 4-byte little-endian length, then the frame.
//!
//! The honest competitor of the ring: one `write(2)` a frame, buffered reads of
//! as much as the pipe holds, and a pipe as large as the system allows.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::{Errno, Result};

use crate::bell::Waiter;
use crate::board::Meter;
use crate::error::{RecvError, SendError};
use crate::slot::{Bytes, BytesMut};
use crate::stream::{ByteStream, StreamIn, StreamOut};

const PREFIX: usize = 4;

/// Asks for the largest pipe this user may have; returns its size in bytes.
///
/// # Errors
/// Those of fcntl(2) for what is no pipe.
pub fn enlarge(pipe: impl AsFd) -> Result<usize> {
    let limit = std::fs::read_to_string("/proc/sys/fs/pipe-max-size");
    let mut wish = limit.ok().and_then(|s| s.trim().parse().ok()).unwrap_or(1 << 20);
    loop {
        match rustix::pipe::fcntl_setpipe_size(&pipe, wish) {
            Ok(size) => return Ok(size),
            // The user's share of pipe memory is used up (pipe(7)): take less.
            Err(Errno::PERM | Errno::BUSY | Errno::NOMEM) if wish > 1 << 16 => wish /= 2,
            Err(_) => return rustix::pipe::fcntl_getpipe_size(&pipe),
        }
    }
}

/// One pollable descriptor for the pipe and the link's socket.
struct PipeWaiter {
    epoll: OwnedFd,
    link: Waiter,
}

impl PipeWaiter {
    fn new(pipe: &OwnedFd, interest: EventFlags, link: Waiter) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, pipe, EventData::new_u64(0), interest | EventFlags::ET)?;
        epoll::add(&epoll, &link, EventData::new_u64(1), EventFlags::IN)?;
        Ok(PipeWaiter { epoll, link })
    }

    fn clear(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(2);
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&now))?;
        let rang = events.iter().any(|event| event.data.u64() == 1);
        if rang { self.link.clear() } else { Ok(()) }
    }

    fn hung_up(&self) -> bool {
        self.link.hung_up()
    }
}

/// The end of a pipe that frames go into.
pub struct FramedTx {
    pipe: OwnedFd,
    waiter: PipeWaiter,
    max_frame: usize,
    /// Prefix and frame; `sent..len` is still to be written.
    buffer: Vec<u8>,
    sent: usize,
    len: usize,
    /// The pipe was full and has not said since that there is room.
    blocked: bool,
    closed: bool,
    meter: Meter,
}

impl FramedTx {
    pub(crate) fn new(pipe: OwnedFd, link: Waiter, max_frame: usize) -> Result<Self> {
        enlarge(&pipe)?;
        let waiter = PipeWaiter::new(&pipe, EventFlags::OUT, link)?;
        let buffer = vec![0; PREFIX + max_frame];
        Ok(FramedTx {
            pipe,
            waiter,
            max_frame,
            buffer,
            sent: 0,
            len: 0,
            blocked: false,
            closed: false,
            meter: Meter::default(),
        })
    }

    fn flush(&mut self) {
        while self.sent < self.len && !self.blocked {
            match rustix::io::write(&self.pipe, &self.buffer[self.sent..self.len]) {
                Ok(n) => self.sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.blocked = true,
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }
}

impl ByteStream for FramedTx {
    fn arm(&mut self) -> bool {
        self.flush();
        let sleep = self.sent < self.len && !self.is_closed();
        if sleep {
            self.meter.stalled();
        }
        sleep
    }

    fn woken(&mut self) -> std::io::Result<()> {
        self.blocked = false;
        self.waiter.clear()?;
        self.flush(); // there may not be another frame to push this one
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

impl StreamOut for FramedTx {
    fn reserve(&mut self, len: usize) -> std::result::Result<(), SendError> {
        if len > self.max_frame {
            return Err(SendError::TooLong { len, max: self.max_frame });
        }
        self.flush();
        match () {
            () if self.is_closed() => Err(SendError::Closed),
            () if self.sent < self.len => Err(SendError::Full),
            () => Ok(()),
        }
    }

    fn room(&mut self, len: usize) -> BytesMut<'_> {
        BytesMut::of_slice(&mut self.buffer[PREFIX..PREFIX + len])
    }

    /// What the pipe has no room for goes out before the next reservation.
    fn commit(&mut self, len: usize) {
        self.buffer[..PREFIX].copy_from_slice(&(len as u32).to_le_bytes());
        self.sent = 0;
        self.len = PREFIX + len;
        self.meter.passed(len);
        self.flush();
    }

    fn is_flushed(&mut self) -> bool {
        self.flush();
        self.sent == self.len || self.is_closed()
    }

    fn is_closed(&self) -> bool {
        self.closed || self.waiter.hung_up()
    }

    fn max_frame(&self) -> usize {
        self.max_frame
    }
}

impl AsFd for FramedTx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiter.epoll.as_fd()
    }
}

/// The end of a pipe that frames come out of.
pub struct FramedRx {
    pipe: OwnedFd,
    waiter: PipeWaiter,
    max_frame: usize,
    /// `begin..end` was read and not yet released.
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Length of the frame at `begin`, after [`StreamIn::next_len`].
    next: usize,
    /// The pipe was empty and has not said since that there is more.
    blocked: bool,
    ended: bool,
    corrupt: bool,
    meter: Meter,
}

impl FramedRx {
    pub(crate) fn new(pipe: OwnedFd, link: Waiter, max_frame: usize) -> Result<Self> {
        let size = enlarge(&pipe)?;
        let waiter = PipeWaiter::new(&pipe, EventFlags::IN, link)?;
        Ok(FramedRx {
            pipe,
            waiter,
            max_frame,
            buffer: vec![0; size + PREFIX + max_frame],
            begin: 0,
            end: 0,
            next: 0,
            blocked: false,
            ended: false,
            corrupt: false,
            meter: Meter::default(),
        })
    }

    /// Length of the frame at `begin`, if it is there as a whole.
    fn whole(&mut self) -> std::result::Result<Option<usize>, RecvError> {
        const BROKEN: RecvError = RecvError::Corrupt("impossible frame length");
        if self.corrupt {
            return Err(BROKEN);
        }
        let data = &self.buffer[self.begin..self.end];
        let Some(prefix) = data.first_chunk::<PREFIX>() else { return Ok(None) };
        let len = u32::from_le_bytes(*prefix) as usize;
        if len > self.max_frame {
            self.corrupt = true;
            return Err(BROKEN);
        }
        Ok((data.len() >= PREFIX + len).then_some(len))
    }

    /// Reads what the pipe holds.
    fn fill(&mut self) -> std::result::Result<(), RecvError> {
        if self.blocked {
            return Err(RecvError::Empty);
        }
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        // A FIFO opened for both directions has no end of file; the hang-up of
        // the link's socket is one, once the pipe is empty.
        let hung_up = self.waiter.hung_up();
        match rustix::io::read(&self.pipe, &mut self.buffer[self.end..]) {
            Ok(0) => self.ended = true,
            Ok(n) => self.end += n,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if hung_up => self.ended = true,
            Err(Errno::AGAIN) => {
                self.blocked = true;
                return Err(RecvError::Empty);
            }
            Err(_) => self.ended = true,
        }
        if self.ended {
            return Err(RecvError::Ended);
        }
        Ok(())
    }
}

impl ByteStream for FramedRx {
    fn arm(&mut self) -> bool {
        let sleep = self.next_len().err() == Some(RecvError::Empty);
        if sleep {
            self.meter.stalled();
        }
        sleep
    }

    fn woken(&mut self) -> std::io::Result<()> {
        self.blocked = false;
        Ok(self.waiter.clear()?)
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

impl StreamIn for FramedRx {
    fn next_len(&mut self) -> std::result::Result<usize, RecvError> {
        loop {
            match self.whole()? {
                Some(len) => {
                    self.next = len;
                    return Ok(len);
                }
                None => self.fill()?,
            }
        }
    }

    fn frame(&self) -> Bytes<'_> {
        let from = self.begin + PREFIX;
        Bytes::of_slice(&self.buffer[from..from + self.next])
    }

    fn release(&mut self) {
        self.begin += PREFIX + self.next;
        self.meter.passed(self.next);
        self.next = 0;
    }
}

impl AsFd for FramedRx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiter.epoll.as_fd()
    }
}

//! A byte stream in both directions: a program's standard input and output, a
//! Unix socket, descriptors that were passed.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result};
use cable::edge::{NotNow, NotTaken, Watch};
use cable::{Edge, bytes};
use frames::VNET_LEN;
use nix::sys::epoll::EpollFlags;
use rustix::io::Errno;
use shmring::board::{Meter, Way};
use shmring::{Bytes, BytesMut};

use crate::codec::{Coding, LONG, Reader, Writer};
use crate::flow::Flow;
use crate::guests::{Guests, News};
use crate::joining::Joining;
use crate::patience::{Absence, Patience};
use crate::shown::meter;
use crate::unix::{Listener, twice};

/// Bytes that are gathered before they are written, and more than which are not taken
/// while the reader is slow: a few of the largest frames.
const GATHERED: usize = 256 << 10;

/// Numbers of the descriptors.
const INPUT: u64 = 0;
const OUTPUT: u64 = 1;

/// How each direction is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ways {
    /// Frames that come from the edge.
    pub input: Coding,
    /// Frames that go to it.
    pub output: Coding,
}

impl From<Coding> for Ways {
    fn from(coding: Coding) -> Ways {
        Ways { input: coding, output: coding }
    }
}

/// Bytes as an edge.
pub struct StreamEdge {
    /// For people.
    what: String,
    coding: Ways,
    stream: Option<Stream>,
    /// Of whose output the input is and whose input the output is, where a program has
    /// them. The end of the input is not the end of the edge then.
    flows: Option<(Rc<Flow>, Rc<Flow>)>,
    over: bool,
    /// A frame that is too long was told.
    told_long: bool,
    absence: Absence,
    guests: Guests,
    joining: Joining,
}

/// One stream while it lasts.
struct Stream {
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    reader: Reader,
    writer: Writer,
    /// Bytes were read.
    began: bool,
    /// The end of the input was seen.
    ended: bool,
    /// Until a read says otherwise. Descriptors are watched edge-triggered.
    readable: bool,
    /// `sent..` is still to be written.
    out: Vec<u8>,
    sent: usize,
    /// Frames of which something is in `out`, or at most of others before.
    gathered: u64,
    patience: Patience,
    /// What `stdpkt ls` shows.
    came: Meter,
    went: Meter,
}

impl StreamEdge {
    /// Frames come from `input` and go to `output`, both non-blocking, or sockets.
    ///
    /// # Errors
    /// Those of epoll_create1(2) and epoll_ctl(2).
    pub fn new(
        what: &str,
        coding: impl Into<Ways>,
        input: OwnedFd,
        output: OwnedFd,
    ) -> Result<StreamEdge> {
        let mut edge = StreamEdge::empty(what, coding, None)?;
        edge.begin(input, output)?;
        Ok(edge)
    }

    /// The same of programs, with which they end and not with their output: what one
    /// writes, and what one reads.
    ///
    /// # Errors
    /// As [`StreamEdge::new`].
    pub fn of_programs(
        what: &str,
        coding: impl Into<Ways>,
        (input, from): (OwnedFd, Rc<Flow>),
        (output, to): (OwnedFd, Rc<Flow>),
    ) -> Result<StreamEdge> {
        let edge = StreamEdge::new(what, coding, input, output)?;
        Ok(StreamEdge { flows: Some((from, to)), ..edge })
    }

    /// Frames of whoever connects, one after the other.
    ///
    /// # Errors
    /// As [`StreamEdge::new`].
    pub fn listen(coding: impl Into<Ways>, listener: Listener) -> Result<StreamEdge> {
        let what = listener.what().to_owned();
        StreamEdge::empty(&what, coding, Some(listener))
    }

    fn empty(
        what: &str,
        coding: impl Into<Ways>,
        listener: Option<Listener>,
    ) -> Result<StreamEdge> {
        let (what, coding, stream) = (what.to_owned(), coding.into(), None);
        let guests = Guests::new(listener)?;
        let (flows, over, told_long) = (None, false, false);
        let (absence, joining) = (Absence::default(), Joining::default());
        Ok(StreamEdge { what, coding, stream, flows, over, told_long, absence, guests, joining })
    }

    fn begin(&mut self, input: OwnedFd, output: OwnedFd) -> Result<()> {
        self.guests.watch(&input, EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, INPUT)?;
        self.guests.watch(&output, EpollFlags::EPOLLOUT, OUTPUT)?;
        let mut out = Vec::new();
        let writer = Writer::new(self.coding.output, &mut out);
        self.stream = Some(Stream {
            input: Some(input),
            output: Some(output),
            reader: Reader::new(self.coding.input, &self.what),
            writer,
            began: false,
            ended: false,
            readable: true,
            out,
            sent: 0,
            gathered: 0,
            patience: Patience::default(),
            came: meter(&self.what, self.coding.input.name(), Way::In)?,
            went: meter(&self.what, self.coding.output.name(), Way::Out)?,
        });
        Ok(())
    }

    /// The input has come to its end, or to nonsense, of which this says why unless
    /// it is said already.
    fn input_ended(&mut self, why: Result<(), Option<String>>) {
        let broken = why.is_err();
        if let Err(Some(why)) = why {
            say::error!("{}: {why}", self.what);
        }
        if let (Some((from, _)), false) = (&self.flows, broken) {
            from.close_output();
            if let Some(stream) = &mut self.stream {
                stream.input = None;
                stream.readable = false;
            }
            return;
        }
        self.stream = None;
        self.over = self.guests.is_last();
        self.accept();
    }

    /// Writes what it can; `hung_up`: nobody reads it.
    fn flush(&mut self, hung_up: bool) {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.output.is_some()) else {
            return;
        };
        if hung_up {
            stream.end_output();
        }
        stream.flush(&self.what);
        if let (None, Some((_, to))) = (&stream.output, &self.flows) {
            to.close_input();
        }
    }

    /// A packet of so many bytes has no form there.
    fn refuse(&mut self, len: usize) {
        let longest = self.coding.output.longest();
        if len > longest && !std::mem::replace(&mut self.told_long, true) {
            say::note!(
                "{}: a packet of {len} bytes is longer than the format {} has ({longest}), and is \
                 lost: give the neighbour's interface a smaller mtu",
                self.what,
                self.coding.output.name()
            );
        }
    }

    /// Takes the next stream, unless there is one: then it waits for its turn.
    fn accept(&mut self) {
        if self.stream.is_none()
            && let Some(socket) = self.guests.next()
            && let Err(error) =
                twice(socket).context("dup").and_then(|(input, output)| self.begin(input, output))
        {
            say::note!("{}: {error:#}", self.what);
        }
    }
}

impl Stream {
    /// Nobody takes any more: what was gathered is lost, and counted.
    fn end_output(&mut self) {
        self.output = None;
        (0..self.gathered).for_each(|_| self.went.dropped());
        self.out.clear();
        (self.sent, self.gathered) = (0, 0);
    }

    /// Writes or gathers a frame; `false` for one that has no form there.
    fn put(&mut self, frame: Bytes<'_>) -> bool {
        if frame.len() >= LONG
            && self.out.is_empty()
            && let Some(output) = &self.output
            && let Some(Ok(())) = self.writer.write_through(frame, output, &mut self.out)
        {
            self.patience.moved();
            self.gathered += u64::from(!self.out.is_empty());
            return true;
        }
        let written = self.writer.write(frame, &mut self.out);
        self.gathered += u64::from(written);
        written
    }

    /// Writes what it can.
    fn flush(&mut self, what: &str) {
        while self.sent < self.out.len() && !self.patience.is_blocked() {
            let Some(output) = &self.output else { break };
            match bytes::write(output, &self.out[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    self.patience.moved();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.patience.blocked(),
                Err(errno) => {
                    if errno != Errno::PIPE && errno != Errno::CONNRESET {
                        say::note!("{what}: {errno}, no more frames go there");
                    }
                    self.end_output();
                }
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            (self.sent, self.gathered) = (0, 0);
        } else if self.sent >= GATHERED {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl Edge for StreamEdge {
    fn features(&self) -> u64 {
        self.coding.output.features()
    }

    fn plugged(&mut self, features: u64) -> Result<()> {
        self.joining = Joining::of(features);
        Ok(())
    }

    fn unplugged(&mut self) -> Result<()> {
        self.joining = Joining::default();
        Ok(())
    }

    fn has_frames(&mut self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.readable || stream.reader.has_frame())
    }

    fn is_empty(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return true };
        let unread = |input: &OwnedFd| rustix::io::ioctl_fionread(input).unwrap_or(0) > 0;
        let may_have = |input| stream.began || unread(input);
        let input = stream.input.as_ref().filter(|_| stream.readable);
        !stream.reader.has_frame() && !input.is_some_and(may_have)
    }

    fn has_room(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return true };
        stream.output.is_none()
            || stream.out.len() - stream.sent < GATHERED
            || stream.patience.gives_up()
    }

    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        loop {
            let stream = self.stream.as_mut().ok_or(NotNow)?;
            let Stream { reader, came, .. } = stream;
            let passed = |len, packet: Option<&[u8]>| {
                came.passed(len);
                if let Some((from, _)) = &self.flows {
                    from.take_back(packet);
                }
            };
            match reader.read(self.joining, room, passed) {
                Ok(Some(len)) => return Ok(len),
                Ok(None) if stream.ended => {
                    let why = stream.reader.finish();
                    self.input_ended(why);
                    return Err(NotNow);
                }
                Ok(None) if !stream.readable => return Err(NotNow),
                Ok(None) => {}
                Err(why) => {
                    self.input_ended(Err(why));
                    return Err(NotNow);
                }
            }
            let Some(input) = &stream.input else { return Err(NotNow) };
            match stream.reader.receive(input) {
                Ok(0) => {
                    stream.reader.end();
                    stream.ended = true;
                }
                Ok(_) => {
                    stream.began = true;
                    if let Some((from, _)) = &self.flows {
                        from.speak();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => stream.readable = false,
                Err(Errno::CONNRESET) => self.input_ended(Ok(())),
                Err(errno) => self.input_ended(Err(Some(errno.to_string()))),
            }
        }
    }

    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken> {
        let is_long = frame.len() >= LONG;
        if self.stream.as_ref().is_some_and(|it| is_long || it.out.len() - it.sent >= GATHERED) {
            self.flush(false);
        }
        if self.stream.is_none() && !self.over {
            self.absence.missed(|| format!("nobody connects to {}", self.what));
        }
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.output.is_some()) else {
            return Err(NotTaken::Refused);
        };
        self.absence.is_over();
        if stream.out.len() - stream.sent >= GATHERED {
            return Err(stream.patience.turn_away(&self.what));
        }
        if !stream.put(frame) {
            self.refuse(frame.len().saturating_sub(VNET_LEN));
            return Err(NotTaken::Refused);
        }
        stream.went.passed(frame.len());
        if let Some((_, to)) = &self.flows {
            to.give(frame);
        }
        Ok(())
    }

    fn taken(&mut self) {
        self.flush(false);
    }

    fn arm(&mut self) -> bool {
        if let (Some(stream), Some((from, _))) = (&self.stream, &self.flows) {
            from.rest(|| stream.reader.part());
        }
        self.stream.as_mut().is_none_or(|stream| !stream.patience.is_due())
    }

    fn watch(&self, watch: &mut Watch<'_>) -> Result<()> {
        watch(self.guests.as_fd(), EpollFlags::EPOLLIN | EpollFlags::EPOLLET)
    }

    fn woken(&mut self) {
        for news in self.guests.news() {
            match (news, &mut self.stream) {
                (News::Ready(INPUT, _), Some(stream)) => stream.readable = stream.input.is_some(),
                (News::Ready(_, flags), Some(stream)) => {
                    stream.patience.unblocked();
                    self.flush(flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP));
                }
                (News::Next, _) => self.accept(),
                (News::Ready(..), None) => {}
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.stream.as_ref()?.patience.deadline()
    }

    fn close(&mut self) -> bool {
        self.flush(false);
        let Some(stream) = &mut self.stream else { return true };
        let left = stream.out.len() - stream.sent;
        if left > 0 && !stream.patience.gives_up() {
            return false;
        }
        if left > 0 {
            say::note!("{}: the last {left} bytes were not taken", self.what);
        }
        stream.end_output();
        true
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests;

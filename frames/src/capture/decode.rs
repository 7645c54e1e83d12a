//! Bytes into frames, as they come.

use std::fmt;
use std::time::Duration;

use super::hexdump::Hexdump;
use super::pcap::{self, Pcap};
use super::pcapng::{self, Pcapng};
use super::recognise::{self, recognise};
use super::record::Step;
use super::tally::{LeftOut, Tally};
use super::unpack::Unpacker;
use super::{framed, linktype, text};
use crate::{MAX_FRAME, begins};

/// Bytes that are unpacked before they are looked at.
const PIECE: usize = 64 << 10;

/// What is wrong with a stream, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}, {place}: {why}")]
pub struct CaptureError {
    /// The stream's name for people.
    pub what: String,
    /// Where.
    pub place: Place,
    /// What.
    pub why: String,
}

/// A place in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Bytes before it.
    Offset(u64),
    /// Bytes before it, of what is compressed.
    Unpacked(u64),
    /// Lines of text, from 1 on.
    Line(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Offset(offset) => write!(f, "offset {offset}"),
            Place::Unpacked(offset) => write!(f, "unpacked offset {offset}"),
            Place::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// Turns a stream of bytes into frames. Finds out by itself what it is: see the
/// [module](super).
#[derive(Debug)]
pub struct Decoder {
    what: String,
    unpacker: Option<Unpacker>,
    /// `begin..` was pushed, or unpacked, and is not yet decoded.
    buffer: Vec<u8>,
    begin: usize,
    /// Of `begin`.
    offset: u64,
    /// Lines of text before `begin`.
    lines: u64,
    kind: Option<Kind>,
    /// Bytes to be passed over that are still to come.
    skip: u64,
    ended: bool,
    /// What was wrong with it.
    error: Option<CaptureError>,
    tally: Tally,
    time: Option<Duration>,
}

#[derive(Debug)]
enum Kind {
    Pcap(Pcap),
    Pcapng(Pcapng),
    Framed,
    Hex,
    Hexdump(Hexdump),
}

/// What a step came to.
enum Next {
    More,
    Again,
    Frame,
}

impl Decoder {
    /// A decoder for a stream with this name.
    pub fn new(what: &str) -> Decoder {
        Decoder {
            what: what.to_owned(),
            unpacker: None,
            buffer: Vec::new(),
            begin: 0,
            offset: 0,
            lines: 0,
            kind: None,
            skip: 0,
            ended: false,
            error: None,
            tally: Tally::default(),
            time: None,
        }
    }

    /// The next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        match &mut self.unpacker {
            Some(unpacker) => unpacker.push(bytes),
            None => {
                self.compact();
                self.buffer.extend_from_slice(bytes);
            }
        }
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.begin);
        self.begin = 0;
    }

    /// There are no more bytes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether everything that was pushed is decoded.
    pub fn is_empty(&self) -> bool {
        self.begin == self.buffer.len()
            && self.unpacker.as_ref().is_none_or(Unpacker::is_empty)
            && !matches!(&self.kind, Some(Kind::Hexdump(dump)) if dump.is_open())
    }

    /// What was pushed and is not decoded as it is no whole packet yet, for people.
    pub fn part(&self) -> Option<String> {
        let part = self.buffer.get(self.begin..).filter(|part| !part.is_empty())?;
        Some(format!("a packet: {} bytes so far; there it says {}", part.len(), begins(part)))
    }

    /// What became of the packets so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// When the packet of the last frame passed, since 1970, if the stream says so.
    pub fn time(&self) -> Option<Duration> {
        self.time
    }

    /// Puts the next frame into `frame`; `false` when it takes more bytes.
    ///
    /// # Errors
    /// [`CaptureError`]; there is no way on from there.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<bool, CaptureError> {
        loop {
            if let Some(error) = &self.error {
                return Err(error.clone());
            }
            frame.clear();
            match self.step(frame) {
                Ok(Next::Again) => {}
                Ok(Next::Frame) if frame.len() > MAX_FRAME => self.tally.leave_out(LeftOut::Long),
                Ok(Next::Frame) => {
                    self.tally.take();
                    return Ok(true);
                }
                Ok(Next::More) => return Ok(false),
                Err((place, why)) => {
                    self.error = Some(CaptureError { what: self.what.clone(), place, why });
                }
            }
        }
    }

    /// Something went wrong at the place that has been reached.
    pub fn fail(&mut self, why: String) {
        self.error = Some(CaptureError { what: self.what.clone(), place: self.place(), why });
    }

    /// What was wrong with the stream.
    pub fn error(&self) -> Option<&CaptureError> {
        self.error.as_ref()
    }

    /// What there is to say of the stream once it has ended, in one line: what is
    /// wrong with it and how many packets were left out. `Err` if it is broken.
    ///
    /// # Errors
    /// The line.
    pub fn ending(&self) -> Result<Option<String>, String> {
        let tally = &self.tally;
        match &self.error {
            Some(error) if tally.is_whole() && tally.taken() == 0 => Err(error.to_string()),
            Some(error) if tally.is_whole() => {
                let packets = if tally.taken() == 1 { "packet" } else { "packets" };
                Err(format!("{error}, after {} {packets}", tally.taken()))
            }
            Some(error) => Err(format!("{error}; before that {tally}")),
            None if tally.is_whole() => Ok(None),
            None if tally.is_broken() => Err(format!("{}: {tally}", self.what)),
            None => Ok(Some(format!("{}: {tally}", self.what))),
        }
    }

    /// Bytes of memory for what is not yet decoded.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn place(&self) -> Place {
        match self.kind {
            Some(Kind::Hex | Kind::Hexdump(_)) => Place::Line(self.lines + 1),
            _ if self.unpacker.is_some() => Place::Unpacked(self.offset),
            _ => Place::Offset(self.offset),
        }
    }

    fn advance(&mut self, len: usize) {
        let passed = &self.buffer[self.begin..self.begin + len];
        if matches!(self.kind, Some(Kind::Hex | Kind::Hexdump(_))) {
            self.lines += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        self.begin += len;
        self.offset += len as u64;
    }

    fn step(&mut self, frame: &mut Vec<u8>) -> Result<Next, (Place, String)> {
        let len = self.skip.min((self.buffer.len() - self.begin) as u64);
        if len > 0 {
            self.advance(len as usize);
            self.skip -= len;
            return Ok(Next::Again);
        }
        match self.decode(frame)? {
            Next::More => self.more(),
            next => Ok(next),
        }
    }

    /// No more comes of the bytes that there are: unpacks some, or asks for some.
    fn more(&mut self) -> Result<Next, (Place, String)> {
        if self.unpacker.is_some() {
            self.compact();
        }
        while let Some(unpacker) = &mut self.unpacker {
            let had = self.buffer.len();
            match unpacker.unpack(self.ended, &mut self.buffer) {
                Ok(true) if self.buffer.len() < had + PIECE && !unpacker.is_empty() => {}
                Ok(true) => return Ok(Next::Again),
                Ok(false) if self.buffer.len() > had => return Ok(Next::Again),
                Ok(false) => break,
                Err(why) => return Err((self.place(), why)),
            }
        }
        if self.ended && (self.skip > 0 || self.begin < self.buffer.len()) {
            return Err((self.place(), format!("the stream ends in {}", self.middle())));
        }
        Ok(Next::More)
    }

    fn middle(&self) -> &'static str {
        match self.kind {
            None => "its first header",
            Some(Kind::Pcapng { .. }) => "the middle of a block",
            _ => "the middle of a packet",
        }
    }

    fn decode(&mut self, frame: &mut Vec<u8>) -> Result<Next, (Place, String)> {
        // All bytes that there will be are in the buffer.
        let last = self.ended && self.unpacker.as_ref().is_none_or(Unpacker::is_empty);
        let place = self.place();
        let data = &self.buffer[self.begin..];
        let is_over = data.is_empty() && !matches!(&self.kind, Some(Kind::Hexdump(_)) if last);
        if is_over || self.skip > 0 {
            return Ok(Next::More);
        }
        let step = match &mut self.kind {
            None => return self.recognise(last),
            // One capture after another, as `cat a.pcap b.pcapng` makes them or
            // a writer that took another's place.
            Some(Kind::Pcap(_) | Kind::Pcapng(_)) if pcap::begins(data) => {
                return self.recognise(last);
            }
            Some(Kind::Pcap(_)) if pcapng::begins(data) == Some(true) => {
                return self.recognise(last);
            }
            Some(Kind::Pcap(pcap)) => pcap.step(data),
            Some(Kind::Pcapng(pcapng)) => pcapng.step(data),
            Some(Kind::Framed) => framed::step(data, frame),
            Some(Kind::Hex) => text::step(data, last, frame),
            Some(Kind::Hexdump(dump)) => dump.step(data, last),
        };
        let (len, next) = match step.map_err(|why| (place, why))? {
            Step::More => return Ok(Next::More),
            Step::Skip(len) => (len, Next::Again),
            Step::LeftOut(len, why) => {
                self.tally.leave_out(why);
                (len, Next::Again)
            }
            Step::Record(len, record) => {
                self.time = record.time;
                match linktype::push(&record, frame) {
                    Ok(()) => (len as u64, Next::Frame),
                    Err(why) => {
                        self.tally.leave_out(why);
                        (len as u64, Next::Again)
                    }
                }
            }
            Step::Frame(len, time) => {
                self.time = time;
                (len as u64, Next::Frame)
            }
        };
        let here = len.min((self.buffer.len() - self.begin) as u64);
        self.advance(here as usize);
        self.skip = len - here;
        Ok(next)
    }

    /// The first bytes say what the stream is.
    fn recognise(&mut self, last: bool) -> Result<Next, (Place, String)> {
        let data = &self.buffer[self.begin..];
        let here = self.place();
        let found = recognise(data, last);
        let found = found.map_err(|(line, why)| (line.map_or(here, Place::Line), why))?;
        self.kind = Some(match found {
            None => return Ok(Next::More),
            Some(recognise::Kind::Packed(packing))
                if self.offset == 0 && self.unpacker.is_none() =>
            {
                let mut unpacker = Unpacker::new(packing);
                unpacker.push(data);
                self.unpacker = Some(unpacker);
                self.buffer.clear();
                self.begin = 0;
                return Ok(Next::Again);
            }
            Some(recognise::Kind::Packed(_)) => {
                return Err((here, "something compressed inside of something else".to_owned()));
            }
            Some(recognise::Kind::Pcap) => {
                match Pcap::begin(data, last).map_err(|why| (here, why))? {
                    None => return Ok(Next::More),
                    Some((pcap, header)) => {
                        self.kind = Some(Kind::Pcap(pcap));
                        self.advance(header);
                        return Ok(Next::Again);
                    }
                }
            }
            Some(recognise::Kind::Pcapng) => Kind::Pcapng(Pcapng::new()),
            Some(recognise::Kind::Framed) => Kind::Framed,
            Some(recognise::Kind::Hex) => Kind::Hex,
            Some(recognise::Kind::Hexdump) => Kind::Hexdump(Hexdump::default()),
        });
        Ok(Next::Again)
    }
}

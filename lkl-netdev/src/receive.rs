//! Frames in.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use shmring::{RecvError, Rx};

use crate::buffers::Buffers;
use crate::device::Device;
use crate::say::say;
use crate::segment::Segments;
use crate::{ETHERNET_HEADER, VNET_HEADER};

/// LKL never hands over more buffers at once...
const MAX_BUFFERS: usize = 19;
/// ...nor more bytes in mergeable ones, but for the last buffer.
const MAX_MERGE: usize = 65_536;
/// `VIRTIO_NET_F_MRG_RXBUF`.
const MERGEABLE: u32 = 1 << 15;
/// How soon a frame is tried again for which too few buffers were posted, the
/// first time; twice as long each further time, up to `MAX_RETRY`.
const MIN_RETRY: Duration = Duration::from_micros(50);
const MAX_RETRY: Duration = Duration::from_millis(10);

/// LKL raises an interface first and gives it its addresses then: frames that
/// came before, an ARP request above all, would be lost on it.
const SETTLE: Duration = Duration::from_millis(10);

/// So many frames, and LKL's thread has to pass by `poll`: more than frames may be
/// waiting there, and a neighbour that never stops sending would keep it away.
const ROW: u32 = 1024;

pub(crate) struct Receive {
    /// Ways in by token, served in turn.
    links: Vec<(u64, Rx)>,
    turn: usize,
    /// When frames may go up, from the first call on.
    settles: Option<Instant>,
    settled: bool,
    /// `rx` found nothing, and `poll` has not reported since that there is a frame.
    pub wanted: bool,
    /// The poll thread sleeps: who finds the rings empty has to ask for a bell.
    pub sleeping: bool,
    /// When a frame that could not be delivered is tried again.
    retry: Option<Instant>,
    backoff: Duration,
    /// A frame that is being delivered in pieces: always of `links[turn]`.
    segments: Option<Segments>,
    mergeable: bool,
    /// Frames since `poll` looked at what else there is.
    row: u32,
    /// Calls that delivered something.
    pub served: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What became of a call of `rx`.
enum Served {
    Bytes(usize),
    /// There is no frame.
    Nothing,
    /// There is one, and too few buffers are posted for it at the moment.
    Later,
}

impl Receive {
    pub fn new(offload: u32) -> Receive {
        Receive {
            links: Vec::new(),
            turn: 0,
            settles: None,
            settled: false,
            wanted: false,
            sleeping: false,
            retry: None,
            backoff: MIN_RETRY,
            segments: None,
            mergeable: offload & MERGEABLE != 0,
            row: 0,
            served: 0,
            bytes: 0,
        }
    }

    pub fn join(&mut self, token: u64, rx: Rx) {
        self.links.push((token, rx));
    }

    pub fn has(&self, token: u64) -> bool {
        self.links.iter().any(|link| link.0 == token)
    }

    /// Whether a look costs no system call.
    pub fn is_rings(&self) -> bool {
        self.links.iter().all(|(_, rx)| matches!(rx, Rx::Ring(_)))
    }

    /// Receives one frame. May be kernel context: never waits.
    pub fn receive(&mut self, device: &Device, buffers: Buffers<'_>) -> c_int {
        if !self.settled && !self.settle(device) {
            return -1;
        }
        if self.row >= ROW && !self.sleeping {
            self.wanted = true;
            return -1;
        }
        loop {
            match self.next(device, buffers) {
                Served::Bytes(len) => {
                    self.row += 1;
                    self.served += 1;
                    self.bytes += len as u64;
                    self.retry = None;
                    self.backoff = MIN_RETRY;
                    return len as c_int;
                }
                Served::Nothing => {
                    self.retry = None;
                    // A frame may have come just before the bell was asked for.
                    if self.sleeping && !self.arm() {
                        continue;
                    }
                    self.wanted = true;
                    return -1;
                }
                Served::Later => {
                    self.call_at(device, Instant::now() + self.backoff);
                    self.backoff = (self.backoff * 2).min(MAX_RETRY);
                    return -1;
                }
            }
        }
    }

    /// Whether the interface has its addresses, as far as time can tell.
    fn settle(&mut self, device: &Device) -> bool {
        let at = *self.settles.get_or_insert_with(|| Instant::now() + SETTLE);
        self.settled = Instant::now() >= at;
        if !self.settled {
            self.call_at(device, at);
        }
        self.settled
    }

    /// Has `poll` report frames at that time.
    fn call_at(&mut self, device: &Device, at: Instant) {
        self.retry = Some(at);
        self.wanted = true;
        if self.sleeping {
            device.control.ring();
        }
    }

    fn next(&mut self, device: &Device, buffers: Buffers<'_>) -> Served {
        let mut empty = 0;
        while empty < self.links.len() {
            self.turn %= self.links.len();
            let rx = &mut self.links[self.turn].1;
            let mut frame = match rx.borrow() {
                Ok(frame) => frame,
                Err(RecvError::Empty) => {
                    empty += 1;
                    self.turn += 1;
                    continue;
                }
                Err(error) => {
                    self.drop_link(device, self.turn, error);
                    continue;
                }
            };
            let bytes = frame.bytes();
            let (len, room) = (bytes.len(), buffers.total());
            if self.segments.is_none() && len < room && len >= VNET_HEADER + ETHERNET_HEADER {
                buffers.scatter(0, bytes, 0, len);
                frame.release();
                self.turn += 1;
                return Served::Bytes(len);
            }
            let more_may_come =
                self.mergeable && buffers.count() < MAX_BUFFERS && room <= MAX_MERGE;
            if self.segments.is_none() {
                // A frame that fits to the last byte is fine where buffers do
                // not merge; where they do, LKL takes it for a truncated one.
                if len == room && !self.mergeable {
                    buffers.scatter(0, bytes, 0, len);
                    frame.release();
                    self.turn += 1;
                    return Served::Bytes(len);
                }
                self.segments = Segments::of(bytes);
            }
            let piece = match &mut self.segments {
                Some(segments) => segments.next(bytes, buffers, room.saturating_sub(1)),
                None => None,
            };
            match piece {
                Some(written) => {
                    if self.segments.as_ref().is_none_or(Segments::is_done) {
                        self.segments = None;
                        frame.release();
                        self.turn += 1;
                    }
                    return Served::Bytes(written);
                }
                None if more_may_come && len >= VNET_HEADER + ETHERNET_HEADER => {
                    return Served::Later;
                }
                None => {
                    self.segments = None;
                    frame.release();
                    rx.count_drop();
                }
            }
        }
        Served::Nothing
    }

    fn drop_link(&mut self, device: &Device, at: usize, error: RecvError) {
        if error != RecvError::Ended {
            say(&device.name, format_args!("{error}, the link is closed"));
        }
        if at == self.turn {
            self.segments = None;
        } else if at < self.turn {
            self.turn -= 1;
        }
        self.links.remove(at);
        // The poller looks for another neighbour.
        device.control.ring();
    }

    /// Whether `rx` would find something worth its while. Forgets links that ended.
    pub fn is_ready(&mut self, device: &Device) -> bool {
        if let Some(at) = self.retry {
            return Instant::now() >= at;
        }
        let mut ready = false;
        let mut at = 0;
        while at < self.links.len() {
            match self.links[at].1.borrow() {
                Ok(_) => ready = true,
                Err(RecvError::Empty) => {}
                Err(error) => {
                    self.drop_link(device, at, error);
                    continue;
                }
            }
            at += 1;
        }
        ready
    }

    /// Whether it is time for a look at what else there is.
    pub fn row_is_full(&mut self) -> bool {
        let full = self.row >= ROW;
        self.row = if full { 0 } else { self.row };
        full
    }

    /// `poll` says that there are frames.
    pub fn reported(&mut self) {
        self.wanted = false;
        self.retry = None;
    }

    /// When to look again although no bell rang.
    pub fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// Asks for bells; `false` when there is a frame or an end to look at.
    pub fn arm(&mut self) -> bool {
        let mut sleep = true;
        for (_, rx) in &mut self.links {
            sleep &= rx.arm();
        }
        sleep
    }

    /// Nobody needs to ring any more.
    pub fn disarm(&mut self) {
        self.links.iter_mut().for_each(|(_, rx)| rx.disarm());
    }

    /// A doorbell or a hang-up.
    pub fn woken(&mut self, token: u64) {
        if let Some((_, rx)) = self.links.iter_mut().find(|link| link.0 == token)
            && rx.woken().is_err()
        {
            self.links.retain(|link| link.0 != token);
        }
    }
}

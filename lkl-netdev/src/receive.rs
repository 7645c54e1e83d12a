//! Frames in.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use cable::{Joined, Receiver};
use frames::{ETHERNET_LEN, Piece, Pieces, VNET_LEN};
use shmring::{Bytes, RecvError};

use crate::Key;
use crate::buffers::{Buffers, MAX_CHAIN};
use crate::control::Control;
use crate::duty::{Bell, Duty};
use crate::whose;

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

/// So many frames, and who processes LKL's queue has to come back: more than frames may
/// be waiting there, and a neighbour that never stops sending would keep it away.
const ROW: u32 = 1024;

pub(crate) struct Receive {
    /// Ways in, served in turn.
    links: Vec<(Key, Receiver)>,
    /// Those that have come to their end, until their cables hear of it.
    ended: Vec<(Key, Receiver, RecvError)>,
    turn: usize,
    /// When frames may go up, from the first call on.
    settles: Option<Instant>,
    settled: bool,
    /// `rx` found nothing, and `poll` has not reported since that there is a frame.
    pub wanted: bool,
    /// What the poll thread does.
    duty: Duty,
    /// When a frame that could not be delivered is tried again.
    retry: Option<Instant>,
    backoff: Duration,
    /// A frame that is being delivered in pieces, and the link it came by: `links[turn]`
    /// while that is here.
    pieces: Option<(Key, Pieces)>,
    mergeable: bool,
    /// The poll thread processes LKL's queue, and is to pass by `poll` from time to time.
    out: bool,
    /// Frames since `poll` looked at what else there is.
    row: u32,
    /// Calls that delivered something.
    pub served: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The bells of all rings are one.
struct Rings<'a>(&'a mut [(Key, Receiver)]);

impl Bell for Rings<'_> {
    fn ask(&mut self) -> bool {
        self.0.iter_mut().fold(true, |sleep, (_, rx)| rx.arm() && sleep)
    }

    fn take_back(&mut self) {
        self.0.iter_mut().for_each(|(_, rx)| rx.disarm());
    }
}

/// What became of a call of `rx`.
enum Served {
    Bytes(usize),
    /// There is no frame.
    Nothing,
    /// There is one, and too few buffers are posted for it at the moment.
    Later,
}

/// What became of a frame.
enum Frame {
    /// So many bytes of it were delivered; whether that was the last of it.
    Delivered(usize, bool),
    Later,
    /// It fits no buffers.
    Refused,
}

impl Receive {
    pub fn new(offload: u32) -> Receive {
        Receive {
            links: Vec::new(),
            ended: Vec::new(),
            turn: 0,
            settles: None,
            settled: false,
            wanted: false,
            duty: Duty::new(),
            out: false,
            retry: None,
            backoff: MIN_RETRY,
            pieces: None,
            mergeable: offload & MERGEABLE != 0,
            row: 0,
            served: 0,
            bytes: 0,
        }
    }

    /// Puts the receiving half of a link in its place.
    pub fn give_back(&mut self, key: Key, joined: &mut Joined) {
        if let Some(at) = self.links.iter().position(|link| link.0 == key) {
            joined.rx = Some(self.links.remove(at).1);
        }
        if let Some(at) = self.ended.iter().position(|link| link.0 == key) {
            let (_, rx, error) = self.ended.remove(at);
            joined.rx = Some(rx);
            joined.end_rx(&error);
        }
    }

    /// Takes it into use.
    pub fn take(&mut self, key: Key, joined: &mut Joined) {
        self.links.extend(joined.rx.take().map(|rx| (key, rx)));
        let in_pieces = |pieces: &&(Key, Pieces)| pieces.0 == key;
        if self.pieces.as_ref().is_some_and(|it| in_pieces(&it)) {
            self.turn = self.links.len().saturating_sub(1);
        }
    }

    /// Whether a look costs no system call.
    pub fn is_rings(&self) -> bool {
        self.links.iter().all(|(_, rx)| rx.is_ring())
    }

    /// Receives one frame. May be kernel context: never waits.
    pub fn receive(&mut self, control: &Control, buffers: Buffers<'_>) -> c_int {
        if !self.settled && !self.settle(control) {
            return -1;
        }
        if self.row >= ROW && (self.out || whose::is_serving()) {
            self.wanted = true;
            return -1;
        }
        loop {
            match self.next(control, buffers) {
                Served::Bytes(len) => {
                    self.duty.found();
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
                    if !self.duty.empty(&mut Rings(&mut self.links)) {
                        continue;
                    }
                    self.wanted = true;
                    return -1;
                }
                Served::Later => {
                    self.call_at(control, Instant::now() + self.backoff);
                    self.backoff = (self.backoff * 2).min(MAX_RETRY);
                    return -1;
                }
            }
        }
    }

    /// Whether the interface has its addresses, as far as time can tell.
    fn settle(&mut self, control: &Control) -> bool {
        let at = *self.settles.get_or_insert_with(|| Instant::now() + SETTLE);
        self.settled = Instant::now() >= at;
        if !self.settled {
            self.call_at(control, at);
        }
        self.settled
    }

    /// Has `poll` report frames at that time.
    fn call_at(&mut self, control: &Control, at: Instant) {
        self.retry = Some(at);
        self.wanted = true;
        if !self.duty.is_near() {
            control.ring();
        }
    }

    fn next(&mut self, control: &Control, buffers: Buffers<'_>) -> Served {
        let mut empty = 0;
        while empty < self.links.len() {
            self.turn %= self.links.len();
            let (key, rx) = &mut self.links[self.turn];
            // Of a frame whose link is elsewhere at the moment, or gone.
            let others = self.pieces.take_if(|(of, _)| of != key);
            let (under_way, mergeable) = (&mut self.pieces, self.mergeable);
            let received = rx.receive(|bytes| {
                let mut pieces = under_way.take().map(|(_, pieces)| pieces);
                let frame = deliver(bytes, buffers, &mut pieces, mergeable);
                *under_way = pieces.map(|pieces| (*key, pieces));
                (!matches!(frame, Frame::Later | Frame::Delivered(_, false)), frame)
            });
            self.pieces = self.pieces.take().or(others);
            match received {
                Ok(Frame::Delivered(len, is_done)) => {
                    self.turn += usize::from(is_done);
                    return Served::Bytes(len);
                }
                Ok(Frame::Later) => return Served::Later,
                Ok(Frame::Refused) => rx.count_drop(),
                Err(RecvError::Empty) => {
                    empty += 1;
                    self.turn += 1;
                }
                Err(error) => self.end_link(control, self.turn, error),
            }
        }
        Served::Nothing
    }

    fn end_link(&mut self, control: &Control, at: usize, error: RecvError) {
        if at < self.turn {
            self.turn -= 1;
        }
        let (key, rx) = self.links.remove(at);
        self.pieces.take_if(|(of, _)| *of == key);
        self.ended.push((key, rx, error));
        // Its cable looks for another neighbour.
        control.ring();
    }

    /// Whether `rx` would find something worth its while. Forgets links that ended.
    pub fn is_ready(&mut self, control: &Control) -> bool {
        if let Some(at) = self.retry {
            return Instant::now() >= at;
        }
        let mut ready = false;
        let mut at = 0;
        while at < self.links.len() {
            match self.links[at].1.receive(|_| (false, ())) {
                Ok(()) => ready = true,
                Err(RecvError::Empty) => {}
                Err(error) => {
                    self.end_link(control, at, error);
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

    /// Whether LKL is to be told that there are frames; it is the caller who tells it.
    pub fn take_ready(&mut self, control: &Control) -> bool {
        let ready = self.wanted && self.is_ready(control);
        if ready {
            self.wanted = false;
            self.retry = None;
        }
        ready
    }

    /// Somebody who waits processes LKL's queue, and is to see in a while whether that is
    /// over.
    pub fn begin_row(&mut self) {
        self.row = 0;
    }

    /// The poll thread leaves `poll` to process LKL's queue.
    pub fn goes_out(&mut self) {
        self.out = true;
    }

    /// It is in `poll` again. LKL may miss, on its way out of a queue, that its driver put
    /// more buffers there: whether it is to look once more.
    pub fn comes_back(&mut self, control: &Control) -> bool {
        std::mem::take(&mut self.out) && !self.wanted && self.is_ready(control)
    }

    /// When to look again although no bell rang.
    pub fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// See [`Duty::doze`].
    pub fn doze(&mut self) {
        self.duty.doze();
    }

    /// See [`Duty::sleep`].
    pub fn sleep(&mut self) -> bool {
        // With a time to try again, LKL need not be told before.
        let wanted = self.wanted && self.retry.is_none();
        self.duty.sleep(&mut Rings(&mut self.links), wanted)
    }

    /// See [`Duty::is_deaf`].
    pub fn is_deaf(&self) -> bool {
        self.duty.is_deaf()
    }

    /// See [`Duty::wake`].
    pub fn wake(&mut self) {
        self.duty.wake(&mut Rings(&mut self.links));
    }

    /// See [`Duty::left_alone`].
    pub fn left_alone(&mut self) -> bool {
        self.duty.left_alone(&mut Rings(&mut self.links))
    }
}

/// Copies a frame to the buffers, or the next piece of it.
fn deliver(
    bytes: Bytes<'_>,
    buffers: Buffers<'_>,
    pieces: &mut Option<Pieces>,
    mergeable: bool,
) -> Frame {
    let len = bytes.len();
    let room = buffers.total().min(if mergeable { usize::MAX } else { MAX_CHAIN });
    let is_frame = len >= VNET_LEN + ETHERNET_LEN;
    if pieces.is_none() {
        // A frame that fits to the last byte is fine where buffers do not merge; where
        // they do, LKL takes it for a truncated one.
        if is_frame && (len < room || len == room && !mergeable) {
            buffers.scatter(0, bytes, 0, len);
            return Frame::Delivered(len, true);
        }
        *pieces = Pieces::of(len, |at, out| bytes.copy_to(at, out));
    }
    let piece = pieces.as_mut().and_then(|it| it.next(room.saturating_sub(1)));
    let more_may_come = mergeable && buffers.count() < MAX_BUFFERS && room <= MAX_MERGE;
    match piece {
        Some(Piece { headers, payload }) => {
            buffers.scatter_slice(0, &headers);
            buffers.scatter(headers.len(), bytes, payload.start, payload.len());
            pieces.take_if(|pieces| pieces.is_done());
            Frame::Delivered(headers.len() + payload.len(), pieces.is_none())
        }
        None if more_may_come && is_frame => Frame::Later,
        None => {
            *pieces = None;
            Frame::Refused
        }
    }
}

//! One direction of the cable, between its ends.

use std::time::Instant;

use cable::lane::{Lane, take_out_ended};
use cable::stream_tx::Malformed;
use cable::{BATCH, Cable, Sender};
use frames::recorded::{head_start, set_head_start};
use frames::{Packets, VNET_LEN, push_frame};
use shmring::{Bytes, RecvError, SendError};

use super::conditions::Conditions;
use super::fate::Fate;
use super::line::Line;
use crate::filters::filter::Direction;

/// Frames come, are cut into packets, and go on when they are due.
pub struct Way {
    line: Line,
    /// For frames that pass as they are.
    lane: Lane,
    packets: Packets,
    frame: Vec<u8>,
    malformed: Malformed,
    state: State,
    /// Nobody is where packets go, and nobody will be.
    gone: bool,
}

/// What the next packet waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its time.
    Open,
    /// The first neighbour; nothing is taken until then.
    Waiting,
    /// Room where it goes.
    Full,
}

impl Way {
    /// Without any fault yet.
    pub fn new(seed: u64, direction: Direction) -> Way {
        Way {
            line: Line::new(Fate::new(seed, direction)),
            lane: Lane::default(),
            packets: Packets::default(),
            frame: Vec::new(),
            malformed: Malformed::default(),
            state: State::Open,
            gone: false,
        }
    }

    /// What happens to packets now.
    pub fn conditions(&self) -> Conditions {
        self.line.conditions()
    }

    /// See [`Line::set`].
    pub fn set(&mut self, conditions: Conditions) {
        self.line.set(conditions);
    }

    /// Whether no packet is on its way.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// When the next packet is due, unless it is and waits for room.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.line.due().filter(|due| *due > now)
    }

    /// Says what became of the packets, if anything did; after a signal, some may not have
    /// arrived.
    pub fn tell(&self, direction: &str, seed: u64) {
        let counts = &self.line.counts;
        match self.line.len() {
            late @ 1.. if !self.gone => {
                say::note!("{direction}: {counts}, {late} still on their way (seed {seed})");
            }
            _ if counts.are_perfect() => {}
            _ => say::note!("{direction}: {counts} (seed {seed})"),
        }
        self.malformed.tell(direction);
    }

    /// Moves some frames; `true` when there were any.
    pub fn turn(&mut self, from: &mut Cable, to: &mut Cable) -> bool {
        (self.state, self.gone) = (State::Open, to.is_gone());
        if self.line.is_clear() {
            return self.lane.turn(from, to, |_, _| true);
        }
        if (!to.was_up || to.is_held()) && to.sender().is_none() {
            self.state = State::Waiting;
            take_out_ended(from);
            return false;
        }
        let mut busy = false;
        for _ in 0..BATCH {
            busy |= self.give(to);
            // What is due and finds no room holds up what comes, as in any filter.
            if self.line.peek(Instant::now()).is_some() || !self.take(from) {
                break;
            }
            busy = true;
        }
        to.sender().into_iter().for_each(Sender::publish);
        busy
    }

    /// Sends packets that are due, and takes none; whether none is left.
    pub fn flush(&mut self, to: &mut Cable) -> bool {
        self.give(to);
        to.sender().into_iter().for_each(Sender::publish);
        self.is_empty()
    }

    /// Before a sleep: asks to be woken. `false` when there is something to do.
    pub fn arm(&mut self, from: &mut Cable, to: &mut Cable, now: Instant) -> bool {
        if self.line.is_clear() {
            return self.lane.arm(from, to);
        }
        let sleep = match self.state {
            State::Waiting => return to.sender().is_none_or(Sender::arm),
            State::Full => return to.sender().is_some_and(Sender::arm),
            State::Open => self.line.due().is_none_or(|due| due > now),
        };
        sleep && from.links().filter_map(|joined| joined.rx.as_mut()).all(|rx| rx.arm())
    }

    /// Frames out of a link, each cut into what would be on a wire, until one is due at once.
    fn take(&mut self, from: &mut Cable) -> bool {
        let Way { line, packets, frame, malformed, .. } = self;
        let mut busy = false;
        from.retain(|joined| {
            let Some(rx) = &mut joined.rx else { return true };
            let mut end = None;
            for _ in 0..BATCH {
                let received = rx.receive(|bytes| {
                    bytes.copy_into(frame);
                    (true, ())
                });
                match received {
                    Ok(()) => busy = true,
                    Err(RecvError::Empty) => break,
                    Err(error) => {
                        end = Some(error);
                        break;
                    }
                }
                let now = Instant::now();
                let start = frame.first_chunk::<VNET_LEN>().map(head_start).unwrap_or_default();
                let mut lost = 0;
                let cut = packets.each(frame, |packet| {
                    let mut whole = Vec::with_capacity(VNET_LEN + packet.len());
                    push_frame(&mut whole, packet);
                    set_head_start(&mut whole, start);
                    lost += line.arrive(whole, now);
                });
                if let Err(error) = cut {
                    malformed.count(error);
                    lost = 1;
                }
                (0..lost).for_each(|_| rx.count_drop());
                if line.peek(now).is_some() {
                    break;
                }
            }
            rx.return_room();
            end.iter().for_each(|error| joined.end_rx(error));
            joined.is_alive()
        });
        busy
    }

    /// Packets that are due into a link.
    fn give(&mut self, to: &mut Cable) -> bool {
        let now = Instant::now();
        let Way { line, state, gone, .. } = self;
        let mut busy = false;
        let Some(tx) = to.sender() else {
            while line.peek(now).is_some() {
                line.pop();
                line.counts.nobody += u64::from(!*gone);
                busy = true;
            }
            return busy;
        };
        for _ in 0..BATCH {
            let Some(frame) = line.peek(now) else { break };
            let bytes = Bytes::of_slice(frame);
            let sent = tx.put(frame.len(), |room| {
                room.copy_from_bytes(0, bytes);
                Ok::<_, ()>(frame.len())
            });
            match sent {
                Ok(_) => {}
                Err(SendError::Full) => {
                    *state = State::Full;
                    break;
                }
                // Too long for the link, or the link is about to end.
                Err(_) => tx.count_drop(),
            }
            line.pop();
            busy = true;
        }
        busy
    }
}

//! Moves the frames: from the left to the targets as the director says, and back.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cable::lane::{Lane, take_out_ended};
use cable::{BATCH, Cable, Sender};
use frames::flow::FLOW_HEAD;
use frames::{MAX_FRAME, VNET_LEN};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use shmring::{Bytes, PipeEnd, RecvError, Role, RuntimeDir, SendError};

use super::check::Checks;
use super::director::{Director, WEIGHTS, Way};
use super::fifo::{Fifo, plan};
use super::target::PATIENCE;
use crate::door::Call;
use crate::door::messages::{Reply, Request};
use crate::filters::{Part, Work};

/// What the next frame from the left waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stall {
    /// Nothing: there is none.
    None,
    /// Room in the ring of this target.
    Room(usize),
    /// Targets, until then at the latest.
    Targets(Option<Instant>),
}

/// What became of a frame.
enum Passed {
    Yes,
    Nobody,
    No(Stall),
}

/// Cables, the left one first, and how frames go between them.
pub struct Spread {
    pub director: Director,
    checks: Option<Checks>,
    back: Vec<Lane>,
    fifos: Vec<Fifo>,
    stall: Stall,
    /// Frames that no target got, or not all that should.
    pub lost: u64,
    /// The last question for the hardware address of the targets, by ARP and by
    /// neighbour discovery.
    questions: [Vec<u8>; 2],
}

impl Work for Spread {
    fn part(&self) -> Part {
        Part::Fork
    }

    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool> {
        let Some((left, targets)) = cables.split_first_mut() else { return Ok(false) };
        let now = Instant::now();
        self.greet(targets, now);
        if let Some(checks) = &mut self.checks {
            checks.on_time(&mut self.director.targets, now);
        }
        self.director.on_time(now);
        let mut busy = self.forward(left, targets, now);
        targets.iter_mut().filter_map(Cable::sender).for_each(Sender::publish);
        let mut head = [0; FLOW_HEAD];
        for (at, (lane, cable)) in self.back.iter_mut().zip(targets).enumerate() {
            let director = &mut self.director;
            busy |= lane.turn(cable, left, |bytes, _| {
                let len = bytes.copy_to(VNET_LEN, &mut head);
                director.back(at, &head[..len], now);
                true
            });
        }
        self.tell(now);
        Ok(busy)
    }

    fn arm(&mut self, cables: &mut [Cable]) -> bool {
        let Some((left, targets)) = cables.split_first_mut() else { return true };
        let mut sleep = true;
        for (lane, cable) in self.back.iter().zip(&mut *targets) {
            sleep &= lane.arm(cable, left);
        }
        match self.stall {
            Stall::Room(at) => sleep & targets[at].sender().is_none_or(Sender::arm),
            Stall::Targets(_) => sleep,
            Stall::None => sleep & left.links().filter_map(|it| it.rx.as_mut()).all(|rx| rx.arm()),
        }
    }

    fn asked(&mut self, call: &Call, cables: &mut Vec<Cable>, dir: &RuntimeDir) -> Result<Reply> {
        self.change(call, cables, dir)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.checks.as_ref().map(AsFd::as_fd)
    }

    fn deadline(&self) -> Option<Instant> {
        let targets = &self.director.targets;
        let stall = match self.stall {
            Stall::None => None,
            Stall::Room(at) => targets[at].full_since.map(|since| since + PATIENCE),
            Stall::Targets(until) => until,
        };
        let checks = self.checks.as_ref().and_then(|checks| checks.deadline(targets));
        [stall, checks, self.director.deadline()].into_iter().flatten().min()
    }
}

impl Spread {
    /// Spreads over the targets of `director`, checked by `checks`, joined by `fifos`.
    pub fn new(director: Director, checks: Option<Checks>, fifos: Vec<Fifo>) -> Spread {
        let back = vec![Lane::default(); director.targets.len()];
        let questions = Default::default();
        Spread { director, checks, back, fifos, stall: Stall::None, lost: 0, questions }
    }

    /// Does what is asked for.
    fn change(&mut self, call: &Call, cables: &mut Vec<Cable>, dir: &RuntimeDir) -> Result<Reply> {
        let Some(path) = call.request.target() else { return Err(call.request.not_here()) };
        let [fifo] = &call.fds[..] else { bail!("{path}: it did not come along") };
        let stat = fstat(fifo).context("fstat")?;
        let id = (stat.st_dev, stat.st_ino);
        let at = self.fifos.iter().position(|fifo| fifo.id == id);
        if let Request::Add { .. } = call.request {
            let is_left = cables[0].rendezvous().is_some_and(|left| left.end().id() == id);
            if at.is_some() || is_left {
                bail!("{path}: is one of its links already: each target has a FIFO of its own");
            }
            if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
                bail!("{path}: is no FIFO: make one with mkfifo");
            }
            self.add(path, fifo, cables, dir)?;
            return Ok(Reply::Done);
        }
        let targets = &self.director.targets;
        let Some(at) = at else {
            let all: Vec<_> = targets.iter().map(|it| it.path.display().to_string()).collect();
            bail!("{path}: is none of its targets, which are {}", all.join(", "));
        };
        // As at the start, by its own name of it.
        let own = targets[at].path.clone();
        match &call.request {
            Request::Weight { weight, .. } if !WEIGHTS.contains(weight) => {
                bail!("{path}: a weight is 1 to {}", WEIGHTS.end())
            }
            Request::Weight { weight, .. } => self.director.set_weight(&own, *weight)?,
            Request::Undrain { .. } => self.director.undrain(&own)?,
            _ => self.director.drain(&own)?,
        }
        Ok(Reply::Done)
    }

    /// Adds the target at `fifo`, which whoever asks calls `path`.
    fn add(
        &mut self,
        path: &str,
        fifo: &OwnedFd,
        cables: &mut Vec<Cable>,
        dir: &RuntimeDir,
    ) -> Result<()> {
        // Its name may mean another one here.
        let here = format!("/proc/self/fd/{}", fifo.as_raw_fd());
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let end = open(here, flags, Mode::empty()).with_context(|| path.to_owned())?;
        let end = PipeEnd::new(end, path)?.with_role(Role::Either);
        let fifo = Fifo::new(&end)?;
        let cable = Cable::new(plan(end), dir)?;
        self.director.add(path.into(), self.checks.is_some())?;
        // From here on nothing can fail.
        if let Some(checks) = &mut self.checks {
            checks.add_target(Instant::now());
        }
        self.fifos.push(fifo);
        self.back.push(Lane::default());
        cables.push(cable);
        Ok(())
    }

    /// Shows the flows of each target: those of now, all, those that were forgotten for
    /// want of room, and whether it gets new ones.
    fn tell(&mut self, now: Instant) {
        for (at, fifo) in self.fifos.iter_mut().enumerate() {
            let (count, target) = (self.director.flows.count(at), &self.director.targets[at]);
            let takes_new = target.is_in() && target.is_well(now);
            fifo.tally.show([count.now, count.total, count.evicted, takes_new.into(), 0]);
        }
    }

    /// Sees who has come and gone, and who takes frames again. Who has just come may have another hardware address
    /// than its predecessor, if any (one started alike has the same), and tells it in
    /// answer to the question it missed.
    fn greet(&mut self, targets: &mut [Cable], now: Instant) {
        for (at, cable) in targets.iter_mut().enumerate() {
            if self.director.targets[at].full_since.is_some() && has_room(cable) {
                self.director.targets[at].full_since = None;
            }
            let is_new = cable.take_plugged().is_some();
            let up = cable.sender().is_some_and(|tx| !tx.is_closed());
            if !is_new && up == self.director.targets[at].up {
                continue;
            }
            self.director.replaced(at, up, now);
            let Some(tx) = cable.sender() else { continue };
            for frame in self.questions.iter().filter(|frame| !frame.is_empty()) {
                let sent = tx.put(frame.len(), |room| {
                    room.copy_from(0, frame);
                    Ok::<_, ()>(frame.len())
                });
                if sent.is_err() {
                    tx.count_drop();
                }
            }
        }
    }

    /// Moves frames from the left; `true` when there were any.
    fn forward(&mut self, left: &mut Cable, targets: &mut [Cable], now: Instant) -> bool {
        self.stall = Stall::None;
        let mut busy = false;
        if !self.director.has_begun() {
            take_out_ended(left);
            self.stall = Stall::Targets(None);
            return false;
        }
        while let Some((way, late)) = self.director.next_late(now) {
            match self.pass(&way, Bytes::of_slice(&late.1), targets, now) {
                Passed::Yes => {}
                Passed::Nobody => self.lost += 1,
                Passed::No(stall) => {
                    self.director.put_back(late);
                    self.stall = stall;
                    return busy;
                }
            }
            busy = true;
        }
        let mut head = [0; FLOW_HEAD];
        left.retain(|joined| {
            let Some(rx) = &mut joined.rx else { return true };
            for _ in 0..BATCH {
                let moved = rx.receive(|bytes| {
                    let len = bytes.copy_to(VNET_LEN, &mut head);
                    let passed = self.take(&head[..len], bytes, targets, now);
                    (!matches!(passed, Passed::No(_)), passed)
                });
                match moved {
                    Ok(Passed::Yes) => busy = true,
                    Ok(Passed::Nobody) => {
                        busy = true;
                        self.lost += 1;
                        rx.count_drop();
                    }
                    Ok(Passed::No(stall)) => {
                        self.stall = stall;
                        break;
                    }
                    Err(RecvError::Empty) => break,
                    Err(error) => {
                        joined.end_rx(&error);
                        return false;
                    }
                }
            }
            rx.return_room();
            true
        });
        busy
    }

    /// Takes a frame from the left.
    fn take(
        &mut self,
        head: &[u8],
        bytes: Bytes<'_>,
        targets: &mut [Cable],
        now: Instant,
    ) -> Passed {
        if let Some(kind) = question(head) {
            self.questions[kind] = bytes.to_vec();
            self.director.asks(now);
        }
        match self.director.forward(head, now) {
            Way::Hold(part) => {
                self.director.hold(part, bytes.to_vec(), now);
                Passed::Yes
            }
            way => self.pass(&way, bytes, targets, now),
        }
    }

    fn pass(&mut self, way: &Way, bytes: Bytes<'_>, targets: &mut [Cable], now: Instant) -> Passed {
        match *way {
            Way::To(at) => self.send(at, true, bytes, targets, now),
            Way::All => {
                let mut passed = Passed::Nobody;
                for at in 0..targets.len() {
                    if self.director.targets[at].up {
                        passed = self.send(at, false, bytes, targets, now);
                    }
                }
                passed
            }
            Way::Wait(until) => Passed::No(Stall::Targets(until)),
            Way::Nobody | Way::Hold(_) => Passed::Nobody,
        }
    }

    /// Sends a frame to a target. One that is for it `alone` gets its hardware address, and
    /// waits a while for room.
    fn send(
        &mut self,
        at: usize,
        alone: bool,
        bytes: Bytes<'_>,
        targets: &mut [Cable],
        now: Instant,
    ) -> Passed {
        let target = &mut self.director.targets[at];
        let Some(tx) = targets[at].sender() else { return Passed::Nobody };
        let sent = tx.put(bytes.len(), |room| {
            room.copy_from_bytes(0, bytes);
            if let (true, Some(mac)) = (alone, &target.mac) {
                room.copy_from(VNET_LEN, mac);
            }
            Ok::<_, ()>(bytes.len())
        });
        if matches!(sent, Err(SendError::Full)) {
            let since = *target.full_since.get_or_insert(now);
            if alone && now.saturating_duration_since(since) < PATIENCE {
                return Passed::No(Stall::Room(at));
            }
        } else {
            target.full_since = None;
        }
        if sent.is_err() {
            tx.count_drop();
            self.lost += 1;
        }
        Passed::Yes
    }
}

/// Whether there is room for any frame.
fn has_room(cable: &mut Cable) -> bool {
    cable.sender().is_some_and(|tx| tx.put(MAX_FRAME, |_| Err(())).is_ok())
}

/// Whether a packet asks for a hardware address: 0 by ARP, 1 by neighbour discovery.
fn question(packet: &[u8]) -> Option<usize> {
    const NEIGHBOUR_SOLICITATION: u8 = 135;
    match (packet.get(12..14)?, packet.get(20), packet.get(54)) {
        ([0x08, 0x06], ..) => Some(0),
        ([0x86, 0xdd], Some(58), Some(&NEIGHBOUR_SOLICITATION)) => Some(1),
        _ => None,
    }
}

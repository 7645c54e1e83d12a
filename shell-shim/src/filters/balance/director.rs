//! Decides which target a frame goes to. No I/O: frames' heads come in, ways go out.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use frames::flow::{Belongs, Flow, Part};

use super::By;
use super::flows::{CAPACITY, Flows, State};
use super::fragments::{Fragments, Late};
use super::target::{PATIENCE, Target, Verdict};

/// What the share of a target may be.
pub const WEIGHTS: RangeInclusive<u32> = 1..=1000;

/// Where a frame goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// To every target.
    All,
    /// To this target.
    To(usize),
    /// Nowhere: no target takes it.
    Nobody,
    /// Not yet: the targets are still coming, or the first to be let in. Until then at
    /// the latest.
    Wait(Option<Instant>),
    /// Not yet: [`Director::hold`] is to be told, with all of the frame.
    Hold(Part),
}

/// The targets, what is remembered of flows, and by what is decided.
pub struct Director {
    by: By,
    /// In the order in which they were added.
    pub targets: Vec<Target>,
    pub flows: Flows,
    fragments: Fragments,
    /// Fragments whose flow has become known, or was waited for in vain.
    late: VecDeque<Late>,
    /// Until when the first flow waits for all targets. None before the first has come.
    gather_until: Option<Instant>,
    /// There has been a flow.
    has_flowed: bool,
}

impl Director {
    /// Without targets yet.
    pub fn new(by: By) -> Director {
        Director {
            by,
            targets: Vec::new(),
            flows: Flows::new(CAPACITY),
            fragments: Fragments::default(),
            late: VecDeque::new(),
            gather_until: None,
            has_flowed: false,
        }
    }

    /// Adds a target; `checked` ones get flows when the check says so.
    ///
    /// # Errors
    /// When it is there already.
    pub fn add(&mut self, path: PathBuf, checked: bool) -> Result<()> {
        if self.targets.iter().any(|target| target.path == path) {
            bail!("{}: given twice: each target has a FIFO of its own", path.display());
        }
        let verdict = if checked { Verdict::Pending } else { Verdict::None };
        self.targets.push(Target::new(path, verdict));
        self.flows.add_target();
        Ok(())
    }

    /// Gives a target another share of the new flows.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn set_weight(&mut self, path: &Path, weight: u32) -> Result<()> {
        self.target(path)?.weight = weight;
        Ok(())
    }

    /// From now on a target gets no new flows; those that it has stay.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn drain(&mut self, path: &Path) -> Result<()> {
        self.target(path)?.drained = true;
        Ok(())
    }

    /// It gets new flows again.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn undrain(&mut self, path: &Path) -> Result<()> {
        self.target(path)?.drained = false;
        Ok(())
    }

    fn target(&mut self, path: &Path) -> Result<&mut Target> {
        let found = self.targets.iter_mut().find(|target| target.path == path);
        found.with_context(|| format!("{}: not among the targets", path.display()))
    }

    /// Another neighbour is on a target's FIFO, or none.
    pub fn replaced(&mut self, at: usize, up: bool, now: Instant) {
        self.targets[at].replaced(up);
        self.flows.forget_target(at);
        if up {
            self.gather_until.get_or_insert(now + PATIENCE);
        }
    }

    /// The targets are asked for their hardware addresses.
    pub fn asks(&mut self, now: Instant) {
        if !self.has_flowed && self.has_begun() {
            self.gather_until = Some(now + PATIENCE);
        }
    }

    /// Whether any target has ever been there.
    pub fn has_begun(&self) -> bool {
        self.gather_until.is_some()
    }

    /// When [`Director::on_time`] wants to be called. Flows are forgotten together with
    /// those of the next second, so as not to wake for each.
    pub fn deadline(&self) -> Option<Instant> {
        let flows = self.flows.next_expiry().map(|at| at + Duration::from_secs(1));
        self.fragments.deadline().into_iter().chain(flows).min()
    }

    /// Forgets and gives up what is over.
    pub fn on_time(&mut self, now: Instant) {
        self.flows.expire(now);
        while let Some(late) = self.fragments.overdue(now) {
            self.late.push_back(late);
        }
    }

    /// The way of a frame from the left, by its first bytes from the Ethernet header on.
    /// Asked again for the same frame, it says the same.
    pub fn forward(&mut self, head: &[u8], now: Instant) -> Way {
        match Belongs::of(head) {
            Belongs::All => Way::All,
            Belongs::Flow(part) => match self.resolve(part, now) {
                (part, true) => self.way(&part, now),
                (part, false) => Way::Hold(part),
            },
        }
    }

    /// A frame from a target.
    pub fn back(&mut self, at: usize, head: &[u8], now: Instant) {
        if let Some(mac) = head.get(6..).and_then(<[u8]>::first_chunk) {
            self.targets[at].sent(*mac);
        }
        let Belongs::Flow(part) = Belongs::of(head) else { return };
        let (part, known) = self.resolve(part, now);
        if !known || part.is_error || !self.targets[at].up {
            return;
        }
        if !is_reset(&part) {
            self.flows.answer(&part.flow, &part, at);
        }
        match self.flows.get(&part.flow) {
            Some((owner, _)) if owner == at => self.note(&part, now),
            // It has begun this flow, or had it before we knew.
            None if !is_reset(&part) => self.flows.begin(part.flow, &part, at, now),
            Some((_, State::Closed)) if opens(&part) => {
                self.flows.begin(part.flow, &part, at, now);
            }
            _ => {}
        }
    }

    /// Holds the frame of a later fragment that has overtaken the first.
    pub fn hold(&mut self, part: Part, frame: Vec<u8>, now: Instant) {
        if let Some(datagram) = part.continues {
            self.fragments.hold(datagram, (part, frame), now);
        }
    }

    /// The next frame that was held and is not any more, and its way.
    pub fn next_late(&mut self, now: Instant) -> Option<(Way, Late)> {
        let late = self.late.pop_front()?;
        Some((self.way(&late.0, now), late))
    }

    /// It could not go yet.
    pub fn put_back(&mut self, late: Late) {
        self.late.push_front(late);
    }

    /// The flow that a packet is of, and whether that is known: of a later fragment
    /// only its datagram may be.
    fn resolve(&mut self, mut part: Part, now: Instant) -> (Part, bool) {
        let mut known = true;
        if let Some(datagram) = &part.continues {
            let flow = self.fragments.flow(datagram, now);
            known = flow.is_some() || part.is_error;
            part.flow = flow.unwrap_or(part.flow);
        }
        if self.by == By::Addresses {
            part.flow = part.flow.addresses();
            part.tcp = None;
        }
        for datagram in part.begins.drain(..).filter(|_| known) {
            self.late.extend(self.fragments.begin(datagram, part.flow, now));
        }
        (part, known)
    }

    /// The way of a packet of a known flow.
    fn way(&mut self, part: &Part, now: Instant) -> Way {
        if let Some((at, state)) = self.flows.get(&part.flow) {
            let keeps = match state {
                // Addresses and ports that are used again.
                State::Closed => !opens(part),
                // A connection that is tried again: one more that was not answered.
                State::Opening if opens(part) => {
                    self.targets[at].gets_new(now);
                    self.targets[at].is_in() && self.targets[at].is_well(now)
                }
                _ => true,
            };
            if keeps {
                if !part.is_error {
                    self.note(part, now);
                }
                return Way::To(at);
            }
        }
        if let Some(until) = self.gathers(now) {
            return Way::Wait(until);
        }
        // Of a connection that goes on, we have forgotten the target: it may have any.
        let is_new = part.tcp.is_none_or(|tcp| tcp.opens) && !part.is_error;
        let Some(at) = self.choose(&part.flow, is_new, now) else { return Way::Nobody };
        self.has_flowed = true;
        if !part.is_error && !is_reset(part) {
            self.flows.begin(part.flow, part, at, now);
            if is_new {
                self.targets[at].gets_new(now);
            }
        }
        Way::To(at)
    }

    fn note(&mut self, part: &Part, now: Instant) {
        self.flows.note(&part.flow, part, self.by == By::Addresses, now);
    }

    /// The first flow waits a moment for all targets to be there and to tell their hardware
    /// addresses, and new ones for the first that a check lets in.
    fn gathers(&self, now: Instant) -> Option<Option<Instant>> {
        let Some(until) = self.gather_until else { return Some(None) };
        let are_there = self.targets.iter().all(|it| it.up && it.mac.is_some());
        if !self.has_flowed && now < until && !are_there {
            return Some(Some(until));
        }
        let pending = self.targets.iter().any(|it| it.up && it.verdict == Verdict::Pending);
        (pending && !self.targets.iter().any(Target::is_in)).then_some(None)
    }

    fn choose(&self, flow: &Flow, is_new: bool, now: Instant) -> Option<usize> {
        let best = |may: &dyn Fn(&Target) -> bool| {
            let all = self.targets.iter().enumerate().filter(|(_, target)| may(target));
            let scores = all.map(|(at, target)| (at, target.score(flow)));
            scores.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
        };
        if !is_new {
            return best(&|it| it.up);
        }
        best(&|it| it.is_in() && it.is_well(now)).or_else(|| best(&Target::is_in))
    }
}

fn opens(part: &Part) -> bool {
    part.tcp.is_some_and(|tcp| tcp.opens)
}

fn is_reset(part: &Part) -> bool {
    part.tcp.is_some_and(|tcp| tcp.rst)
}

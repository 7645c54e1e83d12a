//! Fragments go where the first of their datagram went, which alone has the ports.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use frames::flow::{Datagram, Flow, Part};
use hashlink::LinkedHashMap;

/// Datagrams that are remembered at most.
const DATAGRAMS: usize = 4096;
/// How long each is: as long as Linux waits for the last fragment.
const LIFETIME: Duration = Duration::from_secs(30);
/// Frames that overtook the first of their datagram and wait for it, at most.
const HELD: usize = 256;
/// How long each waits.
const HOLD: Duration = Duration::from_secs(1);

/// A later fragment, and the frame that it is in.
pub type Late = (Part, Vec<u8>);

struct Held {
    since: Instant,
    datagram: Datagram,
    late: Late,
}

/// The datagrams of late, and the fragments that wait for the first of theirs.
#[derive(Default)]
pub struct Fragments {
    flows: LinkedHashMap<Datagram, (Flow, Instant)>,
    held: VecDeque<Held>,
}

impl Fragments {
    /// The first fragment of a datagram shows its flow. Returns what waited for it.
    pub fn begin(&mut self, datagram: Datagram, flow: Flow, now: Instant) -> Vec<Late> {
        self.flows.insert(datagram, (flow, now)); // as the newest
        if self.flows.len() > DATAGRAMS {
            self.flows.pop_front();
        }
        if !self.held.iter().any(|held| held.datagram == datagram) {
            return Vec::new();
        }
        let held = std::mem::take(&mut self.held).into_iter();
        let (found, rest) = held.partition::<Vec<_>, _>(|held| held.datagram == datagram);
        self.held = rest.into();
        found
            .into_iter()
            .map(|Held { late: (part, frame), .. }| (Part { flow, ..part }, frame))
            .collect()
    }

    /// The flow of a datagram, if it is known.
    pub fn flow(&self, datagram: &Datagram, now: Instant) -> Option<Flow> {
        let (flow, since) = self.flows.get(datagram)?;
        (now.saturating_duration_since(*since) < LIFETIME).then_some(*flow)
    }

    /// Holds a frame until the first fragment of its datagram comes.
    pub fn hold(&mut self, datagram: Datagram, late: Late, now: Instant) {
        self.held.push_back(Held { since: now, datagram, late });
    }

    /// What has waited for too long, or has no room.
    pub fn overdue(&mut self, now: Instant) -> Option<Late> {
        let first = self.held.front()?;
        let is_over = now.saturating_duration_since(first.since) >= HOLD;
        if is_over || self.held.len() > HELD {
            self.held.pop_front().map(|held| held.late)
        } else {
            None
        }
    }

    /// When the next frame is overdue.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.front().map(|held| held.since + HOLD)
    }
}

//! Which target a flow is with, as long as it can be worth knowing.
//!
//! Bounded in number and in time. A flow's state decides how long it is remembered
//! after its last packet, and who goes first when there is no room.

use std::time::{Duration, Instant};

use frames::flow::{Flow, Part};
use hashlink::LinkedHashMap;

/// Flows that are remembered at most: about 30 MB. Each state keeps the memory that it once
/// needed, so it may become four times that.
pub const CAPACITY: usize = 1 << 18;

/// How far a flow is. Those that come first are forgotten first when room is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A TCP connection after RST, or FIN both ways.
    Closed,
    /// Only one side has been heard of.
    Opening,
    /// Both sides have, without connections that could be seen.
    Datagrams,
    /// Both sides have: TCP, or all between two addresses.
    Established,
}

const STATES: [State; 4] = [State::Closed, State::Opening, State::Datagrams, State::Established];

impl State {
    /// How long after its last packet a flow is remembered.
    fn lifetime(self) -> Duration {
        Duration::from_secs(match self {
            // Linux' TIME-WAIT, in which the other side may repeat its FIN.
            State::Closed => 60,
            // Linux' limit for a handshake under way.
            State::Opening => 60,
            // What RFC 4787, REQ-5 recommends for UDP.
            State::Datagrams => 300,
            // RFC 5382, REQ-5: 2 hours 4 minutes, longer than TCP's keep-alive.
            State::Established => 2 * 3600 + 4 * 60,
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    target: usize,
    /// When its last packet passed.
    seen: Instant,
    /// Whether the lower end sent the first packet.
    begun_by_low: bool,
    /// FIN seen from the higher, the lower end.
    fins: [bool; 2],
}

/// Flows and their targets.
#[derive(Debug)]
pub struct Flows {
    /// One map for each state, the flow that was silent for the longest time first.
    maps: [LinkedHashMap<Flow, Entry>; 4],
    capacity: usize,
    /// Of each target.
    counts: Vec<Count>,
}

/// Flows of a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// That are remembered.
    pub now: u64,
    /// That it got so far.
    pub total: u64,
    /// That were forgotten for want of room.
    pub evicted: u64,
}

impl Flows {
    /// Room for so many flows.
    pub fn new(capacity: usize) -> Flows {
        Flows { maps: Default::default(), capacity, counts: Vec::new() }
    }

    /// There is a target more.
    pub fn add_target(&mut self) {
        self.counts.push(Count::default());
    }

    /// The target of a flow, and how far it is.
    pub fn get(&self, flow: &Flow) -> Option<(usize, State)> {
        // The most frequent first.
        STATES.into_iter().rev().find_map(|state| {
            self.maps[state as usize].get(flow).map(|entry| (entry.target, state))
        })
    }

    /// Remembers a flow whose first packet this is.
    pub fn begin(&mut self, flow: Flow, part: &Part, target: usize, now: Instant) {
        self.forget(&flow);
        while self.len() >= self.capacity {
            let oldest = self.maps.iter_mut().find_map(LinkedHashMap::pop_front);
            let Some((_, entry)) = oldest else { break };
            self.counts[entry.target].now -= 1;
            self.counts[entry.target].evicted += 1;
        }
        let mut fins = [false; 2];
        fins[usize::from(part.from_low)] = part.tcp.is_some_and(|tcp| tcp.fin);
        let entry = Entry { target, seen: now, begun_by_low: part.from_low, fins };
        self.maps[State::Opening as usize].insert(flow, entry);
        self.counts[target].now += 1;
        self.counts[target].total += 1;
    }

    /// Takes note of a further packet. `lasting` flows are as connections are, though
    /// their TCP cannot be seen.
    pub fn note(&mut self, flow: &Flow, part: &Part, lasting: bool, now: Instant) {
        let mut maps = STATES.into_iter().zip(&mut self.maps).rev();
        let found = maps.find_map(|(state, map)| Some((state, map.to_back(flow)?)));
        let Some((state, entry)) = found else { return };
        entry.seen = now;
        let answers = entry.begun_by_low != part.from_low;
        // Where answers take another way than through here, this shows that there was one.
        let goes_on = part.tcp.is_some_and(|tcp| !tcp.opens);
        entry.fins[usize::from(part.from_low)] |= part.tcp.is_some_and(|tcp| tcp.fin);
        let next = match (state, part.tcp) {
            (State::Closed, _) => State::Closed,
            (_, Some(tcp)) if tcp.rst || entry.fins == [true; 2] => State::Closed,
            (State::Opening, Some(_)) if answers || goes_on => State::Established,
            (State::Opening, None) if answers && lasting => State::Established,
            (State::Opening, None) if answers => State::Datagrams,
            _ => state,
        };
        if next != state {
            let entry = *entry;
            self.maps[state as usize].remove(flow);
            self.maps[next as usize].insert(*flow, entry);
        }
    }

    /// A target answers the first packets of a flow: it is the target of that flow, though
    /// another got the packet last.
    pub fn answer(&mut self, flow: &Flow, part: &Part, target: usize) {
        let entry = self.maps[State::Opening as usize].get_mut(flow);
        if let Some(entry) = entry.filter(|entry| entry.begun_by_low != part.from_low) {
            self.counts[entry.target].now -= 1;
            self.counts[target].now += 1;
            self.counts[target].total += u64::from(entry.target != target);
            entry.target = target;
        }
    }

    /// Forgets a flow.
    pub fn forget(&mut self, flow: &Flow) {
        if let Some(entry) = self.maps.iter_mut().find_map(|map| map.remove(flow)) {
            self.counts[entry.target].now -= 1;
        }
    }

    /// Forgets the flows of a target that is gone.
    pub fn forget_target(&mut self, target: usize) {
        for map in &mut self.maps {
            map.retain(|_, entry| entry.target != target);
        }
        self.counts[target] = Count::default();
    }

    /// Forgets what has been silent for too long.
    pub fn expire(&mut self, now: Instant) {
        for state in STATES {
            let map = &mut self.maps[state as usize];
            let is_over =
                |entry: &Entry| now.saturating_duration_since(entry.seen) >= state.lifetime();
            while let Some((_, entry)) = map.front().filter(|(_, entry)| is_over(entry)) {
                self.counts[entry.target].now -= 1;
                map.pop_front();
            }
        }
    }

    /// When the next flow is to be forgotten.
    pub fn next_expiry(&self) -> Option<Instant> {
        let firsts = STATES.into_iter().filter_map(|state| {
            self.maps[state as usize].front().map(|(_, entry)| entry.seen + state.lifetime())
        });
        firsts.min()
    }

    /// Flows that are remembered.
    pub fn len(&self) -> usize {
        self.maps.iter().map(LinkedHashMap::len).sum()
    }

    /// Flows of a target; those of its predecessors on the same FIFO do not count.
    pub fn count(&self, target: usize) -> Count {
        self.counts[target]
    }
}

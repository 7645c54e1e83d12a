//! The world of a search: processes, and what the kernel has of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::meeting::{Channel, Claim, Meeting};

/// One end of a socket pair: who made it, its number there, which end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct End {
    pub pair: (usize, u64),
    pub side: usize,
}

impl End {
    pub fn other(self) -> End {
        End { side: 1 - self.side, ..self }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Message {
    Come,
    Hello,
    Welcome(Claim),
    Ready,
    Refuse,
    /// Does the other side live? To be answered there.
    Alive(End),
    Yes,
}

#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub(super) struct Pair {
    /// What was sent to each side.
    pub queues: [VecDeque<Message>; 2],
    pub closed: [bool; 2],
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Live {
    pub meeting: Meeting,
    pub published: bool,
    pub gate: VecDeque<(usize, End)>,
    pub ends: BTreeMap<Channel, End>,
    pub links: BTreeMap<End, Claim>,
    /// The link that has a claim, as far as we know.
    pub claimed: Option<End>,
    /// Where the answer to our question will come.
    pub asked: Option<End>,
    pub later: bool,
    /// A greeter that has its link.
    pub over: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Process {
    NotYet,
    Live(Box<Live>),
    /// What it has not given up yet.
    Dying {
        refused: bool,
        published: bool,
        gate: Option<Vec<End>>,
        ends: BTreeSet<End>,
    },
    Gone {
        refused: bool,
    },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct World {
    pub processes: Vec<Process>,
    pub pairs: BTreeMap<(usize, u64), Pair>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Start(usize),
    Kill(usize),
    Act(usize),
    Gate(usize),
    Channel(usize, Channel),
    Link(usize, End),
    Answer(usize),
    Later(usize),
    GiveUpLock(usize),
    GiveUpGate(usize),
    GiveUpEnds(usize),
}

impl World {
    pub fn fresh(&self, who: usize) -> End {
        let next = self.pairs.range((who, 0)..(who + 1, 0)).next_back();
        End { pair: (who, next.map_or(0, |(&(_, last), _)| last + 1)), side: 0 }
    }

    /// So that states that differ in numbers only are the same.
    pub fn renumber(&mut self) {
        let mut new = BTreeMap::new();
        for &(who, number) in self.pairs.keys() {
            let before = new.range((who, 0)..(who + 1, 0)).count() as u64;
            new.insert((who, number), (who, before));
        }
        let name = |end: End| new.get(&end.pair).map(|&pair| End { pair, ..end });
        for process in &mut self.processes {
            match process {
                Process::Live(live) => {
                    live.gate.iter_mut().for_each(|(_, end)| *end = name(*end).unwrap());
                    let links = std::mem::take(&mut live.links);
                    let links = links.into_iter().map(|(end, claim)| (name(end).unwrap(), claim));
                    live.links = links.collect();
                    live.claimed = live.claimed.and_then(name);
                    live.asked = live.asked.map(|end| name(end).unwrap());
                    live.ends.values_mut().for_each(|end| *end = name(*end).unwrap());
                    if live.meeting.is_idle() {
                        let channels = live.meeting.renumber();
                        let ends = std::mem::take(&mut live.ends);
                        let ends = ends.into_iter().map(|(at, end)| (channels[&at], end));
                        live.ends = ends.collect();
                    }
                }
                Process::Dying { gate, ends, .. } => {
                    gate.iter_mut().flatten().for_each(|end| *end = name(*end).unwrap());
                    *ends = ends.iter().map(|&end| name(end).unwrap()).collect();
                }
                _ => {}
            }
        }
        let pairs = std::mem::take(&mut self.pairs);
        let inside = |message| match message {
            Message::Alive(end) => Message::Alive(name(end).unwrap()),
            other => other,
        };
        let rename = |(key, mut pair): ((usize, u64), Pair)| {
            for queue in &mut pair.queues {
                *queue = std::mem::take(queue).into_iter().map(inside).collect();
            }
            (new[&key], pair)
        };
        self.pairs = pairs.into_iter().map(rename).collect();
    }

    pub fn live(&mut self, who: usize) -> &mut Live {
        match &mut self.processes[who] {
            Process::Live(live) => live,
            other => panic!("{who} is {other:?}"),
        }
    }

    pub fn sees(&self, who: usize) -> bool {
        match &self.processes[who] {
            Process::Live(live) => live.published,
            Process::Dying { published, .. } => *published,
            _ => false,
        }
    }

    /// It was killed, or ends because it was refused.
    pub fn end(&mut self, who: usize, refused: bool) {
        let live = self.live(who);
        let ends = live.ends.values().chain(live.links.keys()).copied().chain(live.asked);
        let dying = Process::Dying {
            refused,
            published: live.published,
            gate: Some(live.gate.iter().map(|&(_, end)| end).collect()),
            ends: ends.collect(),
        };
        self.processes[who] = dying;
    }

    pub fn is_closed(&self, end: End) -> bool {
        self.pairs.get(&end.pair).is_none_or(|pair| pair.closed[end.side])
    }

    pub fn is_ready(&self, end: End) -> bool {
        let waiting = self.pairs.get(&end.pair).is_some_and(|p| !p.queues[end.side].is_empty());
        waiting || self.is_closed(end.other())
    }

    pub fn receive(&mut self, end: End) -> Option<Message> {
        self.pairs.get_mut(&end.pair)?.queues[end.side].pop_front()
    }

    /// What was sent to nobody is gone, and what was in it closed.
    pub fn send(&mut self, from: End, message: Message) {
        let to = from.other();
        if !self.is_closed(to) {
            self.pairs.get_mut(&to.pair).unwrap().queues[to.side].push_back(message);
        } else if let Message::Alive(end) = message {
            self.close(end);
        }
    }

    pub fn close(&mut self, end: End) {
        let Some(pair) = self.pairs.get_mut(&end.pair) else { return };
        pair.closed[end.side] = true;
        for message in std::mem::take(&mut pair.queues[end.side]) {
            if let Message::Alive(end) = message {
                self.close(end);
            }
        }
    }

    pub fn tell(&mut self, who: usize, channel: Channel, message: Message) {
        // It may have hung up, which will be heard next.
        if let Some(&end) = self.live(who).ends.get(&channel) {
            self.send(end, message);
        }
    }

    pub fn hang_up(&mut self, who: usize, channel: Channel) {
        if let Some(end) = self.live(who).ends.remove(&channel) {
            self.close(end);
        }
    }
}

//! Every order in which holders of one pipe can start, speak, die and be replaced.
//!
//! A world is a few processes with a [`Meeting`] each, and what the kernel has of
//! them: the locks, the doors with what lies before them, the socket pairs with what
//! is on its way. Each step of each process is a step of the search; its lock, its
//! door and its conversations are given up by an ending process in any order. There
//! are no clocks: whatever is reached here is reached by events.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::adverts::Advert;
use super::meeting::{Action, Channel, Claim, Meeting};
use crate::address::Role;

/// A process of a scene.
#[derive(Clone, Copy)]
struct Part {
    role: Role,
    /// May be killed at any moment.
    mortal: bool,
    /// Starts only when that one is dying.
    replaces: Option<usize>,
}

const fn part(role: Role) -> Part {
    Part { role, mortal: false, replaces: None }
}

const fn mortal(role: Role) -> Part {
    Part { mortal: true, ..part(role) }
}

const fn instead_of(which: usize, role: Role) -> Part {
    Part { replaces: Some(which), ..part(role) }
}

const R: Role = Role::Reader;
const W: Role = Role::Writer;
const E: Role = Role::Either;

/// One end of a socket pair: who made it, its number there, which end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct End {
    pair: (usize, u64),
    side: usize,
}

impl End {
    fn other(self) -> End {
        End { side: 1 - self.side, ..self }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Message {
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
struct Pair {
    /// What was sent to each side.
    queues: [VecDeque<Message>; 2],
    closed: [bool; 2],
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Live {
    meeting: Meeting,
    published: bool,
    door: VecDeque<(usize, End)>,
    ends: BTreeMap<Channel, End>,
    links: BTreeMap<End, Claim>,
    /// The link that has a claim, as far as we know.
    claimed: Option<End>,
    /// Where the answer to our question will come.
    asked: Option<End>,
    later: bool,
    /// A greeter that has its link.
    over: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Process {
    NotYet,
    Live(Box<Live>),
    /// What it has not given up yet.
    Dying {
        refused: bool,
        published: bool,
        door: Option<Vec<End>>,
        ends: BTreeSet<End>,
    },
    Gone {
        refused: bool,
    },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    processes: Vec<Process>,
    pairs: BTreeMap<(usize, u64), Pair>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Start(usize),
    Kill(usize),
    Act(usize),
    Door(usize),
    Channel(usize, Channel),
    Link(usize, End),
    Answer(usize),
    Later(usize),
    GiveUpLock(usize),
    GiveUpDoor(usize),
    GiveUpEnds(usize),
}

struct Scene {
    parts: Vec<Part>,
    /// The nonce of each.
    nonces: Vec<u64>,
}

impl Scene {
    fn advert(&self, who: usize) -> Advert {
        Advert { nonce: self.nonces[who], role: self.parts[who].role }
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        for (who, process) in world.processes.iter().enumerate() {
            match process {
                Process::NotYet => {
                    let may = self.parts[who].replaces.is_none_or(|other| {
                        !matches!(world.processes[other], Process::NotYet | Process::Live(_))
                    });
                    steps.extend(may.then_some(Step::Start(who)));
                }
                Process::Live(live) => {
                    if self.parts[who].mortal {
                        steps.push(Step::Kill(who));
                    }
                    if !live.meeting.is_idle() {
                        steps.push(Step::Act(who));
                        continue;
                    }
                    if !live.door.is_empty() && !live.over {
                        steps.push(Step::Door(who));
                    }
                    let ready = |end: &End| world.is_ready(*end);
                    for (&channel, _) in live.ends.iter().filter(|(_, end)| ready(end)) {
                        steps.push(Step::Channel(who, channel));
                    }
                    for &link in live.links.keys().filter(|end| ready(end)) {
                        steps.push(Step::Link(who, link));
                    }
                    steps.extend(live.asked.filter(ready).map(|_| Step::Answer(who)));
                    steps.extend(live.later.then_some(Step::Later(who)));
                }
                Process::Dying { published, door, ends, .. } => {
                    steps.extend(published.then_some(Step::GiveUpLock(who)));
                    steps.extend(door.is_some().then_some(Step::GiveUpDoor(who)));
                    steps.extend((!ends.is_empty()).then_some(Step::GiveUpEnds(who)));
                }
                Process::Gone { .. } => {}
            }
        }
        steps
    }

    fn take(&self, world: &mut World, step: Step) {
        match step {
            Step::Start(who) => {
                world.processes[who] = Process::Live(Box::new(Live {
                    meeting: Meeting::new(self.advert(who)),
                    published: true,
                    door: VecDeque::new(),
                    ends: BTreeMap::new(),
                    links: BTreeMap::new(),
                    claimed: None,
                    asked: None,
                    later: false,
                    over: false,
                }));
            }
            Step::Kill(who) => world.end(who, false),
            Step::GiveUpLock(who) => {
                if let Process::Dying { published, .. } = &mut world.processes[who] {
                    *published = false;
                }
            }
            Step::GiveUpDoor(who) => {
                let Process::Dying { door, .. } = &mut world.processes[who] else { return };
                door.take().unwrap().into_iter().for_each(|end| world.close(end));
            }
            Step::GiveUpEnds(who) => {
                let Process::Dying { ends, .. } = &mut world.processes[who] else { return };
                std::mem::take(ends).into_iter().for_each(|end| world.close(end));
            }
            Step::Act(who) => {
                let action = world.live(who).meeting.action().unwrap();
                self.act(world, who, action);
            }
            Step::Door(who) => {
                let (from, end) = world.live(who).door.pop_front().unwrap();
                let seen = world.sees(from);
                let live = world.live(who);
                match seen.then(|| live.meeting.knocked(self.advert(from))).flatten() {
                    Some(channel) => drop(live.ends.insert(channel, end)),
                    None => world.close(end),
                }
            }
            Step::Channel(who, channel) => self.hear(world, who, channel),
            Step::Link(who, link) => match world.receive(link) {
                Some(Message::Alive(end)) => {
                    world.send(end, Message::Yes);
                    world.close(end);
                }
                Some(other) => panic!("{other:?} over a link"),
                None => {
                    world.close(link);
                    let live = world.live(who);
                    live.links.remove(&link);
                    if live.over {
                        live.over = false;
                        live.published = true;
                        live.meeting = Meeting::new(self.advert(who));
                    }
                }
            },
            Step::Answer(who) => {
                let end = world.live(who).asked.take().unwrap();
                let answer = world.receive(end);
                world.close(end);
                let live = world.live(who);
                match answer {
                    Some(_) => live.meeting.neighbour_lives(),
                    None => live.meeting.neighbour_gone(),
                }
            }
            Step::Later(who) => {
                world.live(who).later = false;
                self.look(world, who);
            }
        }
        // What only sends to one other commutes with all that others do meanwhile.
        for who in 0..self.parts.len() {
            while let Process::Live(live) = &mut world.processes[who]
                && let Some(action) = live.meeting.action_if(|action| {
                    !matches!(action, Action::Look | Action::Knock(..) | Action::Ask)
                })
            {
                self.act(world, who, action);
            }
        }
        for process in &mut world.processes {
            if let Process::Dying { refused, published: false, door: None, ends } = process
                && ends.is_empty()
            {
                *process = Process::Gone { refused: *refused };
            }
        }
        world.pairs.retain(|_, pair| pair.closed != [true, true]);
        world.renumber();
    }

    fn look(&self, world: &mut World, who: usize) {
        let seen: Vec<_> = (0..self.parts.len())
            .filter(|&other| other != who && world.sees(other))
            .map(|other| self.advert(other))
            .collect();
        world.live(who).meeting.saw(&seen);
    }

    fn act(&self, world: &mut World, who: usize, action: Action) {
        let live = world.live(who);
        match action {
            Action::Look => self.look(world, who),
            Action::LookLater => live.later = true,
            Action::Knock(channel, nonce) => {
                let to = self.nonces.iter().position(|&it| it == nonce).unwrap();
                let end = world.fresh(who);
                match &mut world.processes[to] {
                    Process::Live(other) => other.door.push_back((who, end.other())),
                    Process::Dying { door: Some(door), .. } => door.push(end.other()),
                    _ => return world.live(who).meeting.lost(channel),
                }
                world.pairs.insert(end.pair, Pair::default());
                world.live(who).ends.insert(channel, end);
            }
            Action::Come(channel) => world.tell(who, channel, Message::Come),
            Action::Hello(channel) => world.tell(who, channel, Message::Hello),
            Action::Welcome(channel, claim) => world.tell(who, channel, Message::Welcome(claim)),
            Action::Refuse(channel) => {
                world.tell(who, channel, Message::Refuse);
                world.hang_up(who, channel);
            }
            Action::Close(channel) => world.hang_up(who, channel),
            Action::Ask => {
                let claimed = live.claimed.filter(|link| live.links.contains_key(link));
                let Some(link) = claimed else { return live.meeting.neighbour_gone() };
                let end = world.fresh(who);
                world.live(who).asked = Some(end);
                world.pairs.insert(end.pair, Pair::default());
                world.send(link, Message::Alive(end.other()));
            }
        }
    }

    /// Something happened in a conversation.
    fn hear(&self, world: &mut World, who: usize, channel: Channel) {
        let end = world.live(who).ends[&channel];
        let message = world.receive(end);
        let live = world.live(who);
        match message {
            None => {
                live.meeting.closed(channel);
                world.hang_up(who, channel);
            }
            Some(Message::Come) => assert!(live.meeting.come(channel)),
            Some(Message::Hello) => assert!(live.meeting.hello(channel, Claim::WayBack)),
            Some(Message::Refuse) => world.end(who, true),
            Some(Message::Welcome(claim)) => {
                if world.is_closed(end.other()) {
                    // READY cannot be sent.
                    world.live(who).meeting.closed(channel);
                    return world.hang_up(who, channel);
                }
                let live = world.live(who);
                live.meeting.linked(channel);
                live.ends.remove(&channel);
                live.links.insert(end, claim);
                live.over = true;
                live.published = false;
                world.send(end, Message::Ready);
            }
            Some(Message::Ready) => {
                let claim = live.meeting.claim(channel);
                assert!(live.meeting.ready(channel));
                live.ends.remove(&channel);
                live.links.insert(end, claim);
                if claim > Claim::Forward {
                    live.claimed = Some(end);
                }
            }
            Some(other) => panic!("{other:?} in a conversation"),
        }
    }

    /// Links between live processes, from both sides.
    fn links(&self, world: &World) -> Vec<(usize, usize, Claim)> {
        let of = |who: usize| match &world.processes[who] {
            Process::Live(live) => live.links.clone(),
            _ => BTreeMap::new(),
        };
        let mut all = Vec::new();
        for one in 0..self.parts.len() {
            for (end, claim) in of(one) {
                for other in 0..self.parts.len() {
                    if of(other).contains_key(&end.other()) {
                        all.push((one, other, claim));
                    }
                }
            }
        }
        all
    }

    /// What must hold at every moment.
    fn check_always(&self, world: &World) {
        let makers: BTreeSet<_> = self
            .links(world)
            .into_iter()
            .filter(|&(one, other, _)| self.makes(one, other))
            .map(|(one, _, _)| one)
            .collect();
        assert!(makers.len() <= 1, "two readers have links");
    }

    fn makes(&self, one: usize, other: usize) -> bool {
        match (self.parts[one].role, self.parts[other].role) {
            (Role::Reader, _) => true,
            (Role::Either, Role::Either) => self.nonces[one] < self.nonces[other],
            _ => false,
        }
    }

    /// What must hold when nothing can happen any more.
    fn check_end(&self, world: &World) {
        let is_live = |&who: &usize| matches!(world.processes[who], Process::Live(_));
        let all = || 0..self.parts.len();
        let live: Vec<_> = all().filter(is_live).collect();
        let links = self.links(world);
        for who in all() {
            let started = !matches!(world.processes[who], Process::NotYet);
            let refused = matches!(world.processes[who], Process::Gone { refused: true });
            if started && !self.parts[who].mortal && refused {
                // By one that lives, unless that was killed afterwards.
                let by = |other: usize| self.parts[other].role == self.parts[who].role;
                let survivor = live.iter().any(|&other| by(other));
                let killed = all().any(|other| {
                    by(other)
                        && self.parts[other].mortal
                        && !is_live(&other)
                        && self.parts[who].replaces != Some(other)
                });
                assert!(survivor || killed, "{who} was refused by nobody");
            }
        }
        let count = |role| live.iter().filter(|&&who| self.parts[who].role == role).count();
        if count(R) > 0 {
            assert_eq!(count(R), 1, "two readers");
        }
        let partners = |who: usize| links.iter().filter(|link| link.0 == who).count();
        for &who in &live {
            match self.parts[who].role {
                Role::Writer => assert_eq!(partners(who), count(R), "writer {who} has no link"),
                Role::Reader => assert_eq!(partners(who), count(W)),
                Role::Either => {
                    assert!(count(E) <= 2, "three share a pipe of two");
                    assert_eq!(partners(who), count(E) - 1, "{who} has no link");
                }
            }
        }
        let ways_back = links.iter().filter(|link| link.2 == Claim::WayBack).count();
        if count(R) * count(W) > 0 && self.ways_back_are_certain() {
            assert_eq!(ways_back, 2, "one-way: {links:?}");
        }
    }

    /// A writer that has no way back does not get one when another dies.
    fn ways_back_are_certain(&self) -> bool {
        let first = |part: &&Part| part.role == W && part.replaces.is_none();
        self.parts.iter().filter(first).count() == 1 || !self.parts.iter().any(|p| p.mortal)
    }

    /// Goes through all there is; returns how many states that are.
    fn search(&self) -> usize {
        let processes = vec![Process::NotYet; self.parts.len()];
        let first = World { processes, pairs: BTreeMap::new() };
        let mut seen = HashSet::from([digest(&first)]);
        let mut left = vec![(first, 0, None)];
        let mut path = Vec::new();
        while let Some((world, depth, step)) = left.pop() {
            path.truncate(depth);
            path.push(step);
            let steps = self.steps(&world);
            let check = std::panic::AssertUnwindSafe(|| {
                self.check_always(&world);
                if steps.iter().all(|step| matches!(step, Step::Kill(_))) {
                    self.check_end(&world);
                }
            });
            if let Err(panic) = std::panic::catch_unwind(check) {
                println!("nonces {:?}, steps {path:?}, then {world:?}", self.nonces);
                std::panic::resume_unwind(panic);
            }
            for step in steps {
                let mut after = world.clone();
                self.take(&mut after, step);
                if seen.insert(digest(&after)) {
                    left.push((after, path.len(), Some(step)));
                }
            }
        }
        seen.len()
    }
}

fn digest(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

impl World {
    fn fresh(&self, who: usize) -> End {
        let next = self.pairs.range((who, 0)..(who + 1, 0)).next_back();
        End { pair: (who, next.map_or(0, |(&(_, last), _)| last + 1)), side: 0 }
    }

    /// So that states that differ in numbers only are the same.
    fn renumber(&mut self) {
        let mut new = BTreeMap::new();
        for &(who, number) in self.pairs.keys() {
            let before = new.range((who, 0)..(who + 1, 0)).count() as u64;
            new.insert((who, number), (who, before));
        }
        let name = |end: End| new.get(&end.pair).map(|&pair| End { pair, ..end });
        for process in &mut self.processes {
            match process {
                Process::Live(live) => {
                    live.door.iter_mut().for_each(|(_, end)| *end = name(*end).unwrap());
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
                Process::Dying { door, ends, .. } => {
                    door.iter_mut().flatten().for_each(|end| *end = name(*end).unwrap());
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

    fn live(&mut self, who: usize) -> &mut Live {
        match &mut self.processes[who] {
            Process::Live(live) => live,
            other => panic!("{who} is {other:?}"),
        }
    }

    fn sees(&self, who: usize) -> bool {
        match &self.processes[who] {
            Process::Live(live) => live.published,
            Process::Dying { published, .. } => *published,
            _ => false,
        }
    }

    /// It was killed, or ends because it was refused.
    fn end(&mut self, who: usize, refused: bool) {
        let live = self.live(who);
        let ends = live.ends.values().chain(live.links.keys()).copied().chain(live.asked);
        let dying = Process::Dying {
            refused,
            published: live.published,
            door: Some(live.door.iter().map(|&(_, end)| end).collect()),
            ends: ends.collect(),
        };
        self.processes[who] = dying;
    }

    fn is_closed(&self, end: End) -> bool {
        self.pairs.get(&end.pair).is_none_or(|pair| pair.closed[end.side])
    }

    fn is_ready(&self, end: End) -> bool {
        let waiting = self.pairs.get(&end.pair).is_some_and(|p| !p.queues[end.side].is_empty());
        waiting || self.is_closed(end.other())
    }

    fn receive(&mut self, end: End) -> Option<Message> {
        self.pairs.get_mut(&end.pair)?.queues[end.side].pop_front()
    }

    /// What was sent to nobody is gone, and what was in it closed.
    fn send(&mut self, from: End, message: Message) {
        let to = from.other();
        if !self.is_closed(to) {
            self.pairs.get_mut(&to.pair).unwrap().queues[to.side].push_back(message);
        } else if let Message::Alive(end) = message {
            self.close(end);
        }
    }

    fn close(&mut self, end: End) {
        let Some(pair) = self.pairs.get_mut(&end.pair) else { return };
        pair.closed[end.side] = true;
        for message in std::mem::take(&mut pair.queues[end.side]) {
            if let Message::Alive(end) = message {
                self.close(end);
            }
        }
    }

    fn tell(&mut self, who: usize, channel: Channel, message: Message) {
        // It may have hung up, which will be heard next.
        if let Some(&end) = self.live(who).ends.get(&channel) {
            self.send(end, message);
        }
    }

    fn hang_up(&mut self, who: usize, channel: Channel) {
        if let Some(end) = self.live(who).ends.remove(&channel) {
            self.close(end);
        }
    }
}

/// All orders of the numbers from `first` on.
fn orders(first: u64, count: u64) -> Vec<Vec<u64>> {
    if count == 0 {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for shorter in orders(first + 1, count - 1) {
        for at in 0..count as usize {
            let mut one = shorter.clone();
            one.insert(at, first);
            all.push(one);
        }
    }
    all
}

fn search(parts: &[Part]) {
    let mut states = 0;
    // Who makes and who gives way depends on the order of nonces, but not of writers'.
    let ordered = parts.iter().filter(|part| part.role != W).count() as u64;
    for order in orders(0, ordered) {
        let (mut order, mut writers) = (order.into_iter(), ordered..);
        let nonce = |part: &Part| if part.role == W { writers.next() } else { order.next() };
        let nonces = parts.iter().filter_map(nonce).collect();
        states += Scene { parts: parts.to_vec(), nonces }.search();
    }
    println!("{states} states");
}

#[test]
fn a_reader_and_two_writers() {
    search(&[part(R), part(W), part(W)]);
}

#[test]
fn a_reader_is_killed_and_replaced() {
    search(&[mortal(R), instead_of(0, R), part(W)]);
}

#[test]
fn a_writer_is_killed_and_replaced() {
    search(&[part(R), mortal(W), instead_of(1, W)]);
}

#[test]
fn two_readers_come_at_once() {
    search(&[part(R), part(R), part(W)]);
}

#[test]
fn one_of_two_readers_is_killed() {
    search(&[mortal(R), part(R), part(W)]);
}

#[test]
fn two_without_a_role() {
    search(&[part(E), part(E)]);
    search(&[mortal(E), part(E), instead_of(0, E)]);
}

#[test]
fn three_without_a_role() {
    search(&[part(E), part(E), part(E)]);
}

#[test]
fn four_both_killed_and_replaced() {
    search(&[mortal(R), instead_of(0, R), mortal(W), instead_of(2, W)]);
}

#[test]
fn four_two_readers_killed_one_after_the_other() {
    search(&[mortal(R), Part { mortal: true, ..instead_of(0, R) }, instead_of(1, R), part(W)]);
}

#[test]
fn four_three_writers() {
    search(&[part(R), part(W), part(W), part(W)]);
}

#[test]
fn four_a_writer_beside_others_is_replaced() {
    search(&[part(R), mortal(W), instead_of(1, W), part(W)]);
}

#[test]
fn four_both_without_a_role_are_replaced() {
    search(&[mortal(E), instead_of(0, E), mortal(E), instead_of(2, E)]);
}

//! What can happen in a world, and what has to hold in it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::adverts::Advert;
use super::super::meeting::{Action, Channel, Claim, Meeting};
use super::world::{End, Live, Message, Pair, Process, Step, World};
use super::{E, Part, R, W};
use crate::role::Role;

pub(super) struct Scene {
    pub parts: Vec<Part>,
    /// The nonce of each.
    pub nonces: Vec<u64>,
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
                    if !live.gate.is_empty() && !live.over {
                        steps.push(Step::Gate(who));
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
                Process::Dying { published, gate, ends, .. } => {
                    steps.extend(published.then_some(Step::GiveUpLock(who)));
                    steps.extend(gate.is_some().then_some(Step::GiveUpGate(who)));
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
                    gate: VecDeque::new(),
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
            Step::GiveUpGate(who) => {
                let Process::Dying { gate, .. } = &mut world.processes[who] else { return };
                gate.take().unwrap().into_iter().for_each(|end| world.close(end));
            }
            Step::GiveUpEnds(who) => {
                let Process::Dying { ends, .. } = &mut world.processes[who] else { return };
                std::mem::take(ends).into_iter().for_each(|end| world.close(end));
            }
            Step::Act(who) => {
                let action = world.live(who).meeting.action().unwrap();
                self.act(world, who, action);
            }
            Step::Gate(who) => {
                let (from, end) = world.live(who).gate.pop_front().unwrap();
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
            if let Process::Dying { refused, published: false, gate: None, ends } = process
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
                    Process::Live(other) => other.gate.push_back((who, end.other())),
                    Process::Dying { gate: Some(gate), .. } => gate.push(end.other()),
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
            Some(Message::Refuse) => {
                let is_seated = self.parts[who].role == R && !live.links.is_empty();
                assert!(!is_seated, "reader {who} has links and is refused");
                world.end(who, true);
            }
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
    pub fn search(&self) -> usize {
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

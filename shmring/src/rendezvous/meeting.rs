//! What a holder of a pipe decides: with whom to speak, who makes the rings, whom to
//! turn down. No descriptors, no system calls and no clock, so that `search` can
//! go through every order of messages and deaths with this same text.
//!
//! - Whoever comes publishes itself, then looks for the others, then knocks where it
//!   has business. Who was there before is found; who comes later finds us.
//! - Each thing that we wait for is on the other end of a socket pair: it answers, or
//!   the pair hangs up, however its owner ended.
//! - One reader has the seat. A reader that sees another one's advert asks that one
//!   and waits for the refusal or the death; it makes no ring before.
//! - What only one link of a pipe can have is not refused on the word of a link that
//!   is up: its neighbour may be dying. It is asked first.

mod decide;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::adverts::Advert;
use crate::role::Role;

/// A conversation with one other holder. Numbers are never used again.
pub(super) type Channel = u64;

/// What a link has of its pipe that no other link can have at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Claim {
    /// Nothing: a pipe may have many writers.
    Forward,
    /// The direction against the pipe's.
    WayBack,
    /// The pipe itself, or all of a pipe whose holders have no roles.
    Whole,
}

/// What is to be done. Nothing else happens before that is done and its outcome told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// Look who is there: [`Meeting::saw`].
    Look,
    /// The same, a moment later.
    LookLater,
    /// Knock at a gate and keep the other end of the pair, or [`Meeting::lost`].
    Knock(Channel, u64),
    /// Send COME.
    Come(Channel),
    /// Send HELLO.
    Hello(Channel),
    /// Answer the HELLO with a link that has this claim.
    Welcome(Channel, Claim),
    /// Send REFUSE, as the place is taken, and close.
    Refuse(Channel),
    /// Close.
    Close(Channel),
    /// Ask the neighbour of the link with a claim whether it lives:
    /// [`Meeting::neighbour_lives`] or [`Meeting::neighbour_gone`].
    Ask,
}

/// How far a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    /// We are to make the rings; it has not greeted.
    Open,
    /// It has, and waits for our answer.
    Waiting(Claim),
    /// It was welcomed with this and is not ready.
    Welcomed(Claim),
    /// We are to greet; it does not know yet, and we do not know it.
    Silent,
    /// Both know.
    Known,
    /// We have greeted it.
    Greeted,
    /// Two readers: we ask for the seat.
    Asking,
    /// Two readers: it asks.
    Asked,
}

/// A conversation under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Conversation {
    /// The other's nonce.
    with: u64,
    /// It knocked, not we.
    theirs: bool,
    stage: Stage,
}

/// Conversations at a time. Who opens more than that pushes out those of them that said
/// nothing yet; if we do, the rest has to wait.
const MANY: usize = 64;

/// What we are to somebody.
enum Part {
    Maker,
    Greeter,
    Rival,
}

/// One holder's part in the meeting.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Meeting {
    me: Advert,
    /// A reader may make rings.
    seated: bool,
    /// The pipe carries bytes of ours: greet only when asked to.
    held: bool,
    channels: BTreeMap<Channel, Conversation>,
    /// There are more than we speak with.
    more: bool,
    next: Channel,
    /// The claim of the newest link that has one. That link may be dead.
    taken: Option<Claim>,
    /// We wait for what its neighbour says, on behalf of these.
    asking: Option<BTreeSet<Channel>>,
    todo: VecDeque<Action>,
}

impl Meeting {
    /// For one that has just published itself.
    pub fn new(me: Advert) -> Meeting {
        Meeting {
            me,
            seated: false,
            held: false,
            channels: BTreeMap::new(),
            more: false,
            next: 0,
            taken: None,
            asking: None,
            todo: VecDeque::from([Action::Look]),
        }
    }

    /// For one whose only neighbour is at the other end of a socket that is the pipe:
    /// there is nobody to look for.
    pub fn of_two(me: Advert) -> Meeting {
        Meeting { seated: true, todo: VecDeque::new(), ..Meeting::new(me) }
    }

    /// That neighbour is known.
    pub fn brought(&mut self) -> Channel {
        let maker = self.me.role == Role::Reader;
        let stage = if maker { Stage::Open } else { Stage::Known };
        let channel = self.open(0, true, stage);
        self.serve(&BTreeSet::new());
        channel
    }

    /// The claim with which it was welcomed.
    pub fn claim(&self, channel: Channel) -> Claim {
        match self.stage(channel) {
            Some(Stage::Welcomed(claim)) => claim,
            _ => Claim::Forward,
        }
    }

    /// The next thing to do.
    pub fn action(&mut self) -> Option<Action> {
        self.todo.pop_front()
    }

    /// Those that were to be seen, ourselves apart.
    pub fn saw(&mut self, others: &[Advert]) {
        let mut rivals = false;
        self.more = false;
        for &other in others {
            let Some(part) = self.part(other) else { continue };
            rivals |= matches!(part, Part::Rival);
            let stage = match part {
                Part::Maker => Stage::Open,
                Part::Greeter => Stage::Silent,
                Part::Rival => Stage::Asking,
            };
            // A rival's question to us is no answer to ours.
            let speaks = |it: &Conversation| it.with == other.nonce && it.stage != Stage::Asked;
            if self.channels.values().any(speaks) {
                continue;
            }
            if self.channels.len() >= MANY {
                self.more = true;
                continue;
            }
            let channel = self.open(other.nonce, false, stage);
            self.todo.push_back(Action::Knock(channel, other.nonce));
        }
        self.seated |= self.me.role == Role::Reader && !rivals;
        self.serve(&BTreeSet::new());
    }

    /// Somebody knocked, who is to be seen. `None` when we have no business with him.
    pub fn knocked(&mut self, other: Advert) -> Option<Channel> {
        let stage = match self.part(other)? {
            Part::Maker => Stage::Open,
            Part::Greeter => Stage::Known,
            Part::Rival => Stage::Asked,
        };
        // It begins anew, so it has given up what there was.
        let mut old: Vec<_> = self.at(|it| it.theirs && it.with == other.nonce).collect();
        if self.channels.len() >= MANY && old.is_empty() {
            old.extend(self.at(|it| it.theirs && it.stage == Stage::Open).next());
            if old.is_empty() {
                return None;
            }
        }
        for channel in old {
            self.channels.remove(&channel);
            self.todo.push_back(Action::Close(channel));
        }
        let channel = self.open(other.nonce, true, stage);
        if stage == Stage::Open {
            self.todo.push_back(Action::Come(channel));
        }
        self.serve(&BTreeSet::new());
        Some(channel)
    }

    /// Nobody was behind the gate, or it was full.
    pub fn lost(&mut self, channel: Channel) {
        if self.channels.remove(&channel).is_some_and(|it| it.stage == Stage::Asking) {
            // It is dying. There is no news of that, but it takes no time.
            self.todo.push_back(Action::LookLater);
        }
    }

    /// COME arrived. `false` when that is against the rules, here and below.
    pub fn come(&mut self, channel: Channel) -> bool {
        let right = self.advance(channel, |stage| (stage == Stage::Silent).then_some(Stage::Known));
        self.serve(&BTreeSet::new());
        right
    }

    /// HELLO arrived, from one that would like to have `claim`.
    pub fn hello(&mut self, channel: Channel, claim: Claim) -> bool {
        let claim = if self.me.role == Role::Either { Claim::Whole } else { claim };
        let waiting = Stage::Waiting(claim);
        let right = self.advance(channel, |stage| (stage == Stage::Open).then_some(waiting));
        self.serve(&BTreeSet::new());
        right
    }

    /// READY arrived: a link of ours is up, and the channel became its.
    pub fn ready(&mut self, channel: Channel) -> bool {
        let Some(Conversation { stage: Stage::Welcomed(claim), .. }) = self.channels.get(&channel)
        else {
            return false;
        };
        let claim = *claim;
        self.channels.remove(&channel);
        self.look_for_more();
        if claim > Claim::Forward {
            self.taken = Some(claim);
        }
        self.serve(&BTreeSet::new());
        true
    }

    /// A WELCOME was accepted, and the channel became a link: the only one of a greeter.
    pub fn linked(&mut self, channel: Channel) {
        self.channels.remove(&channel);
        let rest = std::mem::take(&mut self.channels);
        self.todo = rest.into_keys().map(Action::Close).collect();
    }

    /// The other hung up, or broke the rules.
    pub fn closed(&mut self, channel: Channel) {
        match self.channels.remove(&channel).map(|it| it.stage) {
            // We had wanted something of it: who can give that now?
            Some(Stage::Silent | Stage::Known | Stage::Greeted | Stage::Asking) => {
                self.todo.push_back(Action::Look);
            }
            _ => self.look_for_more(),
        }
        self.serve(&BTreeSet::new());
    }

    /// The neighbour of the link with a claim answered.
    pub fn neighbour_lives(&mut self) {
        // Not for those that came since: it may have died meanwhile.
        let told = self.asking.take().unwrap_or_default();
        self.serve(&told);
    }

    /// It will not.
    pub fn neighbour_gone(&mut self) {
        self.asking = None;
        self.taken = None;
        self.serve(&BTreeSet::new());
    }

    /// From now on greet only when asked to.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Whether the caller wants to be asked before we greet.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Whether we have greeted this one and wait for the answer.
    pub fn is_greeted(&self, channel: Channel) -> bool {
        self.stage(channel) == Some(Stage::Greeted)
    }

    /// Whether we are the maker in this conversation.
    pub fn makes(&self, channel: Channel) -> bool {
        use Stage::{Open, Waiting, Welcomed};
        matches!(self.stage(channel), Some(Open | Waiting(_) | Welcomed(_)))
    }

    /// Whether a refusal in this conversation is for us to accept.
    pub fn heeds(&self, channel: Channel) -> bool {
        match self.stage(channel) {
            Some(Stage::Silent | Stage::Known | Stage::Greeted | Stage::Asking) => true,
            Some(Stage::Open) => self.me.role == Role::Either,
            _ => false,
        }
    }

    /// Whether somebody could be greeted.
    pub fn is_wanted(&self) -> bool {
        self.held && self.any(|stage| stage == Stage::Known)
    }

    /// Whether somebody was greeted and has not answered.
    pub fn is_greeting(&self) -> bool {
        self.any(|stage| stage == Stage::Greeted)
    }

    /// Greets whom there is to greet.
    pub fn greet(&mut self) {
        let held = std::mem::replace(&mut self.held, false);
        self.serve(&BTreeSet::new());
        self.held = held;
    }

    /// Those that were greeted and do not answer are closed, and sought again.
    pub fn give_up(&mut self) {
        let greeted: Vec<_> = self.at(|it| it.stage == Stage::Greeted).collect();
        for channel in greeted {
            self.channels.remove(&channel);
            self.todo.push_back(Action::Close(channel));
        }
        self.todo.push_back(Action::LookLater);
    }

    /// Welcomed ones that are in the way of others.
    pub fn promised(&self) -> Option<Channel> {
        let waits = self.any(|stage| matches!(stage, Stage::Waiting(_)));
        let is_promise =
            |it: &Conversation| matches!(it.stage, Stage::Welcomed(it) if it > Claim::Forward);
        self.at(is_promise).min().filter(|_| waits)
    }

    fn at(&self, is: impl Fn(&Conversation) -> bool) -> impl Iterator<Item = Channel> {
        self.channels.iter().filter(move |(_, talk)| is(talk)).map(|(&at, _)| at)
    }

    fn any(&self, is: impl Fn(Stage) -> bool) -> bool {
        self.channels.values().any(|talk| is(talk.stage))
    }

    fn stage(&self, channel: Channel) -> Option<Stage> {
        self.channels.get(&channel).map(|talk| talk.stage)
    }

    fn look_for_more(&mut self) {
        if std::mem::take(&mut self.more) {
            self.todo.push_back(Action::Look);
        }
    }

    fn part(&self, other: Advert) -> Option<Part> {
        Some(match (self.me.role, other.role) {
            (Role::Reader, Role::Reader) => Part::Rival,
            (Role::Writer, Role::Writer) => return None,
            (Role::Reader, _) | (Role::Either, Role::Writer) => Part::Maker,
            (Role::Writer, _) | (Role::Either, Role::Reader) => Part::Greeter,
            (Role::Either, Role::Either) if self.me.nonce < other.nonce => Part::Maker,
            (Role::Either, Role::Either) => Part::Greeter,
        })
    }

    fn open(&mut self, with: u64, theirs: bool, stage: Stage) -> Channel {
        let channel = self.next;
        self.next += 1;
        self.channels.insert(channel, Conversation { with, theirs, stage });
        channel
    }

    fn advance(&mut self, channel: Channel, to: impl Fn(Stage) -> Option<Stage>) -> bool {
        let Some(talk) = self.channels.get_mut(&channel) else { return false };
        let Some(next) = to(talk.stage) else { return false };
        talk.stage = next;
        true
    }
}

#[cfg(test)]
impl Meeting {
    /// The next thing to do, if it is of that kind.
    pub fn action_if(&mut self, is: impl Fn(&mut Action) -> bool) -> Option<Action> {
        self.todo.pop_front_if(is)
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.todo.is_empty()
    }

    /// Gives channels the lowest numbers, in the order that they have: states that
    /// differ in nothing else are the same. Returns the new number of each.
    pub fn renumber(&mut self) -> BTreeMap<Channel, Channel> {
        let new: BTreeMap<_, _> = (0..).zip(self.channels.keys()).map(|(n, &at)| (at, n)).collect();
        let old = std::mem::take(&mut self.channels);
        self.channels = old.into_iter().map(|(at, value)| (new[&at], value)).collect();
        let told = self.asking.take();
        self.asking = told.map(|told| told.iter().filter_map(|at| new.get(at).copied()).collect());
        self.next = self.channels.len() as u64;
        new
    }
}

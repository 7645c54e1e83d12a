//! Who is answered now, and how; who has to wait.

use std::collections::BTreeSet;

use super::{Action, Channel, Claim, Conversation, Meeting, Stage};
use crate::role::Role;

impl Meeting {
    /// Deals with all that can be dealt with. For those in `told`, the neighbour of the
    /// link with a claim is known to live.
    pub(super) fn serve(&mut self, told: &BTreeSet<Channel>) {
        let all: Vec<_> = self.channels.keys().copied().collect();
        for channel in all {
            let Some(&Conversation { with, stage, .. }) = self.channels.get(&channel) else {
                continue;
            };
            let lives = told.contains(&channel);
            match stage {
                Stage::Waiting(claim) => self.decide(channel, claim, lives),
                Stage::Known => self.approach(channel, with, lives),
                // Of two that came at the same time, the lower one stays.
                Stage::Asked if self.seated || self.me.nonce < with => self.refuse(channel),
                _ => {}
            }
        }
    }

    /// Answers a HELLO, if that can be done now.
    fn decide(&mut self, channel: Channel, claim: Claim, lives: bool) {
        // One without a role becomes a maker when it is sure not to become a greeter.
        let undecided = |stage| matches!(stage, Stage::Silent | Stage::Known | Stage::Greeted);
        let may_make = match self.me.role {
            Role::Reader => self.seated,
            _ => self.taken.is_some() || !self.any(undecided),
        };
        if !may_make {
            return;
        }
        if self.any(|stage| matches!(stage, Stage::Welcomed(it) if clash(it, claim))) {
            return; // it will be ready, or gone
        }
        match self.taken {
            Some(taken) if clash(taken, claim) && !lives => self.ask(),
            Some(taken) if clash(taken, claim) && taken.max(claim) == Claim::Whole => {
                self.refuse(channel);
            }
            Some(taken) if clash(taken, claim) => self.welcome(channel, Claim::Forward),
            _ => self.welcome(channel, claim),
        }
    }

    /// Greets one that is to be greeted, if that can be done now.
    fn approach(&mut self, channel: Channel, with: u64, lives: bool) {
        if self.me.role == Role::Either {
            // All or nothing: one that has a neighbour wants no other.
            if self.any(|stage| matches!(stage, Stage::Welcomed(_))) {
                return;
            }
            match self.taken {
                Some(_) if lives => return self.refuse(channel),
                Some(_) => return self.ask(),
                None => {}
            }
        }
        let greeted = |it: &Conversation| it.with == with && it.stage == Stage::Greeted;
        if !self.held && !self.channels.values().any(greeted) {
            self.advance(channel, |_| Some(Stage::Greeted));
            self.todo.push_back(Action::Hello(channel));
        }
    }

    fn ask(&mut self) {
        if self.asking.is_none() {
            let wait = |it: &Conversation| matches!(it.stage, Stage::Waiting(_) | Stage::Known);
            self.asking = Some(self.at(wait).collect());
            self.todo.push_back(Action::Ask);
        }
    }

    fn welcome(&mut self, channel: Channel, claim: Claim) {
        self.advance(channel, |_| Some(Stage::Welcomed(claim)));
        self.todo.push_back(Action::Welcome(channel, claim));
    }

    fn refuse(&mut self, channel: Channel) {
        self.channels.remove(&channel);
        self.todo.push_back(Action::Refuse(channel));
    }
}

/// Whether two links of a pipe cannot have these.
fn clash(one: Claim, other: Claim) -> bool {
    one.max(other) == Claim::Whole || one.min(other) == Claim::WayBack
}

//! Holders of the pipe with whom there can be no link: of another user, or out of reach.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::adverts::Advert;
use super::clock::{Alarm, REACH};
use super::{Event, Rendezvous};
use crate::error::LinkError;
use crate::handshake::Knock;
use crate::holders;

#[derive(Default)]
pub(super) struct Strangers {
    /// Whose gates we could not find, and since when.
    out_of_reach: BTreeMap<u64, Instant>,
    /// Of whom it was said already.
    told: BTreeSet<u64>,
}

impl Strangers {
    /// Nobody was at that gate. It may be one that is ending.
    pub fn out_of_reach(&mut self, nonce: u64) {
        if !self.told.contains(&nonce) {
            self.out_of_reach.entry(nonce).or_insert_with(Instant::now);
        }
    }

    /// Forgets all but those who are still there.
    pub fn only(&mut self, others: &[Advert]) {
        let there = |nonce: &u64| others.iter().any(|other| other.nonce == *nonce);
        self.out_of_reach.retain(|nonce, _| there(nonce));
        self.told.retain(there);
    }

    /// When the first of them counts as out of reach.
    pub fn due(&self) -> Option<Instant> {
        self.out_of_reach.values().min().map(|since| *since + REACH)
    }
}

impl Rendezvous {
    /// One of another user knocked, or turned us away.
    pub(super) fn on_stranger(
        &mut self,
        knock: Knock,
        sender: libc::ucred,
    ) -> Result<(), LinkError> {
        let Some(post) = self.common.end.post() else { return Ok(()) };
        let other = Advert { nonce: knock.nonce, role: knock.role };
        // Anybody may knock; only who holds the pipe is of interest.
        if !post.sees(other) || !self.strangers.told.insert(knock.nonce) {
            return Ok(());
        }
        if !knock.turned_away {
            // It has something to tell its user, too. If not, it will see for itself.
            let _ = post.knock(knock.nonce, self.common.end.role(), &self.common.dir, None);
        }
        let what = self.common.end.what().to_owned();
        let pid = sender.pid.unsigned_abs();
        let who = format!("{} of {}", holders::name(pid), holders::user(sender.uid));
        self.trouble(LinkError::OtherUser { what, who })
    }

    /// Some that are still there have been out of reach for long enough.
    pub(super) fn complain_of_reach(&mut self) -> Result<(), LinkError> {
        let Some(post) = self.common.end.post() else { return Ok(()) };
        let others = post.others().map_err(|e| self.common.system("fcntl(F_OFD_GETLK)", e))?;
        self.strangers.only(&others);
        let overdue = self.strangers.out_of_reach.iter().find(|(_, since)| since.elapsed() > REACH);
        let overdue = overdue.map(|(&nonce, _)| nonce);
        if let Some(nonce) = overdue {
            self.strangers.out_of_reach.remove(&nonce);
            self.strangers.told.insert(nonce);
        }
        self.clock.set(Alarm::Reach, self.strangers.due());
        let Some(other) = others.into_iter().find(|other| Some(other.nonce) == overdue) else {
            return Ok(());
        };
        let what = self.common.end.what().to_owned();
        // By its own account, which is right if it is in our pid namespace.
        let holders = holders::holders(self.common.end.id());
        let is_known = holders.found.iter().any(|holder| holder.pid == other.pid());
        let who = holders::name(if is_known { other.pid() } else { 0 });
        self.trouble(LinkError::OutOfReach { what, who })
    }

    /// A `|` has nobody else to hope for; at a FIFO another one may come.
    fn trouble(&mut self, error: LinkError) -> Result<(), LinkError> {
        if self.common.end.is_anonymous() {
            return Err(error);
        }
        self.common.events.push_back(Event::Trouble(error));
        Ok(())
    }
}

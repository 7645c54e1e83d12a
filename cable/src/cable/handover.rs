//! The links of cables go to another process, or come from one.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shmring::handover::{Giving, Handed, Outcome};
use shmring::{Aside, Channel, Link, PipeEnd, Rendezvous, Role, RuntimeDir, Rx, Tx};

use super::{Cable, CablePlan, Parts, rendezvous};
use crate::half::{Joined, Receiver};
use crate::notice::Notice;
use crate::outlet::Outlet;
use crate::shown::Shown;

impl Cable {
    /// As [`Cable::new`], but with links that another process had on this pipe.
    ///
    /// Another neighbour is looked for when they have ended; by the reader of a FIFO,
    /// which may have several, at once.
    ///
    /// # Errors
    /// Those of [`Cable::new`].
    pub fn adopt(plan: CablePlan, links: Vec<Handed>, dir: &RuntimeDir) -> Result<Cable> {
        if links.is_empty() {
            return Cable::new(plan, dir);
        }
        let CablePlan { end, offer, vital, expects_both_ways, fallback } = plan;
        let Outlet::Pipe(end) = end else { bail!("{}: a link for what is no pipe", end.what()) };
        let what = end.what().to_owned();
        let mut notice = Notice::new(&end, &offer.label, expects_both_ways);
        let shown = Shown::new(&end, &offer.label)?;
        let mut plugged = None;
        let mut first = Vec::new();
        for handed in links {
            handed.identify(&offer.label);
            notice.joined(&handed.link);
            plugged = handed.link.tx.is_some().then_some(handed.link.features).or(plugged);
            first.push(Joined::link(handed.link));
        }
        let (mut met, mut resting) = (None, None);
        match may_have_more(vital, &end) {
            true => met = Some(rendezvous(end, dir, &offer)?),
            false => resting = Some(end),
        }
        Ok(Cable {
            rendezvous: met,
            resting,
            fallback,
            plugged,
            ..Cable::ready(Parts { offer, vital, what }, notice, shown, first)
        })
    }

    /// The pipe, if it is one.
    pub fn pipe(&self) -> Option<&PipeEnd> {
        self.rendezvous.as_ref().map(Rendezvous::end).or(self.resting.as_ref())
    }

    /// Whether its links can go to another process now.
    ///
    /// # Errors
    /// A line for the user: why not.
    pub fn can_lend(&mut self) -> Result<(), String> {
        let what = self.what().to_owned();
        if self.pipe().is_none() {
            return Err(format!("{what}: it is no pipe, and what is joined there stays"));
        }
        for (_, joined) in &mut self.links {
            // What has been read to its end is none any more.
            let is_rest = |rx: &mut Receiver| rx.has_next() && (rx.has_frame(), rx.has_next()).1;
            if joined.held.is_some() || joined.rx.as_mut().is_some_and(is_rest) {
                return Err(format!("{what}: another change is under way there: try again"));
            }
            let is_capture = |rx: &Receiver| rx.as_stream().is_some();
            if joined.agreed.is_none() || joined.rx.as_ref().is_some_and(is_capture) {
                return Err(format!(
                    "{what}: its frames go as a capture to or from a program that knows of no \
                     rings, and cannot be moved"
                ));
            }
            if joined.tx.as_ref().is_some_and(|tx| tx.stream::<Aside>().is_some()) {
                return Err(format!(
                    "{what}: its frames cross a veth pair (--channel veth), which stays where it \
                     is: it takes rings"
                ));
            }
            if matches!(joined.tx, Some(Tx::Stream(_))) {
                return Err(format!(
                    "{what}: its frames go through the pipe itself (--channel fifo), and what is \
                     under way there cannot be moved: it takes rings"
                ));
            }
        }
        Ok(())
    }

    /// Takes its links out and stops to look for others.
    pub(super) fn lend(&mut self) -> Vec<Handed> {
        if let Some(rendezvous) = self.rendezvous.take() {
            self.resting = Some(rendezvous.into_end());
        }
        self.look_at = None;
        let pipe = self.pipe().map_or((0, 0), PipeEnd::id);
        let mut handed = Vec::new();
        self.links.retain_mut(|(serial, joined)| {
            if joined.agreed.is_none() {
                return true;
            }
            let rx = match joined.rx.take().map(Receiver::into_only).transpose() {
                Ok(rx) => rx,
                Err(rx) => {
                    joined.rx = Some(*rx);
                    return true;
                }
            };
            let Some((peer, features)) = joined.agreed.take() else { return true };
            let max_frame = match (&joined.tx, &rx) {
                (Some(tx), _) => tx.max_frame(),
                (_, Some(Rx::Ring(rx))) => rx.max_frame(),
                _ => 0,
            };
            let (tx, channel) = (joined.tx.take(), Channel::Shm);
            self.lent.push(*serial);
            handed.push(Handed {
                link: Link { tx, rx, peer, channel, features, max_frame, aside: None },
                pipe,
            });
            false
        });
        handed
    }

    /// They came back.
    pub(super) fn get_back(&mut self, links: &mut impl Iterator<Item = Handed>) {
        for serial in std::mem::take(&mut self.lent) {
            self.links.extend(links.next().map(|handed| (serial, Joined::link(handed.link))));
        }
        self.ended = true; // so that it is looked for others
    }
}

/// Whether others may come while there is a link.
pub(super) fn may_have_more(vital: bool, end: &PipeEnd) -> bool {
    !vital && end.role() == Role::Reader
}

/// Gives the links of all cables to the process at the other end of `socket`, all or
/// none, and waits for it as long as `patience`. Returns the socket.
///
/// # Errors
/// A line for the user: they stay here, and why.
pub fn give<'a>(
    cables: impl Iterator<Item = &'a mut Cable>,
    socket: OwnedFd,
    patience: Duration,
) -> Result<OwnedFd, String> {
    let mut cables: Vec<_> = cables.collect();
    cables.iter_mut().try_for_each(|cable| cable.can_lend())?;
    let links = cables.iter_mut().flat_map(|cable| cable.lend()).collect();
    match settle(Giving::start(socket, links), Instant::now() + patience) {
        Outcome::Taken(socket) => Ok(socket),
        Outcome::Back(links, why) => {
            let mut links = links.into_iter();
            cables.into_iter().for_each(|cable| cable.get_back(&mut links));
            Err(why)
        }
    }
}

pub(super) fn settle(giving: Result<Giving, Outcome>, until: Instant) -> Outcome {
    let mut giving = match giving {
        Ok(giving) => giving,
        Err(outcome) => return outcome,
    };
    loop {
        giving = match giving.poll() {
            Ok(outcome) => return outcome,
            Err(giving) => giving,
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return giving.withdraw("it does not answer");
        }
        let left = Timespec::try_from(left).ok();
        let _ = poll(&mut [PollFd::new(&giving, PollFlags::IN)], left.as_ref());
    }
}

//! One pipe of a device: the search for a neighbour on it.

use std::time::Instant;

use shmring::{Event, Link, LinkError, Offer, PipeEnd, Rendezvous, Role, RuntimeDir, Rx, Tx};

use crate::say::say;

pub(crate) struct Cable {
    offer: Offer,
    search: Search,
    /// When to do without an aware neighbour.
    pub deadline: Option<Instant>,
    /// There was a link once.
    was_up: bool,
    /// Tokens of the links that came of it, as far as they live.
    pub links: Vec<u64>,
}

#[expect(clippy::large_enum_variant, reason = "one a cable, and there are two")]
enum Search {
    On(Rendezvous),
    /// Frames cross the pipe itself; kept so that it stays open.
    Bare(#[expect(dead_code, reason = "kept open")] PipeEnd),
    Over,
}

/// What a look at a cable came to.
pub(crate) enum Found {
    Link(Link),
    /// The neighbour is not aware; frames cross the pipe itself.
    Bare(Option<Tx>, Option<Rx>),
    Nothing,
}

impl Cable {
    pub fn new(
        end: PipeEnd,
        dir: &RuntimeDir,
        offer: Offer,
        deadline: Option<Instant>,
    ) -> Result<Cable, LinkError> {
        let rendezvous = Rendezvous::new(end, dir, offer.clone())?;
        Ok(Cable {
            offer,
            search: Search::On(rendezvous),
            deadline,
            was_up: false,
            links: Vec::new(),
        })
    }

    pub fn rendezvous(&self) -> Option<&Rendezvous> {
        match &self.search {
            Search::On(rendezvous) => Some(rendezvous),
            _ => None,
        }
    }

    /// Something happened, or the deadline may have passed.
    pub fn look(&mut self, name: &str) -> Found {
        let Search::On(rendezvous) = &mut self.search else { return Found::Nothing };
        match rendezvous.poll() {
            Ok(Some(Event::Trouble(error))) => {
                say(name, error);
                self.look(name)
            }
            Ok(Some(Event::Link(link))) => {
                self.deadline = None;
                self.was_up = true;
                Found::Link(link)
            }
            Ok(_) if self.deadline.is_some_and(|at| Instant::now() >= at) => self.go_bare(name),
            Ok(_) => Found::Nothing,
            Err(LinkError::UnawareNeighbour { .. }) if !self.offer.duplex => self.go_bare(name),
            Err(error) => {
                // That a pipe's neighbour ended is an error only before it was one.
                if !(self.was_up && matches!(error, LinkError::NeighbourGone { .. })) {
                    say(name, error);
                }
                self.search = Search::Over;
                self.deadline = None;
                Found::Nothing
            }
        }
    }

    /// The length-framed pipe, for a neighbour that knows nothing of rings.
    fn go_bare(&mut self, name: &str) -> Found {
        self.deadline = None;
        let Search::On(rendezvous) = std::mem::replace(&mut self.search, Search::Over) else {
            return Found::Nothing;
        };
        let end = rendezvous.into_end();
        let made = match end.role() {
            Role::Reader => Rx::bare(&end, self.offer.max_frame).map(|rx| (None, Some(rx))),
            _ => Tx::bare(&end, self.offer.max_frame).map(|tx| (Some(tx), None)),
        };
        match made {
            Ok((tx, rx)) => {
                say(
                    name,
                    format_args!("no aware neighbour on {}: frames cross the pipe", end.what()),
                );
                self.search = Search::Bare(end);
                Found::Bare(tx, rx)
            }
            Err(error) => {
                say(name, format_args!("{}: {error}", end.what()));
                Found::Nothing
            }
        }
    }

    /// Looks for another neighbour where the last one is gone; `true` when
    /// there is a new rendezvous to watch.
    pub fn renew(&mut self, name: &str, dir: &RuntimeDir) -> bool {
        if !self.links.is_empty() || !self.rendezvous().is_some_and(Rendezvous::is_over) {
            return false;
        }
        let Search::On(old) = std::mem::replace(&mut self.search, Search::Over) else {
            return false;
        };
        match Rendezvous::new(old.into_end(), dir, self.offer.clone()) {
            Ok(rendezvous) => {
                self.search = Search::On(rendezvous);
                true
            }
            Err(error) => {
                say(name, error);
                false
            }
        }
    }
}

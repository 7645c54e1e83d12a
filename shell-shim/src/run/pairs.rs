//! `--channel veth`: neighbours on a `|` that both want it are joined by a veth pair.
//!
//! A pair needs both network namespaces, and whoever makes it rights in both. So a function
//! waits for its neighbours before it has a namespace, and gets one after the neighbour on its
//! standard input has: where a user namespace is needed, it enters that one's. Then it makes the
//! pair. The two speak over the socket that came with their link (`shmring::Link::aside`):
//!
//! | from | message | |
//! |---|---|---|
//! | the left one | `net NAME` | its network namespace and its user namespace, and what its end is called |
//! | the right one | `made` | the pair is there |
//! | each | `ready` | whoever sends by it gets an answer ([`Veth`]) |
//!
//! Before `net` the left one says `waits PIPE`, with what is its standard input, and passes on what
//! those before it say. Whoever hears of its own stands in a circle, where nobody would begin.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Error, Result, anyhow, ensure};
use cable::{Cable, CablePlan, Switch};
use edges::tap::check_name;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;
use shmring::{Channel, LinkError, PipeEnd, Role, RuntimeDir};

use super::demand::{self, Until};
use super::plan::Plug;
use crate::door::socket;
use crate::stack::netlink;
use crate::stack::network::Interface;
use crate::stack::veth::Veth;
use crate::told;

/// After so many milliseconds whoever waits says for whom.
const PATIENCE: u16 = 3000;
const MADE: &[u8] = b"made";
/// Before the name of an interface.
const NET: &str = "net ";
/// Before the identity of a pipe.
const WAITS: &str = "waits ";

/// Whether a veth pair is wished for on any of these.
pub fn are_wished(plugs: &[Plug]) -> bool {
    plugs.iter().flat_map(Plug::cables).any(wishes)
}

fn wishes(plan: &CablePlan) -> bool {
    plan.offer.channel == Channel::Aside
}

/// The cables of interfaces that wish for a pair, once each has a neighbour; of other
/// interfaces none. `Err` is the end without one: the exit status.
///
/// # Errors
/// One line that names the link.
pub fn meet(
    plugs: &mut [Plug],
    dir: &RuntimeDir,
    switch: &mut Switch,
    command: &[String],
) -> Result<Result<Vec<Vec<Cable>>, u8>> {
    let cables = |plug: &mut Plug| match plug {
        Plug::Cables(plans) if plans.iter().any(wishes) => {
            std::mem::take(plans).into_iter().map(|plan| Cable::new(plan, dir)).collect()
        }
        _ => Ok(Vec::new()),
    };
    let mut cables: Vec<Vec<Cable>> = plugs.iter_mut().map(cables).collect::<Result<_>>()?;
    let over = demand::sleep(&mut cables, switch, Until::Neighbours);
    match (over, command) {
        (Ok(None), _) => Ok(Ok(cables)),
        (Ok(Some(0)), [program, ..]) => {
            told::say_of_neighbour(format_args!(
                "the neighbour ended before {program} could start"
            ));
            Ok(Err(crate::FAILED))
        }
        (Ok(Some(status)), _) => Ok(Err(status)),
        // Before the other neighbours lose their links.
        (Err(error), _) => {
            told::mark();
            Err(error)
        }
    }
}

/// The pairs of a function that are to be made.
pub struct Pairs(Vec<Pair>);

struct Pair {
    /// Of which interface.
    at: usize,
    aside: OwnedFd,
    /// The pipe, for people...
    what: String,
    /// ...and what it is called in a message.
    waits: String,
    /// Whether the neighbour is on standard input, and this side makes the pair...
    makes: bool,
    /// ...to there, with that name for the neighbour's end.
    there: Option<(OwnedFd, String)>,
}

impl Pairs {
    /// Of those neighbours of each interface who wish for one, too.
    pub fn of(cables: &mut [Vec<Cable>]) -> Pairs {
        let all = cables.iter_mut().enumerate();
        let all = all.flat_map(|(at, cables)| cables.iter_mut().map(move |cable| (at, cable)));
        let pair = |(at, cable): (usize, &mut Cable)| {
            let Some(aside) = cable.take_aside() else {
                cable.keep_to_rings();
                return None;
            };
            let pipe = cable.pipe();
            let makes = pipe.is_some_and(|pipe| pipe.role() == Role::Reader);
            let (device, inode) = pipe.map(PipeEnd::id).unwrap_or_default();
            let (what, waits) = (cable.what().to_owned(), format!("{WAITS}{device}:{inode}"));
            Some(Pair { at, aside, what, waits, makes, there: None })
        };
        Pairs(all.filter_map(pair).collect())
    }

    /// Waits until the neighbour on standard input has its namespaces: in which user
    /// namespace it is.
    ///
    /// # Errors
    /// One line: it is gone, or says something else, or the functions stand in a circle.
    pub fn hear(&mut self) -> Result<Option<OwnedFd>> {
        let mut user = None;
        let (before, after): (Vec<_>, Vec<_>) = self.0.iter_mut().partition(|pair| pair.makes);
        let tell = |text: &str| {
            for pair in &after {
                // One that is gone is heard of later.
                let _ = socket::send(&pair.aside, text.as_bytes(), &[]);
            }
        };
        for pair in before {
            tell(&pair.waits);
            let mut bytes = [0; 64];
            let (text, fds) = loop {
                let (len, fds) = pair.receive(&mut bytes)?;
                let text = str::from_utf8(&bytes[..len]).unwrap_or_default();
                if !text.starts_with(WAITS) {
                    break (text, fds);
                }
                ensure!(
                    text != pair.waits,
                    "{}: the functions stand in a circle, where each waits for the one before it: \
                     leave out --channel veth",
                    pair.what
                );
                // Only one of a circle says so.
                if *text > *pair.waits {
                    tell(text);
                }
            };
            let name = text.strip_prefix(NET);
            let (Some(name), Ok([network, of_user])) = (name, <[OwnedFd; 2]>::try_from(fds)) else {
                return Err(pair.nonsense());
            };
            check_name(name).with_context(|| pair.what.clone())?;
            pair.there = Some((network, name.to_owned()));
            user = Some(of_user);
        }
        Ok(user)
    }

    /// Makes them, between the namespaces of the neighbours and the one where this process is.
    ///
    /// # Errors
    /// One line: the kernel refuses, or a neighbour is gone.
    pub fn make(&mut self, interfaces: &[Interface]) -> Result<HashMap<usize, Veth>> {
        for pair in &mut self.0 {
            let name = &interfaces[pair.at].name;
            check_name(name)?;
            let said = match pair.there.take() {
                Some((there, peer)) => {
                    let made = netlink::add_veth(name, &peer, there.as_fd());
                    made.with_context(|| {
                        format!(
                            "interface {name}: start both functions from one shell, or leave out \
                             --channel veth"
                        )
                    })?;
                    socket::send(&pair.aside, MADE, &[])
                }
                None => {
                    let open = |which| File::open(format!("/proc/self/ns/{which}"));
                    let own = [open("net")?, open("user")?];
                    let message = format!("{NET}{name}");
                    socket::send(&pair.aside, message.as_bytes(), &own.each_ref().map(AsFd::as_fd))
                }
            };
            // One that is gone by now is heard of below, or by its link.
            said.or_else(|errno| if errno == Errno::PIPE { Ok(()) } else { Err(errno) })?;
        }
        for pair in self.0.iter().filter(|pair| !pair.makes) {
            let mut bytes = [0; MADE.len() + 1];
            let (len, _) = pair.receive(&mut bytes)?;
            let is_there = if_nametoindex(interfaces[pair.at].name.as_str()).is_ok();
            if bytes[..len] != *MADE || !is_there {
                return Err(pair.nonsense());
            }
        }
        let made = self.0.drain(..);
        made.map(|it| Ok((it.at, Veth::new(&interfaces[it.at].name, it.aside)?))).collect()
    }
}

impl Pair {
    /// The neighbour's next message.
    fn receive(&self, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
        let mut timeout = PollTimeout::from(PATIENCE);
        loop {
            match poll(&mut [PollFd::new(self.aside.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => {
                    timeout = PollTimeout::NONE;
                    say::note!(
                        "{}: the neighbour there has no network yet: it is waited for",
                        self.what
                    );
                }
                Ok(_) => break,
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("poll"),
            }
        }
        match socket::receive(&self.aside, bytes) {
            Ok((0, _)) | Err(Errno::CONNRESET) => {
                Err(LinkError::NeighbourGone { what: self.what.clone() }.into())
            }
            Ok(message) => Ok(message),
            Err(_) => Err(self.nonsense()),
        }
    }

    fn nonsense(&self) -> Error {
        anyhow!(
            "{}: the neighbour says nothing that leads to a veth pair: leave out --channel veth",
            self.what
        )
    }
}

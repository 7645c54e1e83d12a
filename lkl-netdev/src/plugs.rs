//! The cables of a device.
//!
//! The halves of their links are with the two directions while frames flow. They come
//! back here for as long as something happens to their cable, so that nobody in kernel
//! context ever waits for it: until they are there again, it finds nothing and no room.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, Result};
use cable::{Cable, CablePlan, Fallback, Half, Wake};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use shmring::handover::Handed;
use shmring::{Offer, PipeEnd, RuntimeDir};

use crate::config::Config;
use crate::control::Control;
use crate::heir::{self, Heard, Heir};
use crate::ifname::Ends;
use crate::say::say;
use crate::sides::{Sides, lock};

/// What an event is about.
enum Source {
    Control,
    Heir,
    Rendezvous { cable: usize },
    Link { cable: usize, half: Half, serial: u32 },
}

impl Source {
    fn token(self) -> u64 {
        let (kind, cable, low) = match self {
            Source::Control => (0, 0, 0),
            Source::Rendezvous { cable } => (1, cable, 0),
            Source::Link { cable, half: Half::Tx, serial } => (2, cable, serial),
            Source::Link { cable, half: Half::Rx, serial } => (3, cable, serial),
            Source::Heir => (4, 0, 0),
        };
        kind << 56 | (cable as u64) << 32 | u64::from(low)
    }

    fn of(token: u64) -> Source {
        let (cable, serial) = ((token >> 32) as usize & 0xff, token as u32);
        match token >> 56 {
            0 => Source::Control,
            1 => Source::Rendezvous { cable },
            2 => Source::Link { cable, half: Half::Tx, serial },
            4 => Source::Heir,
            _ => Source::Link { cable, half: Half::Rx, serial },
        }
    }
}

/// The cables, and all that the device waits for.
pub(crate) struct Plugs {
    /// For people.
    name: String,
    epoll: OwnedFd,
    cables: Vec<Cable>,
    /// Where this process takes another function's place.
    heir: Option<&'static Heir>,
    /// Cables to come, with the links of that one.
    to_come: Vec<CablePlan>,
    dir: RuntimeDir,
    /// Features that a neighbour should have, until one was found without.
    features: u64,
    /// Whether links may have ended.
    look: bool,
}

impl Plugs {
    /// Starts to look for neighbours.
    pub fn new(
        name: &str,
        control: &Control,
        ends: Ends,
        offload: u32,
        config: Config,
    ) -> Result<Plugs> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll_create1")?;
        let label = if config.label.is_empty() { name.to_owned() } else { config.label };
        let duplex = matches!(ends, Ends::Both(_));
        let features = frames::FEATURES & u64::from(offload);
        let offer = Offer {
            label,
            duplex,
            channel: config.channel,
            capacity: config.ring,
            max_frame: frames::MAX_FRAME,
            features,
        };
        let ends = match ends {
            Ends::Each { rx, tx } => vec![rx, tx],
            Ends::Both(end) => vec![end],
        };
        let mut plugs = Plugs {
            name: name.to_owned(),
            epoll,
            cables: Vec::new(),
            heir: config.heir.map(heir::of).transpose()?,
            to_come: ends.into_iter().map(|end| plan(end, offer.clone())).collect(),
            dir: RuntimeDir::for_user()?,
            features,
            look: false,
        };
        watch(&plugs.epoll, control.as_fd(), Source::Control, EventFlags::IN)?;
        match plugs.heir {
            Some(heir) => watch(&plugs.epoll, heir.as_fd(), Source::Heir, EventFlags::IN)?,
            None => plugs.begin(Vec::new())?,
        }
        Ok(plugs)
    }

    /// Makes the cables, with the links that there are on their pipes. The kernel was told what the
    /// device can do before anybody knew of these: one that was not told of a kind of unfinished
    /// frames takes them all the same, since virtio_net goes by each frame's header.
    fn begin(&mut self, links: Vec<Handed>) -> Result<()> {
        let mut links = links;
        for plan in std::mem::take(&mut self.to_come) {
            let its = |link: &Handed| Some(link.pipe) == plan.end.pipe().map(PipeEnd::id);
            let (its, others) = links.into_iter().partition(its);
            links = others;
            self.cables.push(Cable::adopt(plan, its, &self.dir)?);
            self.watch_rendezvous(self.cables.len() - 1)?;
        }
        Ok(())
    }

    /// Something is heard of the links of another function.
    fn inherit(&mut self) -> Result<()> {
        let Some(heir) = self.heir else { return Ok(()) };
        let pipes = self.to_come.iter().filter_map(|plan| plan.end.pipe()).map(PipeEnd::id);
        let heard = heir.links(&pipes.collect::<Vec<_>>());
        if !matches!(heard, Heard::NotYet) {
            epoll::delete(&self.epoll, heir.as_fd()).context("epoll_ctl")?;
        }
        if let Heard::Links(links) = heard {
            self.begin(links)?;
            heir.say("here");
        }
        Ok(())
    }

    fn watch_rendezvous(&self, cable: usize) -> Result<()> {
        let Some(rendezvous) = self.cables[cable].rendezvous() else { return Ok(()) };
        watch(&self.epoll, rendezvous.as_fd(), Source::Rendezvous { cable }, EventFlags::IN)
    }

    /// When [`Plugs::on_time`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.cables.iter().filter_map(Cable::deadline).min()
    }

    /// Waits for events, at most until then, and returns them.
    pub fn wait(&self, until: Option<Instant>) -> rustix::io::Result<Vec<Event>> {
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut events = Vec::with_capacity(8);
        epoll::wait(&self.epoll, spare_capacity(&mut events), left.as_ref())?;
        Ok(events)
    }

    /// Does what these events are about.
    pub fn on_events(&mut self, sides: &Sides, events: &[Event]) {
        for event in events {
            match Source::of(event.data.u64()) {
                Source::Control => {
                    sides.control.clear();
                    self.look = true;
                }
                Source::Heir => {
                    if let Err(error) = self.inherit() {
                        say(&self.name, format_args!("{error:#}"));
                    }
                }
                Source::Rendezvous { cable } => self.meet(sides, cable, Cable::on_rendezvous),
                Source::Link { cable, half, serial } => {
                    let woken = self.with(sides, cable, |cable, _| cable.woken(serial, half));
                    if let Err(error) = woken {
                        say(&self.name, format_args!("epoll_wait: {error}"));
                    }
                }
            }
        }
        self.look |= !events.is_empty();
    }

    /// Does what is due.
    pub fn on_time(&mut self, sides: &Sides) {
        let now = Instant::now();
        for at in 0..self.cables.len() {
            if self.cables[at].deadline().is_some_and(|due| now >= due) {
                self.meet(sides, at, Cable::on_time);
            }
        }
    }

    /// Looks for other neighbours where links have ended.
    pub fn sweep(&mut self, sides: &Sides) {
        if !std::mem::take(&mut self.look) {
            return;
        }
        for at in 0..self.cables.len() {
            let renewed = self.with(sides, at, |cable, dir| match cable.sweep() {
                true => cable.renew(dir),
                false => Ok(false),
            });
            let watched =
                renewed.and_then(|new| if new { self.watch_rendezvous(at) } else { Ok(()) });
            if let Err(error) = watched {
                self.give_up(at, &error);
            }
        }
        if let Some(heir) = self.heir.filter(|_| self.cables.iter().any(Cable::is_gone)) {
            heir.say("gone");
        }
    }

    /// Something happens on the way to a link.
    fn meet(
        &mut self,
        sides: &Sides,
        at: usize,
        what: impl FnOnce(&mut Cable, &mut Wake<'_>) -> Result<()>,
    ) {
        let epoll = self.epoll.try_clone();
        let met = self.with(sides, at, |cable, _| {
            let epoll = epoll.context("dup")?;
            what(cable, &mut |serial, half, fd, flags| {
                let source = Source::Link { cable: at, half, serial };
                watch(&epoll, fd, source, EventFlags::from_bits_retain(flags.bits() as u32))
            })
        });
        if let Err(error) = met {
            self.give_up(at, &error);
        }
        if let Some(both) = self.cables[at].take_plugged() {
            self.compare_offloads(both);
        }
    }

    fn give_up(&mut self, at: usize, error: &anyhow::Error) {
        say(&self.name, format_args!("{error:#}"));
        self.cables[at].give_up();
    }

    /// Has the halves of a cable's links in their place meanwhile.
    fn with<T>(
        &mut self,
        sides: &Sides,
        at: usize,
        what: impl FnOnce(&mut Cable, &RuntimeDir) -> T,
    ) -> T {
        let Plugs { name, cables, dir, .. } = self;
        let cable = &mut cables[at];
        {
            let (mut rx, mut tx) = (lock(&sides.rx), lock(&sides.tx));
            for (serial, joined) in cable.numbered() {
                rx.give_back((at, serial), joined);
                tx.give_back(name, (at, serial), joined);
            }
            tx.away = true;
        }
        let result = what(cable, dir);
        let (mut rx, mut tx) = (lock(&sides.rx), lock(&sides.tx));
        for (serial, joined) in cable.numbered() {
            rx.take((at, serial), joined);
            tx.take((at, serial), joined);
        }
        tx.away = false;
        result
    }

    /// LKL cannot be told to do without an offload: where the neighbour has it not,
    /// that is said, once a device.
    fn compare_offloads(&mut self, both: u64) {
        let lacking = self.features & !both;
        let names = [
            (frames::GUEST_CSUM, "checksums"),
            (frames::GUEST_TSO4, "TSO for IPv4"),
            (frames::GUEST_TSO6, "TSO for IPv6"),
        ];
        if let Some((_, name)) = names.iter().find(|(bit, _)| lacking >> bit & 1 == 1) {
            let what = "does not take unfinished";
            say(
                &self.name,
                format_args!("the neighbour {what} {name}: give both ends the same offload"),
            );
            self.features = 0;
        }
    }
}

/// As `stdpkt run` has it: a FIFO by its path waits for whom it is meant for; who is at
/// the other end of an inherited pipe may be anybody, and ends once.
fn plan(end: PipeEnd, offer: Offer) -> CablePlan {
    let inherited = end.path().is_none();
    CablePlan {
        vital: inherited,
        expects_both_ways: offer.duplex,
        fallback: if inherited { Fallback::IfUnaware } else { Fallback::Never },
        end: end.into(),
        offer,
    }
}

fn watch(epoll: &OwnedFd, fd: BorrowedFd<'_>, source: Source, interest: EventFlags) -> Result<()> {
    epoll::add(epoll, fd, EventData::new_u64(source.token()), interest).context("epoll_ctl")
}

//! `--spawn CMD`: a function of its own for each flow, or each user, as long as it has something to do.
//!
//! The channel to each is a pipe, CMD's standard input. Frames of whoever is new wait until the
//! function is there. What is for everybody (ARP and the like) goes to all, and where there is none it starts
//! one, which then belongs to the first who comes.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cable::{BATCH, Cable};
use frames::VNET_LEN;
use frames::flow::{Belongs, FLOW_HEAD, Flow, Part};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustix::event::{EventfdFlags, eventfd};
use shmring::{RecvError, RuntimeDir};

use super::By;
use super::fragments::Fragments;
use super::spawned::Spawned;
use super::target::PATIENCE;
use crate::counted::{self, Counted};
use crate::filters::Work;

/// What is counted under this name: functions now, ever, refused for want of room, and frames lost.
pub const LABEL: &str = "spawned";

/// So long no function is started after one that ended at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Whose a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Flow(Flow),
    Source(std::net::Ipv6Addr),
}

/// How functions are started and ended.
pub struct Terms {
    /// Run in a shell.
    pub command: String,
    /// What has one of its own.
    pub by: By,
    /// Without a frame for so long it ends.
    pub idle: Duration,
    /// At most so many at once.
    pub most: usize,
}

/// Cables, the left one first, and the functions at the others.
pub struct Spawn {
    terms: Terms,
    fragments: Fragments,
    functions: Vec<Spawned>,
    /// Serial numbers of functions.
    owners: HashMap<Key, u64>,
    serial: u64,
    /// Functions to be started: whose, if that is known.
    wanted: Vec<Option<Key>>,
    /// Ready when something is wanted, or a function has ended.
    news: Epoll,
    bell: OwnedFd,
    /// The next frame waits for room at this function, by serial number.
    stall: Option<u64>,
    /// Those whose links are closed.
    leaving: Vec<Spawned>,
    /// A function ended at once: no other is started before then.
    pause: Option<Instant>,
    refused: u64,
    /// Frames that nobody got.
    pub lost: u64,
    counted: Counted,
    /// What another balancer had counted, whose place this one has taken.
    before: Option<[u64; 4]>,
}

impl Spawn {
    /// Nobody is there yet.
    ///
    /// # Errors
    /// Those of epoll_create1(2) and eventfd(2), and no memory for `stdpkt ls`.
    pub fn new(terms: Terms) -> Result<Spawn> {
        let news = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("eventfd")?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        news.add(&bell, event).context("epoll_ctl")?;
        Ok(Spawn {
            terms,
            fragments: Fragments::default(),
            functions: Vec::new(),
            owners: HashMap::new(),
            serial: 0,
            wanted: Vec::new(),
            news,
            bell,
            stall: None,
            leaving: Vec::new(),
            pause: None,
            refused: 0,
            lost: 0,
            counted: Counted::new(LABEL)?,
            before: None,
        })
    }

    /// Whose a packet is; `None` for a later fragment of a datagram that is not known.
    fn key(&mut self, mut part: Part, now: Instant) -> Option<Key> {
        if self.terms.by == By::Source {
            return Some(Key::Source(part.source()));
        }
        if let Some(datagram) = &part.continues {
            part.flow = self.fragments.flow(datagram, now)?;
        }
        for datagram in part.begins {
            // Nothing is held for it.
            let _ = self.fragments.begin(datagram, part.flow, now);
        }
        let flow = if self.terms.by == By::Flow { part.flow } else { part.flow.addresses() };
        Some(Key::Flow(flow))
    }

    /// The place of the function of `key`: it may be one that nobody has yet. `None` where one is to be
    /// started first.
    fn owner(&mut self, key: Key) -> Option<usize> {
        if let Some(serial) = self.owners.get(&key) {
            return self.functions.iter().position(|it| it.serial == *serial);
        }
        let free = self.functions.iter().position(|it| it.is_free)?;
        self.functions[free].is_free = false;
        self.owners.insert(key, self.functions[free].serial);
        Some(free)
    }

    /// Has a function started; whether there is room for it.
    fn want(&mut self, key: Option<Key>) -> bool {
        let paused = self.pause.is_some_and(|until| Instant::now() < until);
        if paused || self.functions.len() + self.wanted.len() >= self.terms.most {
            self.refused += 1;
            return false;
        }
        self.wanted.push(key);
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        true
    }

    /// What becomes of a frame from the left; `false` when it has to wait.
    fn pass(
        &mut self,
        head: &[u8],
        frame: shmring::Bytes<'_>,
        cables: &mut [Cable],
        now: Instant,
    ) -> bool {
        let part = match Belongs::of(head) {
            Belongs::All if self.functions.is_empty() => {
                if self.wanted.is_empty() && !self.want(None) {
                    self.lost += 1;
                    return true;
                }
                return false;
            }
            Belongs::All => {
                for (function, cable) in self.functions.iter_mut().zip(cables) {
                    self.lost += u64::from(!function.send_or_keep(cable, frame));
                }
                return true;
            }
            Belongs::Flow(part) => part,
        };
        let Some(key) = self.key(part, now) else {
            self.lost += 1;
            return true;
        };
        let Some(at) = self.owner(key) else {
            if self.wanted.contains(&Some(key)) {
                return false;
            }
            if !self.want(Some(key)) {
                self.lost += 1;
                return true;
            }
            return false;
        };
        let function = &mut self.functions[at];
        function.moved = now;
        if function.send_or_keep(&mut cables[at], frame) {
            function.full_since = None;
            return true;
        }
        // One that takes nothing does not stop the others.
        if now.saturating_duration_since(*function.full_since.get_or_insert(now)) < PATIENCE {
            self.stall = Some(function.serial);
            return false;
        }
        self.lost += 1;
        true
    }

    fn tell(&mut self) {
        // Known once the links have come.
        let [_, started, refused, lost] =
            *self.before.get_or_insert_with(|| counted::before(LABEL));
        self.counted.show([
            self.functions.len() as u64,
            started + self.serial,
            refused + self.refused,
            lost + self.lost,
        ]);
    }
}

impl Work for Spawn {
    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool> {
        let Some((left, others)) = cables.split_first_mut() else { return Ok(false) };
        let (now, mut busy) = (Instant::now(), false);
        for (function, cable) in self.functions.iter_mut().zip(&mut *others) {
            busy |= function.flush(cable);
            if function.lane.turn(cable, left, |_, _| true) {
                (function.moved, busy) = (now, true);
            }
        }
        self.stall = None;
        let mut head = [0; FLOW_HEAD];
        left.retain(|joined| {
            let Some(rx) = &mut joined.rx else { return true };
            for _ in 0..BATCH {
                let moved = rx.receive(|bytes| {
                    let len = bytes.copy_to(VNET_LEN, &mut head);
                    let passed = self.pass(&head[..len], bytes, others, now);
                    (passed, passed)
                });
                match moved {
                    Ok(true) => busy = true,
                    Ok(false) | Err(RecvError::Empty) => break,
                    Err(error) => {
                        joined.end_rx(&error);
                        return joined.is_alive();
                    }
                }
            }
            rx.return_room();
            true
        });
        others.iter_mut().filter_map(Cable::sender).for_each(|tx| tx.publish());
        self.tell();
        Ok(busy)
    }

    fn arm(&mut self, cables: &mut [Cable]) -> bool {
        let Some((left, others)) = cables.split_first_mut() else { return true };
        let mut sleep = true;
        for (function, cable) in self.functions.iter().zip(&mut *others) {
            sleep &= function.lane.arm(cable, left);
        }
        match self.stall {
            Some(serial) => {
                let at = self.functions.iter().position(|it| it.serial == serial);
                sleep & at.and_then(|at| others[at].sender()).is_none_or(|tx| tx.arm())
            }
            // The next frame waits for a function.
            None if !self.wanted.is_empty() => sleep,
            None => sleep & left.links().filter_map(|it| it.rx.as_mut()).all(|rx| rx.arm()),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.news.0.as_fd())
    }

    fn ready(&mut self, cables: &mut Vec<Cable>, dir: &RuntimeDir) -> Result<()> {
        let mut events = [EpollEvent::empty(); 16];
        while self.news.wait(&mut events, EpollTimeout::ZERO).is_ok_and(|count| count > 0) {}
        let now = Instant::now();
        let mut at = 0;
        while at < self.functions.len() {
            if self.functions[at].is_over(now, self.terms.idle) {
                let mut over = self.functions.remove(at);
                let cable = cables.remove(at + 1);
                self.owners.retain(|_, serial| *serial != over.serial);
                self.lost += over.unsent();
                if !cable.was_up && over.has_ended() {
                    say::note!(
                        "--spawn {}: it ended without a link: no other for {} s",
                        self.terms.command,
                        PAUSE.as_secs()
                    );
                    self.pause = Some(now + PAUSE);
                }
                over.moved = now;
                self.leaving.push(over);
            } else {
                at += 1;
            }
        }
        self.leaving.retain_mut(|it| !it.leaves(now));
        for key in std::mem::take(&mut self.wanted) {
            self.serial += 1;
            let (function, cable) =
                Spawned::start(&self.terms.command, self.serial, key.is_none(), &self.news, dir)?;
            if let Some(key) = key {
                self.owners.insert(key, self.serial);
            }
            self.functions.push(function);
            cables.push(cable);
        }
        self.tell();
        Ok(())
    }

    fn can_hand_over(&self) -> Result<()> {
        match self.functions.len() + self.leaving.len() + self.wanted.len() {
            0 => Ok(()),
            count => bail!(
                "it has started {count} functions, which end with it: swap it when none of them runs, see \
                 stdpkt ls --chains"
            ),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let stalls = self.functions.iter().filter_map(|it| it.full_since);
        let stalls = stalls.map(|since| since + PATIENCE).filter(|_| self.stall.is_some());
        let idle = self.functions.iter().map(|it| it.moved + self.terms.idle);
        stalls.chain(idle).chain(self.leaving.iter().map(Spawned::killed_at)).min()
    }

    fn on_time(&mut self, cables: &mut Vec<Cable>, dir: &RuntimeDir) -> Result<()> {
        let now = Instant::now();
        let idle = self.terms.idle;
        let is_due = self.functions.iter_mut().any(|it| it.is_over(now, idle))
            || self.leaving.iter().any(|it| now >= it.killed_at());
        if is_due { self.ready(cables, dir) } else { Ok(()) }
    }

    fn is_over(&self, cables: &[Cable]) -> bool {
        cables.first().is_none_or(Cable::is_gone)
    }
}

impl Drop for Spawn {
    fn drop(&mut self) {
        // Their links are closed, by which they end.
        let now = Instant::now();
        self.functions.iter_mut().for_each(|it| it.moved = now);
        self.leaving.append(&mut self.functions);
        while !self.leaving.is_empty() {
            self.leaving.retain_mut(|it| !it.leaves(Instant::now()));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

//! The thread that LKL lets loop on `poll`.

use std::ffi::c_int;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use lkl_sys::{POLL_HUP, POLL_RX, POLL_TX};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use shmring::{LinkError, Offer, RuntimeDir, Rx, Tx};

use crate::MAX_FRAME;
use crate::cable::{Cable, Found};
use crate::config::Config;
use crate::control::Control;
use crate::device::{Device, lock};
use crate::ifname::Ends;
use crate::pace::Pace;
use crate::say::say;

/// `GUEST_CSUM`, `GUEST_TSO4`, `GUEST_TSO6`: what a neighbour may send here.
const FEATURES: u64 = 1 << 1 | 1 << 7 | 1 << 8;
/// How long frames may lie before `rx` although it ought to have been called:
/// LKL's driver can lose the race with its device over the last buffer.
const STUCK: Duration = Duration::from_millis(20);

/// `poll` reports room once more after this long: the same race, the other
/// queue. A driver that lost it does not tell its device again, ever.
const SECOND_LOOK: Duration = Duration::from_millis(1);

const CONTROL: u64 = 0;
/// Tokens of cables begin here, those of links further on.
const CABLES: u64 = 1;
const LINKS: u64 = 16;

pub(crate) struct Poller {
    epoll: OwnedFd,
    cables: Vec<Cable>,
    dir: RuntimeDir,
    next_token: u64,
    tx_ready: bool,
    /// Features that a neighbour should have, until one was found without.
    features: u64,
    /// When to report room once more.
    second_look: Option<Instant>,
    pace: Pace,
    /// Whether cables need a look without an event.
    look: bool,
}

impl Poller {
    pub fn new(
        name: &str,
        control: &Control,
        ends: Ends,
        offload: u32,
        config: Config,
    ) -> Result<Poller, LinkError> {
        let system = |call| {
            let what = name.to_owned();
            move |errno| LinkError::System { what, call, errno }
        };
        let dir = RuntimeDir::for_user()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(system("epoll_create1"))?;
        let label = if config.label.is_empty() { name.to_owned() } else { config.label };
        let duplex = matches!(ends, Ends::Both(_));
        let offer = Offer {
            label,
            duplex,
            channel: config.channel,
            capacity: config.ring,
            max_frame: MAX_FRAME,
            features: FEATURES & u64::from(offload),
        };
        // A single pipe cannot carry frames both ways by itself.
        let deadline = (!duplex).then(|| Instant::now() + config.wait);
        let ends = match ends {
            Ends::Each { rx, tx } => vec![rx, tx],
            Ends::Both(end) => vec![end],
        };
        let cables: Result<Vec<Cable>, LinkError> =
            ends.into_iter().map(|end| Cable::new(end, &dir, offer.clone(), deadline)).collect();
        let poller = Poller {
            epoll,
            cables: cables?,
            dir,
            next_token: LINKS,
            tx_ready: false,
            features: FEATURES & u64::from(offload),
            second_look: None,
            pace: Pace::new(),
            look: true,
        };
        poller.watch(control, CONTROL, EventFlags::IN).map_err(system("epoll_ctl"))?;
        for (at, cable) in poller.cables.iter().enumerate() {
            if let Some(rendezvous) = cable.rendezvous() {
                poller
                    .watch(rendezvous, CABLES + at as u64, EventFlags::IN)
                    .map_err(system("epoll_ctl"))?;
            }
        }
        Ok(poller)
    }

    fn watch(&self, fd: impl AsFd, token: u64, interest: EventFlags) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), interest)
    }

    /// Waits until there is something to do. LKL's poll thread.
    pub fn poll(&mut self, device: &Device) -> c_int {
        loop {
            if device.control.is_removed() {
                return POLL_HUP;
            }
            if lock(&device.rx).row_is_full() {
                self.glance(device);
            }
            if std::mem::take(&mut self.look) {
                self.look_at_cables(device);
            }
            let mut mask = 0;
            if std::mem::take(&mut self.tx_ready) && lock(&device.tx).take_wanted() {
                mask |= POLL_TX;
                self.second_look = Some(Instant::now() + SECOND_LOOK);
            } else if self.second_look.is_some_and(|at| Instant::now() >= at) {
                mask |= POLL_TX;
                self.second_look = None;
            }
            {
                let mut rx = lock(&device.rx);
                if rx.wanted && rx.is_ready(device) {
                    rx.reported();
                    mask |= POLL_RX;
                }
            }
            if mask != 0 {
                return mask;
            }
            if self.pace.linger(device) {
                continue;
            }
            if let Some(mask) = self.sleep(device) {
                return mask;
            }
        }
    }

    /// Sleeps until a bell, a neighbour, a hang-up or a deadline.
    fn sleep(&mut self, device: &Device) -> Option<c_int> {
        let (served, mut timeout);
        {
            let mut rx = lock(&device.rx);
            let pending = !rx.arm();
            served = rx.served;
            match rx.retry() {
                Some(at) => timeout = Some(at),
                None if pending && rx.wanted => {
                    rx.disarm();
                    return None;
                }
                None => timeout = pending.then(|| Instant::now() + STUCK),
            }
            rx.sleeping = true;
        }
        let deadlines = self.cables.iter().filter_map(|cable| cable.deadline);
        timeout = deadlines.chain(timeout).chain(self.second_look).min();
        let left = timeout.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut events: Vec<Event> = Vec::with_capacity(8);
        let result = self
            .pace
            .slept(|| epoll::wait(&self.epoll, spare_capacity(&mut events), left.as_ref()));
        let mut rx = lock(&device.rx);
        rx.sleeping = false;
        rx.disarm();
        let stuck = events.is_empty() && !rx.wanted && rx.served == served && rx.is_ready(device);
        drop(rx);
        self.look |= events.is_empty();
        for event in &events {
            self.on_event(device, event.data.u64());
        }
        if stuck {
            return Some(POLL_RX);
        }
        match result {
            Ok(_) | Err(rustix::io::Errno::INTR) => None,
            Err(error) => {
                // Cannot happen; and if it did, it would happen again at once.
                say(&device.name, format_args!("epoll_wait: {error}"));
                Some(POLL_HUP)
            }
        }
    }

    /// Takes note of what happened, without waiting for it.
    fn glance(&mut self, device: &Device) {
        let mut events: Vec<Event> = Vec::with_capacity(8);
        // It fails for no reason that `sleep` would not tell.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec::default()));
        self.look = true;
        for event in &events {
            self.on_event(device, event.data.u64());
        }
    }

    fn on_event(&mut self, device: &Device, token: u64) {
        match token {
            CONTROL => {
                device.control.clear();
                self.look = true;
            }
            CABLES..LINKS => self.look = true,
            token if token.is_multiple_of(2) => lock(&device.rx).woken(token),
            token => {
                // Room, or the end: then `tx` finds that out.
                self.look |= !lock(&device.tx).woken(token);
                self.tx_ready = true;
            }
        }
    }

    /// Takes links into use and looks for new neighbours where they ended.
    fn look_at_cables(&mut self, device: &Device) {
        for at in 0..self.cables.len() {
            loop {
                match self.cables[at].look(&device.name) {
                    Found::Link(link) => {
                        self.compare_offloads(device, link.features);
                        self.join(device, at, link.tx, link.rx);
                    }
                    Found::Bare(tx, rx) => self.join(device, at, tx, rx),
                    Found::Nothing => break,
                }
            }
            {
                let rx = lock(&device.rx);
                let tx = lock(&device.tx);
                self.cables[at].links.retain(|&token| rx.has(token) || tx.has(token));
            }
            if self.cables[at].renew(&device.name, &self.dir)
                && let Some(rendezvous) = self.cables[at].rendezvous()
            {
                if let Err(error) = self.watch(rendezvous, CABLES + at as u64, EventFlags::IN) {
                    say(&device.name, format_args!("epoll_ctl: {error}"));
                }
                self.look = true;
            }
        }
    }

    /// LKL cannot be told to do without an offload: where the neighbour has it not,
    /// that is said, once a device.
    fn compare_offloads(&mut self, device: &Device, both: u64) {
        let lacking = self.features & !both;
        let names = [(1, "checksums"), (7, "TSO for IPv4"), (8, "TSO for IPv6")];
        if let Some((_, name)) = names.iter().find(|(bit, _)| lacking >> bit & 1 == 1) {
            let what = "does not take unfinished";
            say(
                &device.name,
                format_args!("the neighbour {what} {name}: give both ends the same offload"),
            );
            self.features = 0;
        }
    }

    fn join(&mut self, device: &Device, at: usize, tx: Option<Tx>, rx: Option<Rx>) {
        let token = self.next_token;
        self.next_token += 2;
        // The halves of a link share a socket, but each has its own descriptor.
        if let Some(rx) = rx {
            if let Err(error) = self.watch(&rx, token, EventFlags::IN) {
                return say(&device.name, format_args!("epoll_ctl: {error}"));
            }
            self.cables[at].links.push(token);
            let mut side = lock(&device.rx);
            side.join(token, rx);
        }
        if let Some(tx) = tx {
            if let Err(error) = self.watch(&tx, token + 1, EventFlags::IN) {
                return say(&device.name, format_args!("epoll_ctl: {error}"));
            }
            self.cables[at].links.push(token + 1);
            lock(&device.tx).join(token + 1, tx);
            self.tx_ready = true;
        }
    }
}

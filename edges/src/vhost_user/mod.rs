//! A virtual machine's network card: the back end of vhost-user, with one copy between the
//! machine's memory and the ring. QEMU, DPDK's virtio_user and cloud-hypervisor are front ends.
//!
//! The front end says where its memory is and where the two rings of the card are in it
//! (`device`); frames are copied from and to what their descriptors name (`copy`). Both the front
//! end and the guest may do anything: the worst is that the connection is closed.

mod channel;
mod copy;
mod device;
mod memory;
mod messages;
mod neighbour;
mod open;
mod place;
mod ring;
mod vanished;

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use cable::Edge;
use cable::edge::{Burst, NotNow, NotTaken, Watch};
use frames::FEATURES;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use shmring::board::Meter;
use shmring::{Bytes, BytesMut};

use crate::patience::Patience;
use channel::{Channel, End};
use device::{Device, RECEIVE, TRANSMIT};
use neighbour::Neighbour;
use place::Place;
use ring::Broken;

/// Numbers of events; those of the rings are theirs.
const SOCKET: u64 = 2;
const PLACE: u64 = 3;
const EVENTS: usize = 4;

/// Messages that are handled in a row, before frames have their turn.
const MESSAGES: usize = 64;
/// A front end speaks first, and as soon as it is there.
const SILENCE: Duration = Duration::from_secs(3);

/// What a front end has to say.
#[derive(Debug, Clone, Copy)]
enum Owed {
    /// Anything.
    Word,
    /// Where the memory is: QEMU says nothing more when it cannot share it.
    Memory,
}

/// Tells somebody whether there is a neighbour.
pub type OnLink = Box<dyn FnMut(bool)>;

/// A virtual machine's network card as an edge.
pub struct VhostUser {
    what: String,
    epoll: Rc<Epoll>,
    place: Place,
    channel: Option<Channel>,
    /// What the front end that is there owes, and until when.
    owes: Option<(Owed, Instant)>,
    device: Device,
    neighbour: Neighbour,
    /// There is more to be read than was.
    unread: bool,
    /// Chains in the receive ring that were not enough for the next frame.
    short: Option<u16>,
    /// The guest has nothing to send, as was seen last.
    idle: bool,
    patience: Patience,
    /// Told instead of hanging up on the front end.
    on_link: Option<OnLink>,
    /// A neighbour was there.
    was_plugged: bool,
    /// The last front end has left, of its own accord, and none has come since.
    is_left: bool,
    /// What `stdpkt ls` shows of frames from the guest and to it.
    came: Meter,
    went: Meter,
    /// The last complaint: a front end that comes again and again makes it once.
    told: String,
}

impl VhostUser {
    fn begin(&mut self, socket: OwnedFd) -> Result<()> {
        place::watch(&self.epoll, &socket, SOCKET)?;
        self.channel = Some(Channel::new(socket));
        self.owes = Some((Owed::Word, Instant::now() + SILENCE));
        (self.unread, self.is_left) = (true, false);
        Ok(())
    }

    /// Takes the next front end, unless there is one.
    fn accept(&mut self) {
        if self.channel.is_none()
            && let Some(socket) = self.place.next()
            && let Err(error) = self.begin(socket)
        {
            say::note!("{}: {error:#}", self.what);
        }
    }

    /// The front end is gone, or nobody deals with it any more.
    fn hang_up(&mut self) {
        // The bells go before what they are watched by.
        self.device = Device::new();
        self.channel = None;
        (self.owes, self.unread, self.short) = (None, false, None);
        self.patience = Patience::default();
        self.is_left = true;
        self.place.is_free();
        self.accept();
    }

    /// It did what no front end or driver does.
    #[cold]
    fn broken(&mut self, why: &Broken) {
        if self.told != *why {
            if !cfg!(any(test, fuzzing)) {
                say::error!("{}: {why}", self.what); // tests make up thousands, and look below
            }
            self.told.clone_from(why);
        }
        self.hang_up();
    }

    /// Reads what the front end says.
    fn listen(&mut self) {
        self.unread = true;
        for _ in 0..MESSAGES {
            let Some(channel) = &mut self.channel else { return };
            let message = match channel.next() {
                Ok(Some(message)) => message,
                Ok(None) => {
                    self.unread = false;
                    break;
                }
                Err(End::HungUp) => return self.hang_up(),
                Err(End::Wrong(why)) => return self.broken(&why),
            };
            let header = message.header;
            match self.device.handle(message, &self.epoll) {
                Ok(None) => {}
                Ok(Some(answer)) => match channel.answer(&header, &answer) {
                    Ok(()) => {}
                    Err(End::HungUp) => return self.hang_up(),
                    Err(End::Wrong(why)) => return self.broken(&why),
                },
                Err(why) => return self.broken(&why),
            }
            let waits = self.device.features().is_some() && self.device.memory.is_none();
            self.owes = waits.then(|| (Owed::Memory, Instant::now() + SILENCE));
            (self.short, self.idle) = (None, false);
        }
    }

    /// Tells the driver what it has back, and finds out whether it still has its memory.
    fn publish(&mut self, ring: usize) {
        let Some(memory) = &self.device.memory else { return };
        let told = self.device.rings[ring].publish(memory);
        match memory.is_gone() {
            true => self.broken(&"the machine's memory was taken away".to_owned()),
            false => {
                if let Err(why) = told {
                    self.broken(&why);
                }
            }
        }
    }

    /// How many chains a ring offers, if it is active.
    fn available(&mut self, ring: usize) -> Option<u16> {
        let memory = self.device.memory.as_ref()?;
        if !self.device.rings[ring].is_active() {
            return None;
        }
        match self.device.rings[ring].available(memory) {
            Ok(count) => Some(count),
            Err(why) => {
                self.broken(&why);
                None
            }
        }
    }

    /// What is due: calls somebody who listened, and says who says nothing.
    fn on_time(&mut self) {
        let now = Instant::now();
        if self.channel.is_none() && self.place.deadline().is_some_and(|at| at <= now) {
            self.accept();
        }
        let Some((owed, _)) = self.owes.filter(|(_, until)| *until <= now) else { return };
        self.owes = None;
        match owed {
            Owed::Word => say::note!(
                "{}: {} says nothing for {} s, where a front end speaks first: two back ends cannot join each other, and QEMU's -netdev stream is qemu:unix:PATH",
                self.what,
                if self.place.calls() { "who listens there" } else { "who has connected" },
                SILENCE.as_secs()
            ),
            Owed::Memory => say::error!("{}: {}", self.what, memory::NOT_SHARED),
        }
    }
}

impl Edge for VhostUser {
    fn features(&self) -> u64 {
        // Before a guest is there: what any guest of today takes.
        self.device.features().map_or(FEATURES, |features| features & FEATURES)
    }

    fn plugged(&mut self, features: u64) -> Result<()> {
        self.neighbour.takes(features);
        self.was_plugged = true;
        if let Some(on_link) = &mut self.on_link {
            on_link(true);
        } else if let Some(socket) = self.place.reopen()? {
            self.begin(socket)?;
        }
        Ok(())
    }

    fn unplugged(&mut self) -> Result<()> {
        if let Some(on_link) = &mut self.on_link {
            on_link(false);
        } else if std::mem::take(&mut self.was_plugged) {
            self.place.shut();
            self.hang_up();
            self.is_left = false; // it was sent away, and will be let in again
        }
        Ok(())
    }

    fn has_frames(&mut self) -> bool {
        let some = self.available(TRANSMIT).is_some_and(|count| count > 0);
        if let (true, Some(memory)) = (some, &self.device.memory) {
            self.device.rings[TRANSMIT].wake(memory);
        }
        self.idle = !some;
        some || self.neighbour.has_packets()
    }

    fn has_room(&mut self) -> bool {
        // Nobody there: what comes is lost, as on a cable without a machine.
        let Some(count) = self.available(RECEIVE) else { return true };
        if count > self.short.unwrap_or(0) {
            self.short = None;
            self.patience.unblocked();
            if let Some(memory) = &self.device.memory {
                self.device.rings[RECEIVE].wake(memory);
            }
            return true;
        }
        self.short = Some(count);
        self.patience.blocked();
        self.patience.gives_up()
    }

    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        let VhostUser { neighbour, device, came, .. } = self;
        match neighbour.fill(room, |room| copy::send(device, room, came)) {
            Ok(Some(len)) => {
                came.passed(len);
                Ok(len)
            }
            Ok(None) => Err(NotNow),
            Err(why) => {
                self.broken(&why);
                Err(NotNow)
            }
        }
    }

    fn filled(&mut self, _burst: Burst) {
        self.publish(TRANSMIT);
    }

    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken> {
        let Some(count) = self.available(RECEIVE) else { return Err(NotTaken::Refused) };
        if count == 0 || self.short == Some(count) {
            return Err(self.patience.turn_away(&self.what));
        }
        let len = frame.len();
        match copy::receive(&mut self.device, frame) {
            Ok(true) => {
                self.short = None;
                self.patience.moved();
                self.went.passed(len);
                Ok(())
            }
            // All that there can be is not enough, or one is not and another will not be.
            Ok(false) if !self.device.merges() || count == self.device.rings[RECEIVE].size() => {
                Err(NotTaken::Refused)
            }
            Ok(false) => {
                self.short = Some(count);
                self.patience.blocked();
                Err(self.patience.turn_away(&self.what))
            }
            Err(why) => {
                self.broken(&why);
                Err(NotTaken::Refused)
            }
        }
    }

    fn taken(&mut self) {
        self.publish(RECEIVE);
    }

    fn arm(&mut self) -> bool {
        self.on_time();
        if self.unread {
            self.listen();
            return false;
        }
        self.publish(TRANSMIT);
        let Some(memory) = &self.device.memory else { return !self.patience.is_due() };
        let mut sleep = !self.patience.is_due();
        let waits = [self.short, self.idle.then_some(0)];
        for (number, seen) in waits.into_iter().enumerate() {
            let ring = &mut self.device.rings[number];
            let (Some(seen), true) = (seen, ring.is_active()) else { continue };
            match ring.sleep(memory, seen) {
                Ok(true) => {}
                Ok(false) => {
                    // There is something new, which is told once: nobody may want it.
                    match number {
                        RECEIVE => self.short = None,
                        _ => self.idle = false,
                    }
                    sleep = false;
                }
                Err(why) => {
                    self.broken(&why);
                    return false;
                }
            }
        }
        sleep
    }

    fn watch(&self, watch: &mut Watch<'_>) -> Result<()> {
        watch(self.epoll.0.as_fd(), EpollFlags::EPOLLIN | EpollFlags::EPOLLET)
    }

    fn woken(&mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                SOCKET => self.listen(),
                PLACE => self.accept(),
                // A driver has rung: its rings are looked at anyway.
                _ => {}
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let calls = self.place.deadline().filter(|_| self.channel.is_none());
        calls
            .into_iter()
            .chain(self.owes.map(|(_, until)| until))
            .chain(self.patience.deadline())
            .min()
    }

    fn close(&mut self) -> bool {
        self.publish(RECEIVE);
        true
    }

    fn is_over(&self) -> bool {
        self.channel.is_none() && self.place.is_over()
    }

    fn is_left(&self) -> bool {
        self.is_left
    }
}

#[cfg(fuzzing)]
pub use tests::fuzz;

#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code))] // a part is for tests
mod tests;

//! One ring of a virtio device: chains of descriptors that the driver gives, and gets back
//! used. The walk is virtio-queue's; what is used is told here, so that all buffers of
//! one frame, and all frames of a batch, appear at once.
//!
//! The guest may write anything anywhere at any time. Places are looked up anew at each access,
//! and each number is read once.

use std::num::Wrapping;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{Ordering, fence};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

use super::memory::Memory;
use super::messages::RingAddresses;

/// Entries of the largest ring there can be (virtio 1.2, section 2.7).
const LARGEST: u16 = 1 << 15;
/// Offsets and sizes in the two halves of a ring (virtio 1.2, sections 2.7.6 and 2.7.8).
const INDEX: u64 = 2;
const ENTRIES: u64 = 4;
const AVAILABLE_ENTRY: u64 = 2;
const USED_ENTRY: u64 = 8;
/// `VRING_AVAIL_F_NO_INTERRUPT`.
const NO_INTERRUPT: u16 = 1;

/// Descriptors of one driver's buffer.
pub type Chain<'a> = DescriptorChain<&'a GuestMemoryMmap>;

/// What the driver does that no driver does; a sentence for people.
pub type Broken = String;

/// A descriptor whose events are waited for, for as long as this lives.
pub struct Watched {
    fd: OwnedFd,
    epoll: Rc<Epoll>,
}

impl Watched {
    /// Waits for input, edge-triggered: nobody has to read what rings.
    ///
    /// # Errors
    /// It is nothing that rings.
    pub fn new(fd: OwnedFd, epoll: &Rc<Epoll>, number: u64) -> Result<Watched, Broken> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, number);
        epoll
            .add(&fd, event)
            .map_err(|errno| format!("an eventfd that is none: {}", errno.desc()))?;
        Ok(Watched { fd, epoll: epoll.clone() })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The front end has it, too: closed here, it would still be watched.
        let _ = self.epoll.delete(&self.fd);
    }
}

/// A ring.
pub struct Ring {
    queue: Queue,
    addresses: Option<RingAddresses>,
    /// Where it goes on.
    base: u16,
    /// By which the driver rings; the ring has begun.
    kick: Option<Watched>,
    /// By which it is rung.
    call: Option<OwnedFd>,
    enabled: bool,
    /// It is where the memory is now.
    placed: bool,
    /// Heads and lengths that are not told yet.
    used: Vec<(u16, u32)>,
    /// What was told when the driver was last thought of.
    rung: Wrapping<u16>,
    /// The driver need not ring for the time being; only where there is no event index.
    quiet: bool,
}

impl Ring {
    /// One that has not begun.
    pub fn new() -> Ring {
        let queue = Queue::new(LARGEST).expect("a power of two");
        Ring {
            queue,
            addresses: None,
            base: 0,
            kick: None,
            call: None,
            enabled: false,
            placed: false,
            used: Vec::new(),
            rung: Wrapping(0),
            quiet: false,
        }
    }

    /// Sets the number of entries.
    ///
    /// # Errors
    /// No power of two, or more than there can be.
    pub fn set_size(&mut self, size: u32) -> Result<(), Broken> {
        let fits = u16::try_from(size).is_ok_and(|size| self.queue.try_set_size(size).is_ok());
        if fits { Ok(()) } else { Err(format!("a ring of {size} entries")) }
    }

    /// Says where the front end has it.
    pub fn set_addresses(&mut self, addresses: RingAddresses) {
        self.addresses = Some(addresses);
    }

    /// Says where it goes on.
    pub fn set_base(&mut self, base: u32) {
        self.base = base as u16; // the rest is of packed rings, which are not offered
    }

    /// Whether frames pass.
    pub fn enable(&mut self, on: bool) {
        self.enabled = on;
    }

    /// The bell of the device.
    pub fn set_call(&mut self, call: Option<OwnedFd>) {
        self.call = call;
    }

    /// Begins.
    ///
    /// # Errors
    /// It is not in the memory.
    pub fn begin(&mut self, kick: Watched, memory: Option<&Memory>) -> Result<(), Broken> {
        self.stop(memory);
        self.kick = Some(kick);
        self.place(memory)
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.kick.is_some()
    }

    /// Whether chains come and go.
    pub fn is_active(&self) -> bool {
        self.placed && self.enabled
    }

    /// Uses the event index or not.
    pub fn set_event_index(&mut self, on: bool) {
        self.queue.set_event_idx(on);
    }

    /// Ends, and says where it would go on.
    pub fn stop(&mut self, memory: Option<&Memory>) -> u16 {
        if let Some(memory) = memory {
            let _ = self.publish(memory);
        }
        self.used.clear();
        if self.placed {
            self.base = self.queue.next_avail();
        }
        (self.kick, self.placed) = (None, false);
        self.base
    }

    /// Finds itself in the memory, which may be another than before.
    ///
    /// # Errors
    /// It is not there.
    pub fn place(&mut self, memory: Option<&Memory>) -> Result<(), Broken> {
        let (Some(memory), Some(addresses), true) = (memory, self.addresses, self.has_begun())
        else {
            self.placed = false;
            return Ok(());
        };
        self.placed = false;
        let outside = || "a ring outside of the machine's memory".to_owned();
        let at = |user| memory.guest_address(user).map(GuestAddress).ok_or_else(outside);
        let queue = &mut self.queue;
        let placed = queue.try_set_desc_table_address(at(addresses.descriptors)?).is_ok()
            && queue.try_set_avail_ring_address(at(addresses.available)?).is_ok()
            && queue.try_set_used_ring_address(at(addresses.used)?).is_ok();
        queue.set_ready(true);
        // Address 0, though a guest may have memory there, is what virtio-queue has for none.
        if !placed || queue.avail_ring() == 0 || !queue.is_valid(memory.guest()) {
            return Err(outside());
        }
        let used = queue.used_idx(memory.guest(), Ordering::Acquire).map_err(|_| outside())?;
        // Frames are used in order, so it goes on from there, whatever the front end says:
        // what somebody before us took and did not give back is lost, and its buffer is not.
        self.base = used.0;
        queue.set_next_avail(self.base);
        queue.set_next_used(used.0);
        // Nothing is known of what the driver was rung for: it is, once.
        self.rung = used - Wrapping(1);
        self.quiet = false;
        self.placed = true;
        Ok(())
    }

    /// How many chains the driver offers.
    ///
    /// # Errors
    /// More than the ring has entries.
    pub fn available(&self, memory: &Memory) -> Result<u16, Broken> {
        let index = self.queue.avail_idx(memory.guest(), Ordering::Acquire);
        let index = index.map_err(|error| error.to_string())?;
        match (index - Wrapping(self.queue.next_avail())).0 {
            count if count > self.queue.size() => {
                Err(format!("{count} buffers in a ring of {} entries", self.queue.size()))
            }
            count => Ok(count),
        }
    }

    /// Its entries.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// The next chain, if there is one.
    ///
    /// # Errors
    /// As [`Ring::available`].
    pub fn next<'a>(&mut self, memory: &'a Memory) -> Result<Option<Chain<'a>>, Broken> {
        let iter = self.queue.iter(memory.guest());
        Ok(iter.map_err(|error| error.to_string())?.next())
    }

    /// Leaves the last `count` chains where they were.
    pub fn put_back(&mut self, count: u16) {
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(count));
    }

    /// Gives a chain back, with `len` bytes written to it.
    ///
    /// # Errors
    /// A head that the ring does not have.
    pub fn give_back(&mut self, head: u16, len: u32) -> Result<(), Broken> {
        if head >= self.queue.size() {
            return Err(format!("descriptor {head} in a ring of {} entries", self.queue.size()));
        }
        self.used.push((head, len));
        Ok(())
    }

    /// Tells the driver what it has back, at once, and rings if it sleeps.
    ///
    /// # Errors
    /// The ring is gone.
    pub fn publish(&mut self, memory: &Memory) -> Result<(), Broken> {
        if self.used.is_empty() || !self.placed {
            return Ok(());
        }
        let (guest, ring) = (memory.guest(), GuestAddress(self.queue.used_ring()));
        let size = u64::from(self.queue.size());
        let mut next = Wrapping(self.queue.next_used());
        let gone = |_| "a ring outside of the machine's memory".to_owned();
        for (head, len) in self.used.drain(..) {
            let entry = u64::from(head) | u64::from(len) << 32;
            let at = ENTRIES + u64::from(next.0) % size * USED_ENTRY;
            guest.write_obj(entry.to_le(), at_offset(ring, at)).map_err(gone)?;
            next += 1;
        }
        self.queue.set_next_used(next.0);
        // Release, to the driver's read of the index: it sees the entries, and the frames.
        guest.store(next.0.to_le(), at_offset(ring, INDEX), Ordering::Release).map_err(gone)?;
        self.ring(memory).map_err(gone)
    }

    /// Rings if the driver wants that.
    fn ring(&mut self, memory: &Memory) -> Result<(), vm_memory::GuestMemoryError> {
        let (guest, ring) = (memory.guest(), GuestAddress(self.queue.avail_ring()));
        let used = Wrapping(self.queue.next_used());
        // The index is written before it is read what the driver waits for; the driver's
        // fence is between its own write and its look at the index. One sees the other.
        fence(Ordering::SeqCst);
        let wants = if self.queue.event_idx_enabled() {
            let at = ENTRIES + u64::from(self.queue.size()) * AVAILABLE_ENTRY;
            let event = Wrapping(u16::from_le(guest.load(at_offset(ring, at), Ordering::Relaxed)?));
            let wants = used - event - Wrapping(1) < used - self.rung;
            self.rung = used;
            wants
        } else {
            u16::from_le(guest.load(ring, Ordering::Relaxed)?) & NO_INTERRUPT == 0
        };
        if let (true, Some(call)) = (wants, &self.call) {
            let _ = rustix::io::write(call, &1u64.to_ne_bytes()); // full: it is rung already
        }
        Ok(())
    }

    /// Before a sleep: asks the driver to ring; `false` when there is a chain after all,
    /// or more than the `seen` that were not enough.
    ///
    /// # Errors
    /// The ring is gone.
    pub fn sleep(&mut self, memory: &Memory, seen: u16) -> Result<bool, Broken> {
        self.quiet = false;
        let next = self.queue.next_avail();
        // The event index is of a chain that is to come: one behind those that were seen.
        self.queue.set_next_avail(next.wrapping_add(seen));
        let more = self.queue.enable_notification(memory.guest());
        self.queue.set_next_avail(next);
        more.map(|more| !more).map_err(|error| error.to_string())
    }

    /// After a sleep: the driver need not ring while there is something to do anyway.
    pub fn wake(&mut self, memory: &Memory) {
        if !std::mem::replace(&mut self.quiet, true) {
            let _ = self.queue.disable_notification(memory.guest());
        }
    }
}

/// An address in a ring that was found to lie in the memory.
fn at_offset(base: GuestAddress, offset: u64) -> GuestAddress {
    GuestAddress(base.0.wrapping_add(offset))
}

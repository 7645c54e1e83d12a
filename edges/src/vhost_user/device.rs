//! What a front end sets up: features, memory and two rings. No frames.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::sys::epoll::Epoll;
use rustix::fs::OFlags;

use super::channel::Message;
use super::memory::Memory;
use super::messages::Request;
use super::ring::{Broken, Ring, Watched};

/// Feature numbers (virtio 1.2, sections 5.1.3 and 6; the last but one is vhost-user's own).
const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << frames::GUEST_CSUM;
const GUEST_TSO4: u64 = 1 << frames::GUEST_TSO4;
const GUEST_TSO6: u64 = 1 << frames::GUEST_TSO6;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const MERGED_BUFFERS: u64 = 1 << 15;
const INDIRECT: u64 = 1 << 28;
const EVENT_INDEX: u64 = 1 << 29;
const PROTOCOL_FEATURES: u64 = 1 << 30;
const VERSION_1: u64 = 1 << 32;

/// What is offered to a guest: all offloads both ways, whatever the neighbour takes.
pub const OFFERED: u64 = CSUM
    | GUEST_CSUM
    | GUEST_TSO4
    | GUEST_TSO6
    | HOST_TSO4
    | HOST_TSO6
    | MERGED_BUFFERS
    | INDIRECT
    | EVENT_INDEX
    | PROTOCOL_FEATURES
    | VERSION_1;
/// Of the protocol: an answer to whatever asks for one (`VHOST_USER_PROTOCOL_F_REPLY_ACK`).
const PROTOCOL_OFFERED: u64 = 1 << 3;

/// Numbers of the rings: what the guest receives and what it sends.
pub const RECEIVE: usize = 0;
pub const TRANSMIT: usize = 1;

/// What stands before a frame of a driver that knows neither version 1 nor merged buffers.
const SHORT_HEADER: usize = 10;

/// A network card with one pair of rings.
pub struct Device {
    /// What the guest took of [`OFFERED`], once it has said so.
    features: Option<u64>,
    /// The machine's memory.
    pub memory: Option<Memory>,
    /// [`RECEIVE`] and [`TRANSMIT`].
    pub rings: [Ring; 2],
}

impl Device {
    /// Before anything is set up.
    pub fn new() -> Device {
        Device { features: None, memory: None, rings: [Ring::new(), Ring::new()] }
    }

    /// What the guest took.
    pub fn features(&self) -> Option<u64> {
        self.features
    }

    /// Bytes before each frame.
    pub fn header(&self) -> usize {
        match self.features.unwrap_or(0) & (VERSION_1 | MERGED_BUFFERS) {
            0 => SHORT_HEADER,
            _ => frames::VNET_LEN,
        }
    }

    /// Whether a frame may lie in several buffers.
    pub fn merges(&self) -> bool {
        self.features.unwrap_or(0) & MERGED_BUFFERS != 0
    }

    /// Carries out a request; what is returned is the answer to it.
    ///
    /// # Errors
    /// A sentence about the front end; the connection is of no use any more.
    pub fn handle(
        &mut self,
        message: Message,
        epoll: &Rc<Epoll>,
    ) -> Result<Option<Vec<u8>>, Broken> {
        let Message { header, body, mut fds } = message;
        let request = Request::parse(header.request, &body).map_err(|wrong| wrong.to_string())?;
        let mut one = || match (fds.pop(), fds.is_empty()) {
            (Some(fd), true) => Ok(fd),
            _ => Err(format!("message {} without the one descriptor that it has", header.request)),
        };
        let long = |value: u64| Ok(Some(value.to_ne_bytes().to_vec()));
        match request {
            Request::GetFeatures => return long(OFFERED),
            Request::GetProtocolFeatures => return long(PROTOCOL_OFFERED),
            Request::GetRingBase(number) => {
                let base = self.rings[number].stop(self.memory.as_ref());
                let words = [number as u32, base.into()];
                return Ok(Some(words.into_iter().flat_map(u32::to_ne_bytes).collect()));
            }
            Request::SetFeatures(features) => self.set_features(features)?,
            Request::SetProtocolFeatures(features) => {
                if features & !PROTOCOL_OFFERED != 0 {
                    return Err(format!(
                        "features {features:#x} of the protocol, which were not offered"
                    ));
                }
            }
            Request::SetMemory(regions) => {
                let memory = Memory::new(regions, std::mem::take(&mut fds))?;
                if let Some(old) = &self.memory {
                    self.rings.iter_mut().try_for_each(|ring| ring.publish(old))?;
                }
                // The rings forget the old one before it goes.
                self.rings.iter_mut().try_for_each(|ring| ring.place(Some(&memory)))?;
                self.memory = Some(memory);
            }
            Request::SetRingSize(number, size) => {
                self.not_begun(number)?;
                self.rings[number].set_size(size)?;
            }
            Request::SetRingAddresses(number, addresses) => {
                self.rings[number].set_addresses(addresses);
                // One that has begun moves; what was used before is told where it was.
                if let Some(memory) =
                    self.memory.as_ref().filter(|_| self.rings[number].has_begun())
                {
                    self.rings[number].publish(memory)?;
                    self.rings[number].place(Some(memory))?;
                }
            }
            Request::SetRingBase(number, base) => {
                self.not_begun(number)?;
                self.rings[number].set_base(base);
            }
            Request::SetRingKick(number) => {
                let kick = Watched::new(one()?, epoll, number as u64)?;
                if self.memory.is_none() {
                    return Err(super::memory::NOT_SHARED.to_owned());
                }
                self.rings[number].begin(kick, self.memory.as_ref())?;
            }
            Request::SetRingCall(number, comes) => {
                let call = if comes { Some(bell(one()?)?) } else { None };
                self.rings[number].set_call(call);
            }
            Request::EnableRing(number, on) => self.rings[number].enable(on),
            Request::SetOwner | Request::SetRingError(_) => {}
        }
        Ok(header.needs_reply.then(|| 0u64.to_ne_bytes().to_vec()))
    }

    fn set_features(&mut self, features: u64) -> Result<(), Broken> {
        if features & !OFFERED != 0 {
            return Err(format!("features {:#x}, which were not offered", features & !OFFERED));
        }
        self.features = Some(features);
        for ring in &mut self.rings {
            ring.set_event_index(features & EVENT_INDEX != 0);
            // Without the protocol's features nobody enables rings.
            if features & PROTOCOL_FEATURES == 0 {
                ring.enable(true);
            }
        }
        Ok(())
    }

    fn not_begun(&self, number: usize) -> Result<(), Broken> {
        match self.rings[number].has_begun() {
            true => Err(format!("ring {number} is changed while it is in use")),
            false => Ok(()),
        }
    }
}

/// A bell that is rung: an eventfd that never blocks.
fn bell(fd: OwnedFd) -> Result<OwnedFd, Broken> {
    use std::os::fd::AsRawFd;
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new());
    if !link.is_ok_and(|link| link.as_bytes() == b"anon_inode:[eventfd]") {
        return Err("an eventfd that is none".to_owned());
    }
    let set = rustix::fs::fcntl_getfl(&fd)
        .and_then(|flags| rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK));
    set.map_err(|errno| format!("its eventfd: {errno}"))?;
    Ok(fd)
}

//! Links whose frames cross elsewhere.

use std::os::fd::OwnedFd;

use shmring::Rendezvous;

use super::Cable;

impl Cable {
    /// From now on frames are not to go aside ([`Channel::Aside`](shmring::Channel::Aside)): they
    /// come and go by this process.
    pub fn keep_to_rings(&mut self) {
        self.parts.offer.keep_to_rings();
        self.rendezvous.iter_mut().for_each(Rendezvous::keep_to_rings);
    }

    /// Once, where frames cross aside: the socket to agree on how ([`shmring::Link::aside`]).
    pub fn take_aside(&mut self) -> Option<OwnedFd> {
        self.links().find_map(|joined| joined.aside.take())
    }
}

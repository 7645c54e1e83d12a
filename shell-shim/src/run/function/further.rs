//! What a function needs for interfaces that come while it runs, and by which numbers edges are
//! known then.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::Result;
use cable::{Jack, WatchNumbered};
use shmring::RuntimeDir;

use crate::run::plan::Terms;
use crate::stack::device::Device;

/// The first number of an edge.
pub const EDGES: u32 = 5;

/// What a further interface is made of.
pub struct Further {
    /// The largest packet, as of the others.
    pub mtu: u32,
    /// What its cables are like.
    pub terms: Terms,
    /// Interfaces that were there before the function.
    pub given: Vec<String>,
    /// Where neighbours are met.
    pub dir: RuntimeDir,
    /// Names of those that it has got since.
    names: Vec<String>,
    /// Those of them that are not watched yet.
    fresh: Vec<String>,
}

impl Further {
    /// None so far.
    pub fn new(mtu: u32, terms: Terms, given: Vec<String>, dir: RuntimeDir) -> Further {
        Further { mtu, terms, given, dir, names: Vec::new(), fresh: Vec::new() }
    }

    /// Whether this one came later.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|it| it == name)
    }

    /// One more.
    pub fn add(&mut self, name: &str) {
        self.names.push(name.to_owned());
        self.fresh.push(name.to_owned());
    }

    /// Once, those that came since, and are still there.
    pub fn take_fresh(&mut self) -> Vec<String> {
        std::mem::take(&mut self.fresh)
    }

    /// One less.
    pub fn forget(&mut self, name: &str) {
        self.names.retain(|it| it != name);
        self.fresh.retain(|it| it != name);
    }
}

/// The number of a jack's edge: those of others stay what they are when one is gone.
pub fn number_of(jack: &Jack<Device>) -> u32 {
    EDGES + jack.edge().as_fd().as_raw_fd() as u32
}

/// Watches a jack's edge under that number.
///
/// # Errors
/// Those of `watch`.
pub fn watch_edge(jack: &Jack<Device>, watch: &mut WatchNumbered<'_>) -> Result<()> {
    jack.watch(&mut |fd, flags| watch(number_of(jack), fd, flags))
}

//! Links of which another process keeps the descriptors ([`Kept`]), in case this one dies.

use anyhow::{Context, Result};
use shmring::PipeEnd;
use shmring::handover::Kept;

use super::Cable;
use crate::half::Receiver;

impl Cable {
    /// Another process keeps what links it has so far: they came from there.
    pub fn are_kept(&mut self) {
        let links = self.links.iter_mut().map(|(_, joined)| joined);
        links.chain(&mut self.first).for_each(|joined| joined.is_kept = true);
    }

    /// The links that nobody keeps yet, for whoever does from now on. Those whose frames go
    /// through a pipe end with this process.
    ///
    /// # Errors
    /// Those of duplicating descriptors.
    pub fn newly_kept(&mut self) -> Result<Vec<Kept>> {
        let pipe = self.pipe().map_or((0, 0), PipeEnd::id);
        let mut kept = Vec::new();
        for (_, joined) in self.links.iter_mut().filter(|(_, joined)| !joined.is_kept) {
            let Some((peer, features)) = &joined.agreed else { continue };
            joined.is_kept = true;
            let rx = joined.rx.as_mut().map(Receiver::last);
            let link = Kept::of(joined.tx.as_ref(), rx, peer, *features, pipe);
            kept.extend(link.with_context(|| self.parts.what.clone())?);
        }
        Ok(kept)
    }

    /// Stops to use all links, which another process keeps, and to look for others.
    pub fn let_go(&mut self) {
        self.lend().into_iter().for_each(shmring::handover::Handed::let_go);
    }
}

//! A place to meet, patience and chance.

#[path = "../support/chance.rs"]
mod chance;

use std::time::{Duration, Instant};

pub use chance::Chance;
use shmring::{Event, Link, LinkError, Offer, PipeEnd, Rendezvous, RuntimeDir};

pub struct Place {
    pub dir: RuntimeDir,
    pub scratch: tempfile::TempDir,
}

pub fn place() -> Place {
    let scratch = tempfile::tempdir().unwrap();
    Place { dir: RuntimeDir::at(&scratch.path().join("run")).unwrap(), scratch }
}

pub fn offer() -> Offer {
    Offer { label: "victim".into(), capacity: 64 << 10, max_frame: 2000, ..Offer::default() }
}

pub fn pipe() -> (PipeEnd, PipeEnd) {
    let (read, write) = std::io::pipe().unwrap();
    (PipeEnd::new(read, "standard input").unwrap(), PipeEnd::new(write, "standard output").unwrap())
}

/// Far more than anything here takes; only a hang is slower.
pub const HANG: Duration = Duration::from_secs(30);

/// Polls until there is something to tell.
pub fn outcome(rendezvous: &mut Rendezvous) -> Result<Link, LinkError> {
    let start = Instant::now();
    loop {
        if let Some(link) = rendezvous.poll()?.and_then(Event::into_link) {
            return Ok(link);
        }
        assert!(start.elapsed() < HANG, "hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
}

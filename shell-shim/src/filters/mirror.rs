//! A file that gets a copy of each frame. Whatever becomes of it, the chain goes on.

mod fifo;
mod file;

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use shmring::Bytes;

use fifo::Fifo;
use file::Capture;

/// What is left at the end has this long to be handed over.
const LAST: Duration = Duration::from_secs(1);

/// Where copies go.
pub struct Mirror {
    path: PathBuf,
    target: Target,
    /// Frames without a copy.
    missed: u64,
}

enum Target {
    Capture(Box<Capture>),
    Fifo(Box<Fifo>),
}

impl Mirror {
    /// Opens a capture, or gets ready for the readers of a FIFO.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn open(path: &Path, append: bool) -> Result<Mirror> {
        let target = if path.metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
            Target::Fifo(Box::new(Fifo::new()?))
        } else {
            Target::Capture(Box::new(Capture::open(path, append)?))
        };
        Ok(Mirror { path: path.to_owned(), target, missed: 0 })
    }

    /// Takes a copy of a frame; never waits for a reader or a disk.
    pub fn take(&mut self, bytes: &Bytes<'_>) {
        let taken = match &mut self.target {
            Target::Capture(capture) => capture.take(bytes),
            Target::Fifo(fifo) => fifo.take(bytes, &self.path),
        };
        self.missed += u64::from(!taken);
    }

    /// Hands waiting copies to the readers of a FIFO.
    pub fn pump(&mut self) {
        if let Target::Fifo(fifo) = &mut self.target {
            self.missed += fifo.pump(&self.path);
        }
    }

    /// The chain pauses: what was taken can be written.
    pub fn pause(&mut self) {
        if let Target::Capture(capture) = &mut self.target {
            capture.publish();
        }
    }

    /// When [`Mirror::pump`] wants to be called again.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.target {
            Target::Capture(_) => None,
            Target::Fifo(fifo) => fifo.deadline(),
        }
    }

    /// Passes on what is left, and says what has no copy.
    pub fn finish(self) {
        let Mirror { path, target, missed } = self;
        let missed = missed
            + match target {
                Target::Capture(capture) => capture.finish(),
                Target::Fifo(mut fifo) => fifo.finish(&path, Instant::now() + LAST),
            };
        if missed > 0 {
            say::note!("{}: {missed} frames without a copy", path.display());
        }
    }
}

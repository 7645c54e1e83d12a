//! The one reader of captures for all commands, and the one way for them to end.

use std::ops::{Deref, DerefMut};

use frames::capture::Decoder;

/// A decoder that says, when it is dropped, what became of its capture: how many
/// packets it had to leave out and why, and what is wrong with the bytes.
#[derive(Debug)]
pub struct CaptureIn(Decoder);

impl CaptureIn {
    /// Of a capture with this name.
    pub fn new(what: &str) -> CaptureIn {
        CaptureIn(Decoder::new(what))
    }
}

impl Deref for CaptureIn {
    type Target = Decoder;

    fn deref(&self) -> &Decoder {
        &self.0
    }
}

impl DerefMut for CaptureIn {
    fn deref_mut(&mut self) -> &mut Decoder {
        &mut self.0
    }
}

impl Drop for CaptureIn {
    fn drop(&mut self) {
        match self.ending() {
            Err(line) => say::error!("{line}"),
            Ok(Some(line)) => say::note!("{line}"),
            Ok(None) => {}
        }
    }
}

//! The halves of a live link, and how they end.

use shmring::{RecvError, SendError};

use super::half::{Receiver, Sender};

/// The halves of a live link.
pub struct Joined {
    /// Frames out.
    pub tx: Option<Sender>,
    /// Frames in.
    pub rx: Option<Receiver>,
    /// The neighbour wrote what it may not.
    broken: bool,
}

impl Joined {
    /// Of a link that has just come up.
    pub fn new(tx: Option<Sender>, rx: Option<Receiver>) -> Joined {
        Joined { tx, rx, broken: false }
    }

    /// Whether the neighbour wrote what it may not.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// No more frames come in: says why, if there is something to say.
    pub fn end_rx(&mut self, error: &RecvError) {
        let Some(rx) = self.rx.take() else { return };
        match rx.as_stream().and_then(|stream| stream.error()) {
            None if *error == RecvError::Ended => return,
            None => say::error!("{error}, the link is closed"),
            Some(error) => say::error!("{error}"),
        }
        self.broken = true;
    }

    /// No more frames can be sent.
    pub fn end_tx(&mut self, name: &str, error: &SendError) {
        self.tx = None;
        if *error != SendError::Closed {
            say::error!("{name}: {error}, the link is closed");
            self.broken = true;
        }
    }

    /// Takes out the sending half if the neighbour takes no more.
    pub fn drop_closed(&mut self) {
        self.tx.take_if(|tx| tx.is_closed());
    }

    /// Whether there is a half left.
    pub fn is_alive(&self) -> bool {
        self.tx.is_some() || self.rx.is_some()
    }
}

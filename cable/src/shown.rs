//! What a cable shows of itself to whoever looks at its process, as `stdpkt ls` does.

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};
use shmring::board::{Board, Entry, Form, Posting, Way};
use shmring::{Aside, PipeEnd, Role, Rx, Tx};

use super::half::{Joined, Receiver};
use super::stream_rx::StreamRx;
use super::stream_tx::StreamTx;

/// What is shown of a cable.
pub(super) struct Shown {
    board: &'static Board,
    /// What is the same for all of it.
    posting: Posting,
    /// While nobody is there.
    waiting: Option<Entry>,
}

impl Shown {
    /// Of a cable that has no neighbour yet.
    pub fn new(end: &PipeEnd, label: &str) -> Result<Shown> {
        let way = match end.role() {
            Role::Reader => Way::In,
            Role::Writer => Way::Out,
            Role::Either => Way::Either,
        };
        let posting = Posting {
            form: Form::Waiting,
            way,
            pipe: end.id(),
            medium: end.id(),
            label: label.to_owned(),
            what: end.what().to_owned(),
        };
        let board = Board::of_this_process().context("memory for stdpkt ls")?;
        let mut shown = Shown { board, posting, waiting: None };
        shown.waits();
        Ok(shown)
    }

    /// Of a cable within this process: its rings show themselves.
    pub fn local(what: &str) -> Result<Shown> {
        Shown::of_file(what, "")
    }

    /// Of a cable on which nobody is waited for.
    pub fn of_file(what: &str, label: &str) -> Result<Shown> {
        let posting = Posting {
            form: Form::Waiting,
            way: Way::Either,
            pipe: (0, 0),
            medium: (0, 0),
            label: label.to_owned(),
            what: what.to_owned(),
        };
        let board = Board::of_this_process().context("memory for stdpkt ls")?;
        Ok(Shown { board, posting, waiting: None })
    }

    /// Nobody is there.
    pub fn waits(&mut self) {
        self.waiting.get_or_insert_with(|| self.board.post(&self.posting));
    }

    /// Nobody will come.
    pub fn over(&mut self) {
        self.waiting = None;
    }

    /// Somebody is there. A ring shows itself.
    pub fn joins(&mut self, joined: &mut Joined) -> Result<()> {
        self.waiting = None;
        if let Some(tx) = &mut joined.tx {
            let form = form(tx.stream::<StreamTx>().is_some(), tx.stream::<Aside>().is_some());
            if let Tx::Stream(outlet) = tx {
                let entry = self.entry(form, Way::Out, outlet.pipe())?;
                outlet.meter_mut().show(entry);
            }
        }
        for rx in joined.rx.iter_mut().flat_map(Receiver::sources) {
            let form = form(rx.stream::<StreamRx>().is_some(), rx.stream::<Aside>().is_some());
            if let Rx::Stream(inlet) = rx {
                let entry = self.entry(form, Way::In, inlet.pipe())?;
                inlet.meter_mut().show(entry);
            }
        }
        Ok(())
    }

    fn entry(&self, form: Form, way: Way, pipe: BorrowedFd<'_>) -> Result<Entry> {
        let medium = match form {
            // What carries them has no inode.
            Form::Aside => (u64::from(way != self.posting.way), self.posting.pipe.1),
            _ => {
                let stat = rustix::fs::fstat(pipe).context("fstat")?;
                (stat.st_dev, stat.st_ino)
            }
        };
        Ok(self.board.post(&Posting { form, way, medium, ..self.posting.clone() }))
    }
}

/// How a half's frames cross that is no ring.
fn form(is_capture: bool, is_aside: bool) -> Form {
    match (is_capture, is_aside) {
        (true, _) => Form::Capture,
        (_, true) => Form::Aside,
        _ => Form::Pipe,
    }
}

//! What a cable shows of itself to whoever looks at its process, as `stdpkt ls` does.

use anyhow::{Context, Result};
use shmring::board::{Board, Entry, Form, Posting, Way};
use shmring::{PipeEnd, Role, Rx, Tx};

use super::half::{Joined, Receiver, Sender, Source};

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
        match &mut joined.tx {
            Some(Sender::Stream(stream)) => stream.show(self.capture(Way::Out)),
            Some(Sender::Link(Tx::Pipe(pipe))) => {
                let medium = pipe.medium().context("fstat")?;
                pipe.show(self.pipe(Way::Out, medium));
            }
            _ => {}
        }
        for source in joined.rx.iter_mut().flat_map(Receiver::sources) {
            match source {
                Source::Stream(stream) => stream.show(self.capture(Way::In)),
                Source::Link(Rx::Pipe(pipe)) => {
                    let medium = pipe.medium().context("fstat")?;
                    pipe.show(self.pipe(Way::In, medium));
                }
                Source::Link(Rx::Ring(_)) => {}
            }
        }
        Ok(())
    }

    fn capture(&self, way: Way) -> Entry {
        self.board.post(&Posting { form: Form::Capture, way, ..self.posting.clone() })
    }

    fn pipe(&self, way: Way, medium: (u64, u64)) -> Entry {
        self.board.post(&Posting { form: Form::Pipe, way, medium, ..self.posting.clone() })
    }
}

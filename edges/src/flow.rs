//! What goes into a program and comes out of it, and what to say of that while it lives.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use shmring::Bytes;

use crate::matching::Matching;

/// A program that has got frames and has written nothing for so long may hold them back.
const SILENCE: Duration = Duration::from_secs(3);
/// One that lives on so long after it has closed a stream did not do so to end.
const AFTERLIFE: Duration = Duration::from_secs(1);

/// The frames of one program, counted where they are written and read.
#[derive(Debug, Default)]
pub struct Flow {
    given: Cell<u64>,
    returned: Cell<u64>,
    /// Where what comes back is what was given.
    matching: Option<RefCell<Matching>>,
    /// When the first was given, until something came back or that was told.
    waits_since: Cell<Option<Instant>>,
    /// Bytes came, be they frames or not.
    spoke: Cell<bool>,
    /// What came and is no whole frame yet, and since when, until that was told.
    part: RefCell<Option<(Instant, String)>>,
    /// It was told.
    told_part: Cell<bool>,
    /// When it closed its standard input or output, until that was told.
    input_closed: Cell<Option<Instant>>,
    output_closed: Cell<Option<Instant>>,
}

impl Flow {
    /// Of a filter: tells what it returned as it was from what it wrote itself.
    pub fn of_filter() -> Flow {
        Flow { matching: Some(RefCell::default()), ..Flow::default() }
    }

    /// Frames that came back as they were, of a filter.
    pub fn unchanged(&self) -> u64 {
        self.matching.as_ref().map_or(0, |matching| matching.borrow().unchanged())
    }

    /// Frames that were written to it.
    pub fn given(&self) -> u64 {
        self.given.get()
    }

    /// Frames that it wrote.
    pub fn returned(&self) -> u64 {
        self.returned.get()
    }

    pub(crate) fn give(&self, frame: Bytes<'_>) {
        if let Some(matching) = &self.matching {
            matching.borrow_mut().give(frame);
        }
        if self.given.replace(self.given() + 1) == 0 && !self.spoke.get() {
            self.waits_since.set(Some(Instant::now()));
        }
    }

    pub(crate) fn take_back(&self, packet: Option<&[u8]>) {
        if let (Some(matching), Some(packet)) = (&self.matching, packet) {
            matching.borrow_mut().take_back(packet);
        }
        self.returned.set(self.returned() + 1);
        self.part.take();
    }

    /// Nothing more comes for the moment, and the frame that began is not whole, or none did.
    pub(crate) fn rest(&self, part: impl FnOnce() -> Option<String>) {
        if self.told_part.get() {
            return;
        }
        let part = part();
        let mut before = self.part.borrow_mut();
        if before.as_ref().map(|(_, part)| part) != part.as_ref() {
            *before = part.map(|part| (Instant::now(), part));
        }
    }

    pub(crate) fn speak(&self) {
        self.spoke.set(true);
        self.waits_since.set(None);
    }

    /// It reads no more.
    pub(crate) fn close_input(&self) {
        self.waits_since.set(None);
        self.input_closed.set(Some(Instant::now()));
    }

    /// It writes no more.
    pub(crate) fn close_output(&self) {
        self.speak(); // as far as anybody waits for it
        self.output_closed.set(Some(Instant::now()));
    }

    /// When [`Flow::tell`] may have something to say.
    pub fn deadline(&self) -> Option<Instant> {
        let closed = [&self.input_closed, &self.output_closed];
        let closed = closed.into_iter().filter_map(Cell::get).map(|at| at + AFTERLIFE);
        let part = self.part.borrow().as_ref().map(|(at, _)| *at + SILENCE);
        closed.chain(self.waits_since.get().map(|at| at + SILENCE)).chain(part).min()
    }

    /// Says of the program `what`, which lives, what its user may not know, once each.
    pub fn tell(&self, what: &str) {
        let due = |cell: &Cell<Option<Instant>>, after| {
            let is_due = cell.get().is_some_and(|at| at.elapsed() >= after);
            is_due && cell.take().is_some()
        };
        if due(&self.waits_since, SILENCE) {
            say::note!(
                "{what} has written nothing in the {} s since it got a frame, {} so far: one that holds \
                 back what it writes has to write each at once, as python3 -u and grep --line-buffered do",
                SILENCE.as_secs(),
                self.given()
            );
        }
        let is_due = |part: &mut (Instant, String)| part.0.elapsed() >= SILENCE;
        if let Some((_, part)) = self.part.borrow_mut().take_if(is_due) {
            self.told_part.set(true);
            say::note!("{what} has written no more for {} s, within {part}", SILENCE.as_secs());
        }
        if due(&self.input_closed, AFTERLIFE) {
            say::note!(
                "{what} has closed its standard input and lives on: frames to it are dropped \
                 (stdpkt ls counts them); for both directions let it keep both open"
            );
        }
        if due(&self.output_closed, AFTERLIFE) {
            say::note!(
                "{what} has closed its standard output and lives on: no more frames come from \
                 it; for both directions let it keep both open"
            );
        }
    }
}

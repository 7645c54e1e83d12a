//! What a process counts besides its links, under a name, for `stdpkt ls` and the metrics to see.
//! Whoever takes its place goes on from there: no total goes back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use shmring::board::{Board, Form, Posting, Tally, Way};

/// Four numbers, and the id of the process that has begun to count them, by which one who goes on is
/// told from one who begins.
type Numbers = [u64; 5];

/// What is counted here, and what was before it.
static SHOWN: Mutex<BTreeMap<String, Numbers>> = Mutex::new(BTreeMap::new());

/// Something that is counted.
pub struct Counted {
    name: &'static str,
    tally: Tally,
    shown: Option<[u64; 4]>,
}

impl Counted {
    /// Nothing is shown yet.
    ///
    /// # Errors
    /// Where there is no memory for what `stdpkt ls` shows.
    pub fn new(name: &'static str) -> Result<Counted> {
        let board = Board::of_this_process().context("memory for stdpkt ls")?;
        let tally = Tally::new(board.post(&Posting {
            form: Form::Tally,
            way: Way::Either,
            pipe: (0, 0),
            medium: (0, 0),
            label: name.to_owned(),
            what: String::new(),
        }));
        Ok(Counted { name, tally, shown: None })
    }

    /// Shows these from now on.
    pub fn show(&mut self, numbers: [u64; 4]) {
        if self.shown == Some(numbers) {
            return;
        }
        self.shown = Some(numbers);
        let mut shown = shown();
        let all = shown.entry(self.name.to_owned()).or_insert([0; 5]);
        if all[4] == 0 {
            all[4] = std::process::id().into();
        }
        all[..4].copy_from_slice(&numbers);
        self.tally.show(*all);
    }
}

/// What was counted under a name before this process.
pub fn before(name: &str) -> [u64; 4] {
    let numbers = shown().get(name).copied().unwrap_or_default();
    [numbers[0], numbers[1], numbers[2], numbers[3]]
}

/// What another process has counted under a name; `first` is the one that began.
pub fn goes_on(name: &str, [a, b, c, d]: [u64; 4], first: u32) {
    shown().insert(name.to_owned(), [a, b, c, d, first.into()]);
}

/// All of it, for whoever takes this process's place.
pub fn will() -> Vec<u8> {
    // Nothing in it has a form that JSON does not have.
    serde_json::to_vec(&*shown()).unwrap_or_default()
}

/// Goes on from what [`will`] said; from nothing where that says nothing.
pub fn inherit(will: &[u8]) {
    *shown() = serde_json::from_slice(will).unwrap_or_default();
}

fn shown() -> MutexGuard<'static, BTreeMap<String, Numbers>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

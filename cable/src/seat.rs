//! On which processor the thread of a function runs whose row is longer than there are
//! processors.
//!
//! Left alone, the scheduler wakes each of the row on whichever processor has nothing to do. That one
//! has to be told, in a virtual machine by the host, and each frame goes from cache to cache at
//! each hop. So the row is cut into as many pieces as there are processors, and each piece has
//! one: of all its links only those between two pieces lead to another cache, and all processors
//! have work. A row for which there are processors enough is left to the scheduler.

use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use shmring::Spin;

use crate::row::Row;

/// How long the end of a row looks for an answer, which comes from the other end.
const PATIENCE: Duration = Duration::from_millis(1);

/// Where more than so many share a processor, one in the middle that looks keeps the others
/// from it.
const CROWD: usize = 8;

/// Of one thread.
pub(crate) struct Seat {
    /// Where it may run.
    allowed: CpuSet,
    /// The same, one by one.
    cpus: Vec<usize>,
    /// The processor on which it sits.
    sits: Option<usize>,
    row: Row,
}

impl Seat {
    /// None where there is no choice.
    pub fn new() -> Option<Seat> {
        let allowed = sched_getaffinity(None).ok()?;
        let cpus: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        (cpus.len() > 1).then_some(Seat { allowed, cpus, sits: None, row: Row::default() })
    }

    /// Sits down where one of that place belongs, or stands up; returns how it looks for
    /// frames there, if that is another place than before.
    pub fn take(&mut self, row: Row) -> Option<Spin> {
        if row == std::mem::replace(&mut self.row, row) {
            return None;
        }
        let cpus = self.cpus.len();
        let piece = row.place() * cpus / row.len();
        // Rows do not all begin on the same processor.
        let cpu = self.cpus[(piece + usize::from(row.mark())) % cpus];
        self.sit((row.len() > cpus).then_some(cpu));
        Some(match row.len() {
            len if len <= cpus => Spin::new(),
            _ if row.is_end() => Spin::with_limit(PATIENCE),
            len if len > CROWD * cpus => Spin::with_limit(Duration::ZERO),
            _ => Spin::new(),
        })
    }

    fn sit(&mut self, cpu: Option<usize>) {
        if cpu == self.sits {
            return;
        }
        // Somebody else may have decided meanwhile where it runs, as taskset does.
        let is_ours = sched_getaffinity(None).is_ok_and(|now| now == self.mask(self.sits));
        // Refused where these processors have been taken away: then it stays.
        if is_ours && sched_setaffinity(None, &self.mask(cpu)).is_ok() {
            self.sits = cpu;
        }
    }

    fn mask(&self, cpu: Option<usize>) -> CpuSet {
        let Some(cpu) = cpu else { return self.allowed };
        let mut mask = CpuSet::new();
        mask.set(cpu);
        mask
    }
}

impl Drop for Seat {
    /// Whoever is started by this thread later is not to sit.
    fn drop(&mut self) {
        self.sit(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processors() -> Vec<usize> {
        let now = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|cpu| now.is_set(*cpu)).collect()
    }

    fn seat() -> Option<Seat> {
        let seat = Seat::new();
        if seat.is_none() {
            say::line!("skipped: a seat needs a second processor");
        }
        seat
    }

    #[test]
    fn a_long_row_is_cut_into_as_many_pieces_as_there_are_processors() {
        let all = processors();
        let Some(mut seat) = seat() else { return };
        let each = 3;
        let longest = (each * all.len()) as u16;
        let mut taken = Vec::new();
        for place in 0..longest {
            // The first one has a mark of its own.
            seat.take(Row::of(place, longest - 1 - place));
            taken.push(processors());
            assert_eq!(taken.last().unwrap().len(), 1);
        }
        assert!(taken[1..].chunk_by(PartialEq::eq).all(|piece| piece.len() <= each));
        let mut used: Vec<_> = taken[1..].concat();
        used.dedup();
        assert_eq!(used.len(), all.len());
        // There are processors enough.
        seat.take(Row::of(0, 1));
        assert_eq!(processors(), all);
        seat.take(Row::of(longest, 0));
        drop(seat);
        assert_eq!(processors(), all);
    }

    #[test]
    fn who_was_given_a_processor_meanwhile_stays_there() {
        let Some(mut seat) = seat() else { return };
        let all = processors();
        let last = seat.mask(all.last().copied());
        sched_setaffinity(None, &last).unwrap();
        (0..2).for_each(|place| {
            seat.take(Row::of(place, 9000));
        });
        drop(seat);
        assert!(sched_getaffinity(None).unwrap() == last);
    }
}

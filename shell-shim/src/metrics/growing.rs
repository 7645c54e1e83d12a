//! Totals that never go back.

use std::collections::HashMap;
use std::hash::Hash;

/// `N` counters of each of those that are known to others by `Labels`. Where several have the same labels, or
/// one comes after the other, they are added up.
pub struct Growing<Key, Labels, const N: usize> {
    /// What was counted at the last look, of each that there was.
    seen: HashMap<Key, [u64; N]>,
    totals: HashMap<Labels, [u64; N]>,
}

impl<Key, Labels, const N: usize> Default for Growing<Key, Labels, N> {
    fn default() -> Self {
        Growing { seen: HashMap::new(), totals: HashMap::new() }
    }
}

impl<Key: Eq + Hash, Labels: Eq + Hash, const N: usize> Growing<Key, Labels, N> {
    /// Another look. Labels that nobody has any more are forgotten.
    pub fn look(&mut self, all: impl Iterator<Item = (Key, Labels, [u64; N])>) {
        let mut seen = HashMap::new();
        let mut totals: HashMap<Labels, [u64; N]> = HashMap::new();
        for (key, labels, counts) in all {
            let before = self.seen.get(&key).copied().unwrap_or([0; N]);
            let total = self.totals.get(&labels).copied().unwrap_or([0; N]);
            let total = totals.entry(labels).or_insert(total);
            for ((total, now), before) in total.iter_mut().zip(counts).zip(before) {
                // One that went back is another one's.
                *total += now.checked_sub(before).unwrap_or(now);
            }
            seen.insert(key, counts);
        }
        (self.seen, self.totals) = (seen, totals);
    }

    /// What they come to.
    pub fn totals(&self) -> impl Iterator<Item = (&Labels, &[u64; N])> {
        self.totals.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_never_go_back_while_somebody_has_the_labels() {
        let mut growing = Growing::default();
        for (all, expected) in [
            (vec![(1, 5)], Some(5)),
            (vec![(1, 9)], Some(9)),
            // A second one of that name.
            (vec![(1, 9), (2, 1)], Some(10)),
            // The first one is gone.
            (vec![(2, 3)], Some(12)),
            // One that begins, with the same key.
            (vec![(2, 1)], Some(13)),
            // One after the other.
            (vec![(3, 1)], Some(14)),
            // What is gone is not remembered for ever.
            (vec![], None),
            (vec![(3, 4)], Some(4)),
        ] {
            growing.look(all.iter().map(|&(key, count)| (key, "fw", [count])));
            let total = growing.totals().next().map(|(_, [total])| *total);
            assert_eq!(total, expected, "{all:?}");
        }
    }
}

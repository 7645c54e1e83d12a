//! Where a function stands in a row of functions: by what each tells its neighbours.
//!
//! To its neighbour on the right it tells how many there are from the left end of the row up
//! to itself, and to that on the left the same from the right end. It looks at what it is told
//! before it sleeps, so that word gets around with the first frames, and costs none of them.

use crate::Cable;

/// Longest row that is told of. A circle of functions would count for ever.
const LONGEST: u16 = 1024;

/// What one neighbour tells. All of it is a hint, and the neighbour's to choose.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    /// Functions on that side, 0 where there is none.
    count: u16,
    /// A number that the one at the left end chose: the same for all of its row.
    mark: u16,
}

/// A function's place in its row.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    left: Told,
    right: Told,
}

impl Told {
    /// One that tells nothing is a neighbour nevertheless.
    fn of(told: u32) -> Told {
        Told { count: (told as u16).clamp(1, LONGEST), mark: (told >> 16) as u16 }
    }

    /// What the next one is told.
    fn and_one(self, mark: u16) -> u32 {
        u32::from((self.count + 1).min(LONGEST)) | u32::from(mark) << 16
    }
}

impl Row {
    /// By what the neighbours tell. Those by other cables than `left` and `right` stand in
    /// no row with us.
    pub fn seen<'a>(cables: impl Iterator<Item = &'a mut Cable>) -> Row {
        let mut row = Row::default();
        for cable in cables {
            let Some(side) = row.side(cable.label()) else { continue };
            for rx in cable.links().filter_map(|joined| joined.rx.as_ref()) {
                *side = (*side).max(rx.row().map(Told::of).unwrap_or_default());
            }
        }
        row
    }

    /// Tells each neighbour what is behind us.
    pub fn tell<'a>(&self, cables: impl Iterator<Item = &'a mut Cable>) {
        for cable in cables {
            let told = match cable.label() {
                "left" => self.right.and_one(0),
                "right" => self.left.and_one(self.mark()),
                _ => continue,
            };
            for tx in cable.links().filter_map(|joined| joined.tx.as_mut()) {
                tx.tell_row(told);
            }
        }
    }

    fn side(&mut self, label: &str) -> Option<&mut Told> {
        match label {
            "left" => Some(&mut self.left),
            "right" => Some(&mut self.right),
            _ => None,
        }
    }

    /// Functions in the row, this one included.
    pub fn len(&self) -> usize {
        self.place() + 1 + usize::from(self.right.count)
    }

    /// Functions on the left of this one.
    pub fn place(&self) -> usize {
        self.left.count.into()
    }

    /// Whether there are neighbours on one side only.
    pub fn is_end(&self) -> bool {
        self.left.count == 0 || self.right.count == 0
    }

    /// A number that all of a row have.
    pub fn mark(&self) -> u16 {
        match self.left.count {
            0 => std::process::id() as u16,
            _ => self.left.mark,
        }
    }
}

#[cfg(test)]
impl Row {
    /// One that has so many on its left and on its right.
    pub fn of(left: u16, right: u16) -> Row {
        let told = |count| Told { count, mark: 0 };
        Row { left: told(left), right: told(right) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of a row sees after everybody has looked so often.
    fn rows(functions: usize, looks: usize) -> Vec<Row> {
        let mut rows = vec![Row::default(); functions];
        for _ in 0..looks {
            for at in 0..functions {
                let left = at.checked_sub(1).map(|left| rows[left].left.and_one(rows[left].mark()));
                let right = rows.get(at + 1).map(|right| right.right.and_one(0));
                rows[at].left = left.map(Told::of).unwrap_or_default();
                rows[at].right = right.map(Told::of).unwrap_or_default();
            }
        }
        rows
    }

    #[test]
    fn each_gets_to_know_its_place_and_how_long_the_row_is() {
        for functions in [1, 2, 3, 10] {
            for (place, row) in rows(functions, functions).into_iter().enumerate() {
                assert_eq!((row.place(), row.len()), (place, functions));
                assert_eq!(row.is_end(), place == 0 || place == functions - 1);
                assert_eq!(row.mark(), std::process::id() as u16);
            }
        }
    }

    #[test]
    fn whatever_a_neighbour_tells_is_a_place() {
        for told in [0, 1, u32::MAX, 0xffff, 0x7fff_ffff] {
            let row = Row { left: Told::of(told), right: Told::of(told) };
            assert!(row.place() < row.len() && row.len() <= 2 * usize::from(LONGEST) + 1);
            assert!(Told::of(row.left.and_one(row.mark())).count <= LONGEST);
        }
        // One that tells nothing, as a program in C may.
        assert_eq!(Told::of(0).count, 1);
    }
}

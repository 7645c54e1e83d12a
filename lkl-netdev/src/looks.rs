//! What poll threads know of who looks.

use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// Written by who has the role of looking, read by poll threads. A hint: what a poll thread
/// does not see yet, it sees a doze later.
#[derive(Default)]
pub(crate) struct Looks {
    /// How often one went back to the program after a look: it may look again soon.
    back: AtomicU32,
    /// The last one did not: it sleeps, and nobody looks until it is woken.
    sleeps: AtomicBool,
}

impl Looks {
    /// A look is over.
    pub fn end(&self, goes_back: bool) {
        // Relaxed, here and below: see `Looks`.
        self.sleeps.store(!goes_back, Ordering::Relaxed);
        self.back.fetch_add(u32::from(goes_back), Ordering::Relaxed);
    }

    /// Whether somebody who may look again soon went back to the program since the last
    /// call for that poll thread.
    pub fn go_on(&self, seen: &mut u32) -> bool {
        let before = std::mem::replace(seen, self.back.load(Ordering::Relaxed));
        before != *seen && !self.sleeps.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Looks;

    #[test]
    fn who_sleeps_does_not_look_again_soon() {
        let looks = Looks::default();
        let (mut one, mut other) = (0, 0);
        looks.end(true);
        assert!(looks.go_on(&mut one));
        assert!(!looks.go_on(&mut one), "it computes since");
        looks.end(true);
        looks.end(false);
        assert!(!looks.go_on(&mut one));
        assert!(!looks.go_on(&mut other));
        looks.end(true);
        assert!(looks.go_on(&mut one) && looks.go_on(&mut other));
    }
}

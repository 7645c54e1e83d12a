//! What passes in a second, from one look to the next.

use std::collections::HashMap;
use std::time::Instant;

use super::links::{Key, Link};

/// What passes a link in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    /// Frames, of which one may carry many TCP segments.
    pub packets: f64,
    /// Bits of these.
    pub bits: f64,
}

/// Of all links.
#[derive(Default)]
pub struct Rates {
    before: HashMap<Key, (Instant, u64, u64)>,
    now: HashMap<Key, Rate>,
}

impl Rates {
    /// Takes another look.
    pub fn look(&mut self, links: &[Link], at: Instant) {
        let mut counted = HashMap::new();
        self.now.clear();
        for link in links {
            let (Some(frames), Some(bytes)) =
                (link.counted(|end| end.frames), link.counted(|end| end.bytes))
            else {
                continue;
            };
            counted.insert(link.key(), (at, frames, bytes));
            let Some((then, old_frames, old_bytes)) = self.before.get(&link.key()) else {
                continue;
            };
            let seconds = at.duration_since(*then).as_secs_f64();
            if seconds > 0.0 {
                let per_second = |now: u64, old: u64| now.saturating_sub(old) as f64 / seconds;
                let rate = Rate {
                    packets: per_second(frames, *old_frames),
                    bits: per_second(bytes, *old_bytes) * 8.0,
                };
                self.now.insert(link.key(), rate);
            }
        }
        self.before = counted;
    }

    /// Since the look before; none at the first.
    pub fn of(&self, link: &Link) -> Option<Rate> {
        self.now.get(&link.key()).copied()
    }
}

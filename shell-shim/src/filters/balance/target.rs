//! One target: whether it gets new flows, and how many of them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use frames::flow::Flow;

/// A target that takes nothing for so long is not waited for any more, so that one
/// that is stopped does not stop the others.
pub const PATIENCE: Duration = Duration::from_millis(100);
/// New flows in a row without a frame back after which a target gets no more, if it had
/// this long to answer the first of them.
pub const UNANSWERED: u32 = 8;
pub const SILENCE: Duration = Duration::from_secs(1);

/// What `--check` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody asks.
    None,
    /// No result yet.
    Pending,
    /// The command succeeded.
    In,
    /// It failed.
    Out,
}

/// A target of the balancer.
#[derive(Debug)]
pub struct Target {
    /// Its FIFO.
    pub path: PathBuf,
    /// Its share of the new flows, compared with the others'.
    pub weight: u32,
    /// It gets no new flows and keeps those that it has.
    pub drained: bool,
    /// Somebody is there.
    pub up: bool,
    /// Its hardware address, once it has sent something.
    pub mac: Option<[u8; 6]>,
    /// What `--check` found.
    pub verdict: Verdict,
    /// Since when it takes nothing.
    pub full_since: Option<Instant>,
    /// New flows since it last sent something, and when the first of them came.
    unanswered: u32,
    unanswered_since: Option<Instant>,
}

impl Target {
    /// A target that nobody has plugged in yet.
    pub fn new(path: PathBuf, verdict: Verdict) -> Target {
        Target {
            path,
            weight: 1,
            drained: false,
            up: false,
            mac: None,
            verdict,
            full_since: None,
            unanswered: 0,
            unanswered_since: None,
        }
    }

    /// Whether its user wants it to have new flows.
    pub fn is_in(&self) -> bool {
        self.up && !self.drained && matches!(self.verdict, Verdict::None | Verdict::In)
    }

    /// Whether it seems to do something with what it gets. One whose hardware address
    /// is unknown would not take frames that were sent to another's.
    pub fn is_well(&self, now: Instant) -> bool {
        let longer = |since: Option<Instant>, limit| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
        };
        let silent = self.unanswered >= UNANSWERED && longer(self.unanswered_since, SILENCE);
        self.mac.is_some() && !silent && !longer(self.full_since, PATIENCE)
    }

    /// It gets a new flow, or one that was not answered is tried again.
    pub fn gets_new(&mut self, now: Instant) {
        self.unanswered = self.unanswered.saturating_add(1);
        self.unanswered_since.get_or_insert(now);
    }

    /// It sent a frame from this hardware address.
    pub fn sent(&mut self, mac: [u8; 6]) {
        self.mac = Some(mac);
        self.unanswered = 0;
        self.unanswered_since = None;
    }

    /// Somebody else is there, or nobody.
    pub fn replaced(&mut self, up: bool) {
        let verdict = match self.verdict {
            Verdict::None => Verdict::None,
            _ => Verdict::Pending,
        };
        let Target { path, weight, drained, .. } = self;
        let (path, weight, drained) = (std::mem::take(path), *weight, *drained);
        *self = Target { weight, drained, up, ..Target::new(path, verdict) };
    }

    /// Weighted rendezvous hashing: the flow goes to the target with the highest
    /// score. So each flow has its own order of the targets; when one goes only its flows
    /// move, when one comes only those move that it gets, and of each its share.
    pub fn score(&self, flow: &Flow) -> f64 {
        let mut hasher = DefaultHasher::new(); // the same in each process
        (flow, &self.path).hash(&mut hasher);
        let unit = ((hasher.finish() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -f64::from(self.weight) / unit.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::flow::Belongs;

    fn flows() -> impl Iterator<Item = Flow> {
        (0..3000u16).map(|port| {
            let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
            let mut packet = Vec::new();
            let udp = builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9).udp(port, 53);
            udp.write(&mut packet, b"").unwrap();
            match Belongs::of(&packet) {
                Belongs::Flow(part) => part.flow,
                other => panic!("{other:?}"),
            }
        })
    }

    fn targets(weights: &[u32]) -> Vec<Target> {
        let named = |(at, &weight): (usize, &u32)| Target {
            weight,
            ..Target::new(format!("f{at}").into(), Verdict::None)
        };
        weights.iter().enumerate().map(named).collect()
    }

    fn best(flow: &Flow, targets: &[Target]) -> usize {
        let scores = targets.iter().map(|target| target.score(flow)).enumerate();
        scores.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0
    }

    #[test]
    fn each_target_gets_its_share() {
        let targets = targets(&[1, 2, 3]);
        let mut counts = [0; 3];
        flows().for_each(|flow| counts[best(&flow, &targets)] += 1);
        for (count, share) in counts.into_iter().zip([500, 1000, 1500]) {
            assert!((share - 100..share + 100).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn a_target_more_takes_its_share_and_moves_nothing_else() {
        let four = targets(&[1; 4]);
        let moved = flows().filter(|flow| {
            let (before, after) = (best(flow, &four[..3]), best(flow, &four));
            assert!(before == after || after == 3);
            before != after
        });
        assert!((650..850).contains(&moved.count()));
    }

    #[test]
    fn a_target_that_never_answers_gets_no_more_until_it_does() {
        let begin = Instant::now();
        let mut target = Target::new("f".into(), Verdict::None);
        target.sent([2; 6]);
        (0..UNANSWERED).for_each(|_| target.gets_new(begin));
        assert!(target.is_well(begin), "it may not have had time to answer");
        assert!(!target.is_well(begin + SILENCE));
        target.sent([2; 6]);
        assert!(target.is_well(begin + SILENCE));
    }
}

//! From what links show to what Prometheus takes.

use std::collections::HashMap;
use std::fmt::Error;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::ls::function::{Restarts, Spawned};
use crate::ls::links::{End, Link};
use crate::ls::report::Report;

/// Function, interface and direction.
type Labels = [(&'static str, String); 3];
/// Of an end, as long as its link lives. A ring is the same whoever has it.
type Key = (&'static str, u64, String, Option<u32>, &'static str);

/// What an end counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    frames: u64,
    bytes: u64,
    dropped: u64,
    stalls: u64,
    wakeups: u64,
    /// What the interface dropped before the link.
    queue: u64,
}

impl Counts {
    fn of(end: &End) -> Option<Counts> {
        Some(Counts {
            frames: end.frames?,
            bytes: end.bytes?,
            dropped: end.drops?,
            stalls: end.stalls?,
            wakeups: end.wakeups?,
            queue: end.interface_drops.unwrap_or(0),
        })
    }

    fn zip(self, other: Counts, with: impl Fn(u64, u64) -> u64) -> Counts {
        Counts {
            frames: with(self.frames, other.frames),
            bytes: with(self.bytes, other.bytes),
            dropped: with(self.dropped, other.dropped),
            stalls: with(self.stalls, other.stalls),
            wakeups: with(self.wakeups, other.wakeups),
            queue: with(self.queue, other.queue),
        }
    }
}

/// Counters by function and interface, which never go back: where several links come one
/// after the other, or side by side, or a function is followed by one of the same name
/// between two looks, they are added up.
#[derive(Default)]
pub struct Totals {
    /// What was counted at the last look, of each end that there was.
    seen: HashMap<Key, Counts>,
    totals: HashMap<Labels, Counts>,
}

impl Totals {
    /// The metrics of now, as OpenMetrics.
    ///
    /// # Errors
    /// Those of reading `/proc`.
    pub fn look(&mut self) -> std::io::Result<String> {
        let report = Report::new()?;
        self.add(&report.links);
        // Writing to a string cannot fail.
        Ok(self.encode(&report).unwrap_or_default())
    }

    fn add(&mut self, links: &[Link]) {
        let mut seen = HashMap::new();
        let mut totals: HashMap<Labels, Counts> = HashMap::new();
        for (key, labels, counts) in links.iter().flat_map(ends) {
            let before = self.seen.get(&key).copied().unwrap_or_default();
            // One that went back is another one's.
            let new = counts.zip(before, |now, before| now.checked_sub(before).unwrap_or(now));
            let total = self.totals.get(&labels).copied().unwrap_or_default();
            let total = totals.entry(labels).or_insert(total);
            *total = total.zip(new, |total, new| total + new);
            seen.insert(key, counts);
        }
        (self.seen, self.totals) = (seen, totals);
    }

    fn encode(&self, report: &Report) -> Result<String, Error> {
        let mut registry = Registry::with_prefix("stdpkt");
        self.register_counters(&mut registry);
        let up = Family::<Labels, Gauge>::default();
        let used = Family::<Labels, Gauge>::default();
        let capacity = Family::<Labels, Gauge>::default();
        for (link, (_, labels, _)) in
            report.links.iter().flat_map(|it| ends(it).map(move |end| (it, end)))
        {
            up.get_or_create(&labels).inc_by((link.form != "waiting").into());
            if let (Some(bytes), Some(room)) = (link.used_bytes, link.capacity_bytes) {
                used.get_or_create(&labels).inc_by(bytes as i64);
                capacity.get_or_create(&labels).inc_by(room as i64);
            }
        }
        let functions = Family::<[(&str, String); 1], Gauge>::default();
        for function in &report.functions {
            functions.get_or_create(&[("function", escaped(&function.name))]).inc();
        }
        let restarts = Family::<[(&str, String); 1], Counter>::default();
        for function in &report.functions {
            if let Some(Restarts { count, .. }) = function.restarts {
                restarts.get_or_create(&[("function", escaped(&function.name))]).inc_by(count);
            }
        }
        let counter = Family::<[(&str, String); 1], Counter>::default;
        let (started, refused) = (counter(), counter());
        for function in &report.functions {
            if let Some(Spawned { total, refused: no_room, .. }) = function.spawned {
                let labels = [("function", escaped(&function.name))];
                started.get_or_create(&labels).inc_by(total);
                refused.get_or_create(&labels).inc_by(no_room);
            }
        }
        registry.register("spawned", "Functions that a balancer started", started);
        let no_room = "Times that a balancer had no room for another function";
        registry.register("spawns_refused", no_room, refused);
        registry.register("restarts", "Times that a function started its CMD again", restarts);
        let flows = Family::<[(&str, String); 2], Gauge>::default();
        for link in &report.links {
            if let (Some(of), Some(from)) = (&link.flows, &link.from) {
                let target = link.to.as_ref().map(|to| escaped(to.called()));
                let labels =
                    [("function", escaped(from.called())), ("target", target.unwrap_or_default())];
                flows.get_or_create(&labels).inc_by(of.now as i64);
            }
        }
        let missing: Gauge = Gauge::default();
        missing.set(report.missing as i64);
        registry.register("functions", "Functions and other commands that run, by name", functions);
        registry.register("links", "Links that somebody has come to", up);
        registry.register(
            "links_unlisted",
            "Links for which there was no room to be shown",
            missing,
        );
        let waiting = "What waits in the ring, with headers";
        registry.register_with_unit("ring_used", waiting, Unit::Bytes, used);
        registry.register_with_unit("ring_capacity", "Room in the ring", Unit::Bytes, capacity);
        registry.register("balancer_flows", "Flows that a balancer remembers", flows);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn register_counters(&self, registry: &mut Registry) {
        let counters = |of: fn(&Counts) -> u64| {
            let family = Family::<Labels, Counter>::default();
            for (labels, counts) in &self.totals {
                family.get_or_create(labels).inc_by(of(counts));
            }
            family
        };
        registry.register(
            "frames",
            "Frames that passed an end of a link",
            counters(|it| it.frames),
        );
        registry.register_with_unit(
            "frame",
            "Bytes of these frames, headers included",
            Unit::Bytes,
            counters(|it| it.bytes),
        );
        registry.register(
            "dropped_frames",
            "Frames that an end of a link threw away",
            counters(|it| it.dropped),
        );
        registry.register(
            "interface_dropped_frames",
            "Frames that a stack sent and the link was too slow for, or not there",
            counters(|it| it.queue),
        );
        registry.register(
            "stalls",
            "Times that an end slept for want of room (sent) or frames (received)",
            counters(|it| it.stalls),
        );
        registry.register(
            "wakeups",
            "Times that an end rang its neighbour's doorbell",
            counters(|it| it.wakeups),
        );
    }
}

/// A label's value as the formats want it; the library writes it as it is.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// The ends of a link that count.
fn ends(link: &Link) -> impl Iterator<Item = (Key, Labels, Counts)> {
    let ends = [(&link.from, "sent"), (&link.to, "received")];
    ends.into_iter().filter_map(|(end, direction)| {
        let end = end.as_ref()?;
        let interface = end.interface.as_deref()?;
        let owner = if link.form == "ring" { None } else { end.pid };
        let key = (link.form, link.inode, link.pipe.clone(), owner, direction);
        let labels = [
            ("function", escaped(end.called())),
            ("interface", escaped(interface)),
            ("direction", direction.to_owned()),
        ];
        Some((key, labels, Counts::of(end)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(inode: u64, pid: u32, frames: u64) -> Link {
        let end = |name| {
            let mut end = End::of_tests(pid, name, "right");
            end.frames = Some(frames);
            Some(end)
        };
        let mut link = Link::of_tests("ring", end("fw"), None);
        link.inode = inode;
        link
    }

    fn total(totals: &Totals) -> Option<u64> {
        let labels = [("function", "fw"), ("interface", "right"), ("direction", "sent")];
        let labels = labels.map(|(name, value)| (name, value.to_owned()));
        totals.totals.get(&labels).map(|counts| counts.frames)
    }

    #[test]
    fn counters_never_go_back_while_the_function_has_a_link() {
        let mut totals = Totals::default();
        for (links, expected) in [
            (vec![link(1, 7, 5)], 5),
            // Another process has the ring now.
            (vec![link(1, 8, 9)], 9),
            // A second link, or a second function of that name.
            (vec![link(1, 8, 9), link(2, 8, 1)], 10),
            // The first one is gone.
            (vec![link(2, 8, 3)], 12),
            // One in its place, whose ring has the same number.
            (vec![link(2, 9, 1)], 13),
        ] {
            totals.add(&links);
            assert_eq!(total(&totals), Some(expected));
        }
        totals.add(&[]);
        assert_eq!(total(&totals), None, "what is gone is not remembered for ever");
    }

    #[test]
    fn what_stands_in_labels_is_escaped_and_no_process_id_does() {
        let mut link = link(1, 4711, 5);
        link.from.as_mut().unwrap().name = Some("a\"b\\c\nd".to_owned());
        let report = Report {
            version: crate::ls::report::VERSION,
            functions: Vec::new(),
            links: vec![link],
            missing: 0,
        };
        let mut totals = Totals::default();
        totals.add(&report.links);
        let text = totals.encode(&report).unwrap();
        assert!(text.contains(r#"function="a\"b\\c\nd""#), "{text}");
        assert!(!text.contains("4711"), "{text}");
        assert!(text.contains("stdpkt_frame_bytes_total{"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}

//! From what links show to what Prometheus takes.

use std::fmt::Error;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::growing::Growing;
use crate::ls::function::Function;
use crate::ls::links::{End, Link};
use crate::ls::report::Report;

/// Function, interface and direction.
type Labels = [(&'static str, String); 3];
/// Of an end, as long as its link lives. A ring is the same whoever has it.
type Key = (&'static str, u64, String, Option<u32>, &'static str);

/// What an end counts: frames, bytes, dropped, stalls, wake-ups, and what the interface dropped before the link.
type Counts = [u64; 6];
/// Where in them that is which an interface dropped: what comes in has passed the link.
const QUEUE: usize = 5;
const SENT: &str = "sent";
/// What a function counts besides, and its name.
type Own = (&'static str, String);

/// Counters by function and interface, which never go back: not when several links come one after the other, or
/// a function is followed by one of the same name between two looks.
#[derive(Default)]
pub struct Totals {
    ends: Growing<Key, Labels, 6>,
    /// Of restarts how many; of functions started how many, and how often there was no room.
    own: Growing<(&'static str, u64), Own, 2>,
}

impl Totals {
    /// The metrics of now, as OpenMetrics.
    ///
    /// # Errors
    /// Those of reading `/proc`.
    pub fn look(&mut self) -> std::io::Result<String> {
        let report = Report::new()?;
        self.add(&report);
        // Writing to a string cannot fail.
        Ok(self.encode(&report).unwrap_or_default())
    }

    fn add(&mut self, report: &Report) {
        self.ends.look(report.links.iter().flat_map(ends));
        self.own.look(report.functions.iter().flat_map(own));
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
        let counter = Family::<[(&str, String); 1], Counter>::default;
        let (restarts, started, refused) = (counter(), counter(), counter());
        for ((what, name), [count, no_room]) in self.own.totals() {
            let labels = [("function", escaped(name))];
            if *what == RESTARTS {
                restarts.get_or_create(&labels).inc_by(*count);
            } else {
                started.get_or_create(&labels).inc_by(*count);
                refused.get_or_create(&labels).inc_by(*no_room);
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
        let counters = |at: usize| {
            let family = Family::<Labels, Counter>::default();
            let has_it = |labels: &Labels| at != QUEUE || labels[2].1 == SENT;
            for (labels, counts) in self.ends.totals().filter(|(labels, _)| has_it(labels)) {
                family.get_or_create(labels).inc_by(counts[at]);
            }
            family
        };
        registry.register("frames", "Frames that passed an end of a link", counters(0));
        registry.register_with_unit(
            "frame",
            "Bytes of these frames, headers included",
            Unit::Bytes,
            counters(1),
        );
        registry.register("dropped_frames", "Frames that an end of a link threw away", counters(2));
        registry.register(
            "interface_dropped_frames",
            "Frames that a stack sent and the link was too slow for, or not there",
            counters(QUEUE),
        );
        registry.register(
            "stalls",
            "Times that an end slept for want of room (sent) or frames (received)",
            counters(3),
        );
        registry.register(
            "wakeups",
            "Times that an end rang its neighbour's doorbell",
            counters(4),
        );
    }
}

/// A label's value as the formats want it; the library writes it as it is.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// The ends of a link that count.
fn ends(link: &Link) -> impl Iterator<Item = (Key, Labels, Counts)> {
    let ends = [(&link.from, SENT), (&link.to, "received")];
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
        Some((key, labels, counts(end)?))
    })
}

/// What it counts, if it does.
fn counts(end: &End) -> Option<Counts> {
    let queue = end.interface_drops.unwrap_or(0);
    Some([end.frames?, end.bytes?, end.drops?, end.stalls?, end.wakeups?, queue])
}

const RESTARTS: &str = "restarts";
const SPAWNED: &str = "spawned";

/// What a function counts besides its links. Whoever goes on counting is the same.
fn own(function: &Function) -> impl Iterator<Item = ((&'static str, u64), Own, [u64; 2])> {
    let restarts = function.restarts.as_ref().map(|it| (RESTARTS, it.first, [it.count, 0]));
    let spawned = function.spawned.map(|it| (SPAWNED, it.first, [it.total, it.refused]));
    let both = [restarts, spawned].into_iter().flatten();
    both.map(|(what, first, counts)| ((what, first), (what, function.name.clone()), counts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ls::function::Spawned;

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

    fn report(links: Vec<Link>, functions: Vec<Function>) -> Report {
        Report { version: crate::ls::report::VERSION, functions, links, missing: 0 }
    }

    /// The value of a sample.
    fn value(totals: &Totals, report: &Report, sample: &str) -> Option<String> {
        let text = totals.encode(report).unwrap();
        text.lines().find_map(|line| line.strip_prefix(sample).map(|it| it.trim().to_owned()))
    }

    #[test]
    fn a_link_is_the_same_whoever_has_it() {
        let mut totals = Totals::default();
        let sample = r#"stdpkt_frames_total{function="fw",interface="right",direction="sent"}"#;
        // Another process has the ring; then another ring is there.
        for (link, expected) in [(link(1, 7, 5), "5"), (link(1, 8, 9), "9"), (link(2, 8, 3), "12")]
        {
            let report = report(vec![link], Vec::new());
            totals.add(&report);
            assert_eq!(value(&totals, &report, sample).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_an_interface_dropped_is_counted_once() {
        let mut links = [link(1, 7, 5), link(2, 7, 5)];
        for link in &mut links {
            link.from.as_mut().unwrap().interface_drops = Some(3);
        }
        // One each way, as the two of a neighbour.
        let [out, mut back] = links;
        back.to = back.from.take();
        let report = report(vec![out, back], Vec::new());
        let mut totals = Totals::default();
        totals.add(&report);
        let dropped = |direction| {
            let sample = format!(
                r#"stdpkt_interface_dropped_frames_total{{function="fw",interface="right",direction="{direction}"}}"#
            );
            value(&totals, &report, &sample)
        };
        assert_eq!((dropped(SENT).as_deref(), dropped("received")), (Some("3"), None));
    }

    #[test]
    fn whoever_goes_on_counting_functions_is_the_same() {
        let mut totals = Totals::default();
        let balancer = |pid, first, total, refused| Function {
            pid,
            name: "lb".to_owned(),
            command: String::new(),
            restarts: None,
            spawned: Some(Spawned { now: 0, total, refused, lost: 0, first }),
        };
        for (functions, expected) in [
            (vec![balancer(7, 7, 5, 1)], ["5", "1"]),
            // In its place.
            (vec![balancer(8, 7, 6, 1)], ["6", "1"]),
            // Another one beside it, which is killed and begins again.
            (vec![balancer(8, 7, 6, 1), balancer(9, 9, 3, 2)], ["9", "3"]),
            (vec![balancer(8, 7, 6, 1), balancer(10, 10, 1, 0)], ["10", "3"]),
        ] {
            let report = report(Vec::new(), functions);
            totals.add(&report);
            let samples = ["spawned", "spawns_refused"].map(|what| {
                value(&totals, &report, &format!("stdpkt_{what}_total{{function=\"lb\"}}")).unwrap()
            });
            assert_eq!(samples, expected);
        }
    }

    #[test]
    fn what_stands_in_labels_is_escaped_and_no_process_id_does() {
        let mut link = link(1, 4711, 5);
        link.from.as_mut().unwrap().name = Some("a\"b\\c\nd".to_owned());
        let report = report(vec![link], Vec::new());
        let mut totals = Totals::default();
        totals.add(&report);
        let text = totals.encode(&report).unwrap();
        assert!(text.contains(r#"function="a\"b\\c\nd""#), "{text}");
        assert!(!text.contains("4711"), "{text}");
        assert!(text.contains("stdpkt_frame_bytes_total{"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}

//! Who is whose neighbour: chains as lines of text, and as a graph for graphviz.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::function::{Restarts, Spawned};
use super::links::{End, Link};
use super::report::Report;

/// A function, or another program in a chain: its process, and what it is called.
type Node = (Option<u32>, String);

/// A link, both directions of which are one line here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    left: Node,
    /// Interface of `left`, the one whose output it is where there is a `|`.
    out: String,
    right: Node,
    into: String,
    form: &'static str,
}

/// What a `tee` calls the ends of the ring to the thread that writes its file: no link to anybody.
const LOOPBACK: &str = "loopback";

/// `-`, to which nobody has come.
fn nobody() -> Node {
    (None, "?".to_owned())
}

fn node(end: Option<&End>) -> Node {
    end.map_or_else(nobody, |end| (end.pid, end.called().to_owned()))
}

/// The links, once each.
fn edges(links: &[Link]) -> BTreeSet<Edge> {
    let interface =
        |end: Option<&End>| end.and_then(|end| end.interface.clone()).unwrap_or_default();
    let mut edges = BTreeSet::new();
    for link in links {
        let (from, to) = (link.from.as_ref(), link.to.as_ref());
        let there = (node(from), interface(from), node(to), interface(to));
        let (left, out, right, into) = match goes_back(&there.1, &there.3) {
            true => (there.2, there.3, there.0, there.1),
            false => there,
        };
        if left == right && out == LOOPBACK && into == LOOPBACK {
            continue;
        }
        edges.insert(Edge { left, out, right, into, form: link.form });
    }
    edges
}

/// Whether a direction is the way back: it leaves by `left`, standard input, or comes in
/// by `right`. Between two others, the names decide, so that both directions are one.
fn goes_back(from: &str, to: &str) -> bool {
    let is_end = |name: &str| name == "left" || name == "right";
    match (from, to) {
        ("left", to) => to != "left",
        (from, "right") => from != "right",
        (from, to) if is_end(from) || is_end(to) => false,
        (from, to) => from > to,
    }
}

/// A line for each chain, and for each branch one more, which begins where it leaves.
pub fn text(report: &Report) -> String {
    let mut rest: Vec<Edge> = edges(&report.links).into_iter().collect();
    let mut text = String::new();
    let mut told = BTreeSet::new();
    while !rest.is_empty() {
        // A chain begins with who has nobody before it, else in the middle.
        let first = rest.iter().position(|edge| {
            told.contains(&edge.left) || !rest.iter().any(|other| other.right == edge.left)
        });
        let mut edge = rest.remove(first.unwrap_or(0));
        let mut line = name(&edge.left);
        told.insert(edge.left.clone());
        loop {
            let form = if edge.form == "ring" { String::new() } else { format!("({})", edge.form) };
            // Writing to a string cannot fail.
            let _ = write!(line, " {}--{form}--{} {}", edge.out, edge.into, name(&edge.right));
            let (known, at) = (!told.insert(edge.right.clone()), edge.right);
            match rest.iter().position(|next| next.left == at && at != nobody()) {
                Some(next) if !known => edge = rest.remove(next),
                _ => break,
            }
        }
        text += &line;
        text.push('\n');
    }
    for alone in &report.functions {
        if !told.iter().any(|(pid, _)| *pid == Some(alone.pid)) {
            let _ = writeln!(text, "{}", name(&(Some(alone.pid), alone.name.clone())));
        }
    }
    for function in &report.functions {
        if let Some(Restarts { count: count @ 1.., last_status, .. }) = function.restarts {
            let name = name(&(Some(function.pid), function.name.clone()));
            let _ = writeln!(text, "{name}: restarts: {count}, last after status {last_status}");
        }
        if let Some(Spawned { now, total, refused, lost, .. }) = function.spawned {
            let name = name(&(Some(function.pid), function.name.clone()));
            let _ = writeln!(
                text,
                "{name}: functions: {now}, started: {total}, no room for: {refused}, frames lost: {lost}"
            );
        }
    }
    text
}

/// `nat[1234]`.
fn name((pid, name): &Node) -> String {
    pid.map_or_else(|| name.clone(), |pid| format!("{name}[{pid}]"))
}

/// The same for `dot -Tsvg`.
pub fn dot(report: &Report) -> String {
    let edges = edges(&report.links);
    let alone = report.functions.iter().map(|it| (Some(it.pid), it.name.clone()));
    let nodes: BTreeSet<Node> = edges
        .iter()
        .flat_map(|edge| [edge.left.clone(), edge.right.clone()])
        .chain(alone)
        .collect();
    let ids: BTreeMap<Node, usize> = nodes.into_iter().zip(0..).collect();
    let mut text = "digraph stdpkt {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for (node, id) in &ids {
        let (shape, label) = match node {
            (None, name) => (", style=dashed", name.clone()),
            (Some(pid), name) => ("", format!("{name}\n{pid}")),
        };
        let _ = writeln!(text, "  n{id} [label={}{shape}];", quoted(&label));
    }
    for edge in &edges {
        let _ = writeln!(
            text,
            "  n{} -> n{} [dir=both, label={}, taillabel={}, headlabel={}];",
            ids[&edge.left],
            ids[&edge.right],
            quoted(edge.form),
            quoted(&edge.out),
            quoted(&edge.into),
        );
    }
    text + "}\n"
}

/// A string of graphviz's language, in which a backslash and a quote mean something.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ls::function::Function;
    use crate::ls::report::VERSION;

    fn end(pid: u32, name: &str, interface: &str) -> Option<End> {
        Some(End::of_tests(pid, name, interface))
    }

    fn both(links: &mut Vec<Link>, a: (u32, &str, &str), b: (u32, &str, &str)) {
        let (a, b) = (|| end(a.0, a.1, a.2), || end(b.0, b.1, b.2));
        links.push(Link::of_tests("ring", a(), b()));
        links.push(Link::of_tests("ring", b(), a()));
    }

    fn report(links: Vec<Link>) -> Report {
        let alone = Function {
            pid: 9,
            name: "lonely".to_owned(),
            command: String::new(),
            restarts: None,
            spawned: None,
        };
        Report { version: VERSION, functions: vec![alone], links, missing: 0 }
    }

    #[test]
    fn chains_are_lines_from_left_to_right_and_branches_follow() {
        let mut links = Vec::new();
        both(&mut links, (3, "nat", "right"), (2, "web", "left"));
        both(&mut links, (5, "ping", "right"), (3, "nat", "left"));
        both(&mut links, (3, "nat", "dmz"), (4, "db", "x"));
        let copies = || end(3, "nat", "loopback");
        links.push(Link::of_tests("ring", copies(), copies()));
        links.push(Link::of_tests("waiting", None, end(4, "db", "y")));
        let text = text(&report(links));
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.contains(&"ping[5] right----left nat[3] right----left web[2]")
                || lines.contains(&"ping[5] right----left nat[3] dmz----x db[4]"),
            "{text}"
        );
        assert_eq!(text.matches("web[2]").count(), 1, "{text}");
        assert!(!text.contains("loopback"), "{text}");
        assert!(text.contains("(waiting)") && text.ends_with("lonely[9]\n"), "{text}");
    }

    #[test]
    fn a_ring_of_functions_ends() {
        let mut links = Vec::new();
        for (a, b) in [(1, 2), (2, 3), (3, 1)] {
            both(&mut links, (a, "r", "right"), (b, "r", "left"));
        }
        let text = text(&report(links));
        assert_eq!(
            text.lines().next(),
            Some("r[1] right----left r[2] right----left r[3] right----left r[1]")
        );
    }

    #[test]
    fn graphviz_gets_what_it_can_read() {
        let link = Link::of_tests("capture", end(1, "a\"b\\", "right"), None);
        let text = dot(&report(vec![link]));
        assert!(text.contains(r#"[label="a\"b\\\n1"]"#), "{text}");
        assert!(text.contains("style=dashed") && text.ends_with("}\n"), "{text}");
    }
}

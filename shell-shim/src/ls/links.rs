//! The links there are, put together from what either side shows.

use std::collections::HashMap;

use serde::Serialize;
use shmring::Counters;
use shmring::board::{Form, Way};
use shmring::holders::{Holder, holders, parent};
use shmring::observe::{Post, RingView, Side};

use super::function::{Function, command_of, interface};

/// One direction of a link, or a link that nobody has come to.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Link {
    /// `ring`, `pipe` (frames through the pipe, a length before each), `capture`
    /// (packets through the pipe, as other programs read and write them), `veth` (a veth
    /// pair; the kernel counts) or `waiting`.
    pub form: &'static str,
    /// The pipe that is the link's address, as `/proc/PID/fd` shows it.
    pub pipe: String,
    /// What the functions at its ends call that pipe; null for a ring, which has no name.
    pub what: Option<String>,
    /// Identity of the ring, or of the pipe that the frames go through; of a veth pair that of
    /// the link's address.
    pub inode: u64,
    /// Room in bytes, of a ring.
    pub capacity_bytes: Option<u64>,
    /// Bytes that wait in the ring.
    pub used_bytes: Option<u64>,
    /// Who sends.
    pub from: Option<End>,
    /// Who receives.
    pub to: Option<End>,
    /// Of a balancer's link to a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flows: Option<Flows>,
    /// Frames a second since the look before (`--watch`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_per_second: Option<f64>,
    /// Payload bits a second since the look before (`--watch`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_second: Option<f64>,
}

/// The flows of a balancer's target.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Flows {
    /// That are remembered.
    pub now: u64,
    /// That it got so far.
    pub total: u64,
    /// That were forgotten for want of room.
    pub forgotten: u64,
    /// Whether it gets new ones.
    pub takes_new: bool,
}

/// One end of it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct End {
    /// Process id, null when it is gone.
    pub pid: Option<u32>,
    /// What the function is called; of another program, its own name.
    pub name: Option<String>,
    /// CMD, what the function runs; of another program, its name.
    pub command: Option<String>,
    /// Name of the interface, null where it is another program.
    pub interface: Option<String>,
    /// What it counted, null where it is another program.
    pub frames: Option<u64>,
    /// Bytes of these frames.
    pub bytes: Option<u64>,
    /// Frames this end threw away.
    pub drops: Option<u64>,
    /// Frames that the interface's stack sent and the link was too slow for, or not
    /// there; null where the interface is no TAP.
    pub interface_drops: Option<u64>,
    /// Times it slept because there was no room (`from`) or no frame (`to`).
    pub stalls: Option<u64>,
    /// Times it rang the other's doorbell.
    pub wakeups: Option<u64>,
}

/// A link from one look to the next.
pub type Key = (&'static str, u64, Option<u32>);

/// The form of links of which the kernel counts.
const VETH: &str = "veth";

/// Functions by process.
type Known<'a> = HashMap<u32, &'a Function>;

impl End {
    /// Its name, or else what it runs.
    pub fn called(&self) -> &str {
        self.name.as_deref().or(self.command.as_deref()).unwrap_or_default()
    }
}

impl Link {
    /// The same from one look to the next.
    pub fn key(&self) -> Key {
        (self.form, self.inode, self.from.as_ref().or(self.to.as_ref()).and_then(|end| end.pid))
    }

    /// What has arrived, or else what was sent.
    pub fn counted(&self, what: impl Fn(&End) -> Option<u64>) -> Option<u64> {
        let ends = [&self.to, &self.from].into_iter().flatten();
        ends.filter_map(what).next()
    }

    /// Times that an end slept.
    pub fn stalls(&self) -> u64 {
        let ends = [&self.to, &self.from].into_iter().flatten();
        ends.filter_map(|end| end.stalls).sum()
    }

    /// Frames that were lost on the way, as far as anybody knows.
    pub fn drops(&self) -> u64 {
        let ends = [&self.to, &self.from].into_iter().flatten();
        let own: u64 = ends.filter_map(|end| end.drops).sum();
        own + self.from.as_ref().and_then(|from| from.interface_drops).unwrap_or(0)
    }
}

/// All links, of what the processes show.
pub fn put_together(rings: Vec<RingView>, posts: Vec<Post>, known: &Known<'_>) -> Vec<Link> {
    let mut links: Vec<Link> = rings.into_iter().map(ring).collect();
    let is_tally = |post: &Post| post.posting.form == Form::Tally;
    let (tallies, posts) = posts.into_iter().partition::<Vec<_>, _>(is_tally);
    links.extend(posted(posts));
    tallies.iter().for_each(|tally| tell_flows(&mut links, tally));
    for link in &mut links {
        let by_kernel = link.form == VETH;
        for (end, sends) in [(&mut link.from, true), (&mut link.to, false)] {
            if let Some(end) = end {
                name(end, known);
                count(end, sends, by_kernel);
            }
        }
    }
    links.sort_by(|a, b| (&a.pipe, a.inode, a.form).cmp(&(&b.pipe, b.inode, b.form)));
    links
}

/// Says who is at an end. CMD of an LKL function, which has the rings, is inside that
/// function; any other process without a board is known by its program.
fn name(end: &mut End, known: &Known<'_>) {
    let Some(mut pid) = end.pid else { return };
    if !known.contains_key(&pid)
        && let Some(function) = ancestors(pid).find(|pid| known.contains_key(pid))
    {
        (pid, end.pid) = (function, Some(function));
    }
    if let Some(function) = known.get(&pid) {
        end.name = Some(function.name.clone());
        end.command = Some(function.command.clone()).filter(|command| !command.is_empty());
    } else {
        end.command = end.command.take().or_else(|| command_of(pid));
        let program = end.command.as_deref().and_then(|command| command.split(' ').next());
        end.name = program.and_then(|program| program.rsplit('/').next()).map(str::to_owned);
    }
}

/// What the kernel counts of an end's interface; `by_kernel`: nobody else does.
fn count(end: &mut End, sends: bool, by_kernel: bool) {
    let (Some(pid), Some(name)) = (end.pid, &end.interface) else { return };
    let counted = interface(pid, name);
    end.interface_drops = counted.map(|counted| counted.dropped);
    if by_kernel {
        let passed = counted.map(|it| if sends { it.sent } else { it.received });
        (end.bytes, end.frames) = (passed.map(|it| it[0]), passed.map(|it| it[1]));
    }
}

/// The parent of a process and its keeper's, as far as CMD may be from its function
/// (`env` executes it in its place).
fn ancestors(pid: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(parent(pid), |&pid| parent(pid)).take(2)
}

fn ring(view: RingView) -> Link {
    Link {
        capacity_bytes: Some(view.capacity),
        used_bytes: Some(view.used),
        from: Some(side(view.producer)),
        to: Some(side(view.consumer)),
        ..bare("ring", name_of(view.pipe), view.inode)
    }
}

/// `fe00:[123]`, the pipe's device and inode.
fn name_of(pipe: (u64, u64)) -> String {
    format!("{:x}:[{}]", pipe.0, pipe.1)
}

/// The tallies there are: a balancer's, of the flows of each target.
fn tell_flows(links: &mut [Link], tally: &Post) {
    let pipe = name_of(tally.posting.pipe);
    let is_its = |link: &&mut Link| {
        link.pipe == pipe && link.from.as_ref().is_some_and(|from| from.pid == Some(tally.pid))
    };
    if let Some(link) = links.iter_mut().find(is_its) {
        let [now, total, forgotten, takes_new, _] = tally.counters.into();
        link.flows = Some(Flows { now, total, forgotten, takes_new: takes_new != 0 });
    }
}

/// Puts the two ends of a pipe together, where both are shown.
fn posted(posts: Vec<Post>) -> Vec<Link> {
    let mut links = Vec::new();
    let mut by_medium: HashMap<_, [Option<Post>; 2]> = HashMap::new();
    for post in posts {
        let posting = &post.posting;
        // Nobody is there, or whoever is behind an edge, which shows nothing.
        if matches!(posting.form, Form::Waiting | Form::Edge) {
            links.push(open(post));
            continue;
        }
        let at = usize::from(posting.way == Way::In);
        let key = (form(&post), posting.medium);
        let pair = by_medium.entry(key).or_default();
        // Several may write one pipe: each is a link of its own.
        if let Some(other) = pair[at].replace(post) {
            links.push(alone(other));
        }
    }
    for [from, to] in by_medium.into_values() {
        match (from, to) {
            (Some(from), Some(to)) => links.push(between(from, to)),
            (Some(post), None) | (None, Some(post)) => links.push(alone(post)),
            (None, None) => {}
        }
    }
    links
}

fn link(form: &'static str, post: &Post) -> Link {
    let what = Some(post.posting.what.clone());
    Link { what, ..bare(form, name_of(post.posting.pipe), post.posting.medium.1) }
}

/// A link of which no more is known.
fn bare(form: &'static str, pipe: String, inode: u64) -> Link {
    Link {
        form,
        pipe,
        what: None,
        inode,
        capacity_bytes: None,
        used_bytes: None,
        from: None,
        to: None,
        flows: None,
        frames_per_second: None,
        bits_per_second: None,
    }
}

fn form(post: &Post) -> &'static str {
    match post.posting.form {
        Form::Waiting => "waiting",
        Form::Pipe => "pipe",
        Form::Capture => "capture",
        Form::Edge => "edge",
        Form::Tally => "tally",
        Form::Aside => VETH,
    }
}

/// Without an end on the other side.
fn open(post: Post) -> Link {
    let link = link(form(&post), &post);
    match post.posting.way {
        Way::In => Link { to: Some(end(post)), ..link },
        _ => Link { from: Some(end(post)), ..link },
    }
}

fn between(from: Post, to: Post) -> Link {
    let link = link(form(&from), &from);
    Link { from: Some(end(from)), to: Some(end(to)), ..link }
}

/// The other end is another program, or not ours to look at.
fn alone(post: Post) -> Link {
    let way = post.posting.way;
    let others = holders(post.posting.medium).found.into_iter();
    let mut others = others.filter(|other| other.pid != post.pid);
    let other = others.find(|other| if way == Way::In { other.writes } else { other.reads });
    let link = link(form(&post), &post);
    let (own, other) = (Some(end(post)), other.map(program));
    match way {
        Way::In => Link { from: other, to: own, ..link },
        _ => Link { from: own, to: other, ..link },
    }
}

fn program(holder: Holder) -> End {
    End {
        pid: Some(holder.pid),
        name: None,
        command: Some(holder.program),
        interface: None,
        frames: None,
        bytes: None,
        drops: None,
        interface_drops: None,
        stalls: None,
        wakeups: None,
    }
}

fn end(post: Post) -> End {
    counted(Some(post.pid), post.posting.label, post.counters)
}

fn side(side: Side) -> End {
    counted((side.pid != 0).then_some(side.pid), side.label, side.counters)
}

fn counted(pid: Option<u32>, interface: String, counters: Counters) -> End {
    End {
        pid,
        name: None,
        command: None,
        interface_drops: None,
        interface: Some(interface),
        frames: Some(counters.frames),
        bytes: Some(counters.bytes),
        drops: Some(counters.drops),
        stalls: Some(counters.stalls),
        wakeups: Some(counters.wakeups),
    }
}

#[cfg(test)]
impl Link {
    /// A link that nothing passed.
    pub fn of_tests(form: &'static str, from: Option<End>, to: Option<End>) -> Link {
        Link { from, to, ..bare(form, String::new(), 0) }
    }
}

#[cfg(test)]
impl End {
    /// The end of a function that has sent nothing.
    pub fn of_tests(pid: u32, name: &str, interface: &str) -> End {
        let end = counted(Some(pid), interface.to_owned(), Counters::default());
        End { name: Some(name.to_owned()), ..end }
    }
}

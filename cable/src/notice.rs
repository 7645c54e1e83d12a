//! What a cable tells its user, once and on one line: whom it waits for, and that
//! it is less than a cable. And, for those who ask (`-v`), its whole story, by `tracing`:
//! events of links, never of frames.

use std::time::{Duration, Instant};

use shmring::{Channel, Link, PipeEnd, Role};
use tracing::info;

use super::neighbour::{Kind, Neighbour, neighbour};

/// After this long without a neighbour, say whom we are waiting for.
const PATIENCE: Duration = Duration::from_secs(3);
/// One of our kind that is there gets longer: it is being set up, and there may be a
/// thousand of them. Whom we cannot meet the rendezvous names itself.
const LONG_PATIENCE: Duration = Duration::from_secs(30);
/// A byte stream may be what another stdpkt sends until it finds us, or goes to one
/// that is about to start. After this long it is taken for what it looks like.
const DOUBT: Duration = Duration::from_secs(1);

/// What there is to tell of a cable, and when.
pub(super) struct Notice {
    /// Of the interface.
    name: String,
    /// The pipe, for people.
    what: String,
    pipe: (u64, u64),
    role: Role,
    /// Whether it is worth a word that frames go one way only.
    expects_both_ways: bool,
    due: Option<(Instant, News)>,
    /// Since when nobody is there.
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Nobody has come.
    Waiting,
    /// Frames go out as a capture, and none come back.
    OutOnly,
    /// Frames come in as a capture, and none go back.
    InOnly,
}

impl Notice {
    /// Of a cable that has no neighbour yet.
    pub fn new(end: &PipeEnd, name: &str, expects_both_ways: bool) -> Notice {
        info!("{name}: looks for a neighbour on {}, pipe {}", end.what(), end.id().1);
        Notice {
            name: name.to_owned(),
            what: end.what().to_owned(),
            pipe: end.id(),
            role: end.role(),
            expects_both_ways,
            due: Some((Instant::now() + PATIENCE, News::Waiting)),
            since: Instant::now(),
        }
    }

    /// Of a cable of which there is nothing to tell.
    pub fn none() -> Notice {
        Notice {
            name: String::new(),
            what: String::new(),
            pipe: (0, 0),
            role: Role::Either,
            expects_both_ways: false,
            due: None,
            since: Instant::now(),
        }
    }

    /// The neighbour has ended, and another may come.
    pub fn waits(&mut self) {
        self.since = Instant::now();
        info!("{}: looks for another neighbour on {}", self.name, self.what);
        self.due = Some((Instant::now() + PATIENCE, News::Waiting));
    }

    /// The neighbour is gone, or has closed its end.
    pub fn parted(&self) {
        info!("{}: the link on {} has ended", self.name, self.what);
    }

    /// When [`Notice::on_time`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.map(|(at, _)| at)
    }

    /// Frames go out as a capture, to a reader of which `kind` is known.
    pub fn sends_capture(&mut self, kind: Kind) {
        self.no_ring("out");
        let doubt = if kind == Kind::Other { Duration::ZERO } else { DOUBT };
        self.one_way(News::OutOnly, doubt);
    }

    /// Frames come in as a capture.
    pub fn receives_capture(&mut self) {
        self.no_ring("in");
        self.one_way(News::InOnly, DOUBT);
    }

    /// Tells why frames go through the pipe.
    fn no_ring(&self, way: &str) {
        // Who is there is looked up only for those who ask.
        if tracing::enabled!(tracing::Level::INFO) {
            let Notice { name, what, pipe, role, .. } = self;
            let who = neighbour(*pipe, *role);
            info!("{name}: no ring on {what}, where {who} is: frames go {way} as a capture");
        }
    }

    fn one_way(&mut self, news: News, doubt: Duration) {
        self.since = Instant::now();
        self.due = self.expects_both_ways.then(|| (self.since + doubt, news));
    }

    /// There is a link.
    pub fn joined(&mut self, link: &Link) {
        self.due = None;
        let how = match link.channel {
            Channel::Shm => "by a ring",
            Channel::Fifo => "through the pipe, since one of the two says --channel fifo",
            Channel::Aside => "by a veth pair",
        };
        let ways = if link.is_duplex() { "each way" } else { "one way" };
        info!(
            "{}: met {} of process {} on {}: frames go {how} {ways}, offloads {:#x}",
            self.name, link.peer.label, link.peer.pid, self.what, link.features
        );
        if self.expects_both_ways && !link.is_duplex() {
            let (here, there) = if link.tx.is_some() { ("to", "from") } else { ("from", "to") };
            say::note!(
                "{}: one-way {here} {}: frames {there} it need a FIFO of their own, \
                 as in --link NAME,at=RX:TX",
                self.what,
                link.peer.label
            );
        }
    }

    /// Says what is due, unless it is not so any more. `up`: whether there is a
    /// neighbour of either kind; `waits`: whether one is looked for.
    pub fn on_time(&mut self, now: Instant, up: bool, waits: bool) {
        let Some((_, news)) = self.due.take_if(|(at, _)| now >= *at) else { return };
        let is_so = if news == News::Waiting { waits && !up } else { up };
        if !is_so {
            return;
        }
        let who = neighbour(self.pipe, self.role);
        let is_new = now.duration_since(self.since) < LONG_PATIENCE;
        if who.kind == Kind::Aware && is_new {
            self.due = Some((now + PATIENCE, news));
            return;
        }
        say::note!("{}", self.line(news, who));
    }

    fn line(&self, news: News, who: Neighbour) -> String {
        let Notice { name, what, role, .. } = self;
        let (verb, at, does) = match (news, role) {
            (News::Waiting, _) if !who.is_known() => {
                return format!("{name}: waiting for another stdpkt on {what}");
            }
            (News::Waiting, role) => {
                let does = match role {
                    Role::Writer => "reads",
                    Role::Reader => "writes",
                    Role::Either => "holds",
                };
                return format!(
                    "{name}: waiting for another stdpkt on {what}; so far {who} {does} it"
                );
            }
            (News::OutOnly, _) => ("go out", "FIFO:/dev/stdout", "reads"),
            (News::InOnly, _) => ("come in", "/dev/stdin:FIFO", "writes"),
        };
        if who.kind == Kind::Aware {
            return format!(
                "{name}: frames {verb} only: {who} {does} {what}, but does not answer: \
                 is it stopped, or of another version?"
            );
        }
        format!(
            "{name}: frames {verb} only: {who} {does} {what}; for both ways let a stdpkt be \
             there, or have stdpkt run take --link {name},at={at},ip=CIDR for --{name}, with a \
             FIFO (mkfifo) for the way back"
        )
    }
}

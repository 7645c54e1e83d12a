//! After CMD: what it sent still leaves, as it would from a host that lives on.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::stack::backlog::{Backlog, Left};
use crate::stack::device::Device;
use cable::{Cable, Edge, Jack};

/// What is in the TAPs has so long to leave where nothing else is waited for.
const DRAIN: Duration = Duration::from_millis(100);
/// The rest of a packet has so long to get into a pipe.
const LAST: Duration = Duration::from_secs(1);
/// Between two looks at the sockets while frames come and go.
const PAUSE: Duration = Duration::from_millis(10);
/// Frames that a TAP holds, unless its `tx_queue_len` was changed. Those that were
/// there at a moment have left when so many have, even if others came meanwhile.
const QUEUE: u64 = 1000;

/// An edge in the place of a neighbour.
pub type Far = Jack<Box<dyn Edge>>;

/// A function's last moments: waits until what its network stack holds has left.
///
/// As a descriptor it is readable when there is news of that.
pub struct Linger {
    /// So long without progress, and the rest is given up.
    limit: Duration,
    /// Of each interface.
    addresses: Vec<Vec<IpAddr>>,
    /// Watched from the start; the backlog comes into it when it is needed.
    news: Epoll,
    backlog: Source,
    /// What CMD had not read when its link ended: the least so far, and when to
    /// wait no longer unless there is less by then.
    unread: Option<(u64, Instant)>,
    stage: Option<Stage>,
}

/// Who can tell what is left.
enum Source {
    /// Not needed yet.
    Closed,
    Open(Backlog),
    /// The kernel cannot, which was told.
    Missing,
}

/// What is waited for at the moment.
struct Stage {
    what: What,
    limit: Duration,
    /// The least that was left so far.
    lowest: u64,
    /// When to give up unless there is less by then.
    give_up_at: Instant,
}

enum What {
    /// Until sockets and queues hold nothing more.
    Stack {
        /// What the last look found.
        left: Option<Left>,
        /// That may have changed.
        stale: bool,
        looked_at: Instant,
    },
    /// Until the TAPs hold nothing more, and edges in the place of neighbours have
    /// got it. Of each TAP, how many frames had left it before, and how many each edge
    /// had got.
    Taps(Vec<u64>, Vec<u64>),
    /// Until no packet is in a pipe in part.
    Pipes,
}

impl Linger {
    /// `addresses`: those of each interface.
    ///
    /// # Errors
    /// Those of epoll_create1(2).
    pub fn new(limit: Duration, addresses: Vec<Vec<IpAddr>>) -> Result<Linger> {
        let news = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        Ok(Linger { limit, addresses, news, backlog: Source::Closed, unread: None, stage: None })
    }

    /// There is one more interface, the last one.
    pub fn add(&mut self, addresses: Vec<IpAddr>) {
        self.addresses.push(addresses);
    }

    /// The interface at this place is gone.
    pub fn remove(&mut self, at: usize) {
        self.addresses.remove(at);
    }

    /// CMD has ended: waits for all that it sent, from now on.
    pub fn after_command(&mut self, jacks: &mut [Jack<Device>], far: &[Far]) {
        if self.limit.is_zero() || !jacks.iter_mut().any(may_send) {
            return self.drain(jacks, far);
        }
        let looked_at = Instant::now();
        let what = What::Stack { left: None, stale: true, looked_at };
        self.begin(what, self.limit);
    }

    /// Waits for what is in the TAPs.
    pub fn drain(&mut self, jacks: &mut [Jack<Device>], far: &[Far]) {
        self.taps(jacks, far, DRAIN);
    }

    /// Waits for nothing but the rest of a packet. `false` if that was so already.
    pub fn hurry(&mut self) -> bool {
        let hurries = matches!(self.stage, Some(Stage { what: What::Pipes, .. }));
        if !hurries {
            self.begin(What::Pipes, LAST);
        }
        !hurries
    }

    fn taps(&mut self, jacks: &mut [Jack<Device>], far: &[Far], limit: Duration) {
        jacks.iter_mut().for_each(Jack::woken); // the next turn looks into them
        let sent = jacks.iter().map(Jack::sent).collect();
        self.begin(What::Taps(sent, far.iter().map(Jack::taken).collect()), limit);
    }

    fn begin(&mut self, what: What, limit: Duration) {
        let give_up_at = Instant::now() + limit;
        self.stage = Some(Stage { what, limit, lowest: u64::MAX, give_up_at });
    }

    /// The descriptor became readable.
    pub fn heard(&mut self) {
        if let Some(Stage { what: What::Stack { stale, .. }, .. }) = &mut self.stage {
            *stale = true;
        }
    }

    /// When [`Linger::is_over`] wants to be called, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let Stage { what, give_up_at, .. } = self.stage.as_ref()?;
        Some(match what {
            What::Stack { stale: true, looked_at, .. } => *give_up_at.min(&(*looked_at + PAUSE)),
            _ => *give_up_at,
        })
    }

    /// Whether there is nothing left, or the rest was given up, which is told. To be
    /// called after each turn over the frames; `busy`: there were any.
    ///
    /// # Errors
    /// Those of netlink(7).
    pub fn is_over(
        &mut self,
        jacks: &mut [Jack<Device>],
        far: &mut [Far],
        busy: bool,
    ) -> Result<bool> {
        self.look(jacks, busy)?;
        let Some(Stage { what, limit, lowest, give_up_at }) = &mut self.stage else {
            return Ok(false);
        };
        let rest = match what {
            What::Stack { left: Some(left), .. } if left.is_none() => {
                let limit = *limit;
                self.taps(jacks, far, limit);
                // At once: no frame brings another turn where the neighbours are gone, or where
                // the kernel moves them, as on a veth pair.
                return self.is_over(jacks, far, busy);
            }
            What::Stack { left, .. } => left.map_or(u64::MAX, |left| left.total()),
            What::Taps(sent, taken) => {
                let on_the_way = far.iter_mut().zip(taken).map(to_edge).sum::<u64>();
                jacks.iter_mut().zip(sent).map(in_tap).sum::<u64>() + on_the_way
            }
            What::Pipes => {
                let cables = jacks.iter_mut().flat_map(|jack| &mut jack.cables);
                cables.map(|cable| u64::from(!cable.is_flushed())).sum()
            }
        };
        let now = Instant::now();
        if rest < *lowest {
            (*lowest, *give_up_at) = (rest, now + *limit);
        }
        let gone = !jacks.iter_mut().any(may_send);
        let give_up = rest > 0 && (gone || now >= *give_up_at);
        match what {
            _ if !give_up => {}
            What::Stack { left, .. } => {
                let left = left.unwrap_or_default();
                say_what_is_lost(&left, jacks, (!gone).then_some(*limit));
            }
            What::Taps(..) => {
                say_what_is_lost(&Left::default(), jacks, (!gone).then_some(*limit));
            }
            What::Pipes => {} // nobody wanted to wait
        }
        Ok(rest == 0 || give_up)
    }

    /// Asks the kernel what is left, if there is a reason to.
    fn look(&mut self, jacks: &mut [Jack<Device>], busy: bool) -> Result<()> {
        let Some(Stage { what: What::Stack { left, stale, looked_at }, give_up_at, .. }) =
            &mut self.stage
        else {
            return Ok(());
        };
        *stale |= busy;
        let now = Instant::now();
        let due = left.is_none() || !busy || now >= (*looked_at + PAUSE).min(*give_up_at);
        if !*stale || !due {
            return Ok(());
        }
        (*stale, *looked_at) = (false, now);
        // What nobody can get any more is not waited for.
        let cut_off = cut_off(jacks, &self.addresses);
        *left = Some(match self.backlog.open(&self.news)? {
            Some(backlog) => backlog.look(&cut_off)?,
            None => Left::default(),
        });
        Ok(())
    }

    /// Whether CMD, whose link has ended, is still reading what had arrived before;
    /// if it has stopped to, that is told. Nothing tells when it has read all: to be
    /// asked again and again.
    ///
    /// # Errors
    /// Those of netlink(7).
    pub fn reads_on(&mut self, jacks: &mut [Jack<Device>]) -> Result<bool> {
        let cut_off = cut_off(jacks, &self.addresses);
        let Some(backlog) = self.backlog.open(&self.news)? else { return Ok(false) };
        let (unread, now) = (backlog.unread(&cut_off)?, Instant::now());
        if self.unread.is_none_or(|(lowest, _)| unread < lowest) {
            self.unread = Some((unread, now + self.limit));
        }
        let late = self.unread.is_some_and(|(_, at)| now >= at);
        if unread > 0 && late {
            say::note!("CMD has not read {unread} bytes that came before its link ended");
        }
        Ok(unread > 0 && !late)
    }
}

/// Addresses of the interfaces that no frame can leave through any more.
fn cut_off(jacks: &mut [Jack<Device>], addresses: &[Vec<IpAddr>]) -> Vec<IpAddr> {
    let all = jacks.iter_mut().zip(addresses);
    all.filter_map(|(jack, its)| (!may_send(jack)).then_some(its)).flatten().copied().collect()
}

impl Source {
    fn open(&mut self, news: &Epoll) -> Result<Option<&mut Backlog>> {
        if let Source::Closed = self {
            *self = match Backlog::new() {
                Ok(backlog) => {
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, 0);
                    news.add(&backlog, event).context("epoll_ctl")?;
                    Source::Open(backlog)
                }
                Err(error) => {
                    say::note!(
                        "what CMD's connections still hold ends with it: this kernel does not \
                         tell ({error:#}): it needs CONFIG_INET_DIAG and CONFIG_INET_TCP_DIAG"
                    );
                    Source::Missing
                }
            };
        }
        Ok(if let Source::Open(backlog) = self { Some(backlog) } else { None })
    }
}

impl AsFd for Linger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.0.as_fd()
    }
}

/// Whether frames can leave, or will when the next neighbour of a FIFO comes.
fn may_send(jack: &mut Jack<Device>) -> bool {
    jack.can_send() || !jack.cables.iter().all(Cable::is_gone)
}

/// How many frames a TAP may still hold of those that it held at `mark`.
fn in_tap((jack, mark): (&mut Jack<Device>, &mut u64)) -> u64 {
    if jack.is_drained() { 0 } else { (*mark + QUEUE).saturating_sub(jack.sent()) }
}

/// A number that is the less the more of what there was an edge got; 0 if it has all.
fn to_edge((far, mark): (&mut Far, &mut u64)) -> u64 {
    if far.is_delivered() { 0 } else { u64::from(u32::MAX).saturating_sub(far.taken() - *mark) }
}

/// `limit`: what was waited for, or the neighbours are gone.
fn say_what_is_lost(left: &Left, jacks: &mut [Jack<Device>], limit: Option<Duration>) {
    let Left { connections, bytes, unresolved, queued } = *left;
    let full = jacks.iter_mut().filter_map(|jack| (!jack.is_drained()).then_some(jack));
    let frames = full.map(|jack| jack.discard(QUEUE)).sum();
    let of = |n: u64, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
    let connections = of(connections, "connection", "connections");
    let lost = [
        (bytes, format!("{} of {connections} not acknowledged", of(bytes, "byte", "bytes"))),
        (
            u64::from(bytes == 0) * left.connections,
            format!("the end of {connections} not acknowledged"),
        ),
        (
            unresolved,
            format!("packets for {} that did not answer", of(unresolved, "next hop", "next hops")),
        ),
        (queued, format!("{} in a queueing discipline", of(queued, "packet", "packets"))),
        (frames, format!("{} that the neighbour did not take", of(frames, "frame", "frames"))),
    ];
    let lost: Vec<String> =
        lost.into_iter().filter(|(n, _)| *n > 0).map(|(_, text)| text).collect();
    match limit {
        _ if lost.is_empty() => {}
        Some(limit) => say::note!(
            "gave up after {} s without progress: {}; --linger SECONDS waits longer",
            limit.as_secs_f64(),
            lost.join(", ")
        ),
        // A connection whose end alone is not acknowledged has lost nothing.
        None if bytes + frames == 0 => {}
        None => say::note!("the neighbour ended before it had all: {}", lost.join(", ")),
    }
}

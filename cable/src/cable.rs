//! A function's end of a pipe, and the links that come and go on it.

mod aside;
mod between;
mod handover;
mod keep;
mod plan;
mod renew;
mod upgrade;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::epoll::EpollFlags;
use shmring::{Event, Link, LinkError, Offer, PipeEnd, Rendezvous, Role, RuntimeDir};

use super::half::{Half, Joined, Receiver, Sender};
use super::neighbour::{Kind, neighbour};
use super::notice::Notice;
use super::outlet::Outlet;
use super::shown::Shown;
use super::stream_rx::StreamRx;
use super::stream_tx::StreamTx;
pub use between::insert;
use frames::FEATURES;
pub use handover::give;
pub use plan::{CablePlan, Fallback};
use upgrade::Out;

/// A reader that is known to be another program gets a capture after this long.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// One that nothing is known of, after this long.
const BOUND: Duration = Duration::from_secs(1);

/// A pipe, the rendezvous on it, and the links that came of it.
pub struct Cable {
    /// By which a [`Switch`](crate::Switch) knows it.
    pub(crate) id: u32,
    parts: Parts,
    /// None while nobody can turn up.
    rendezvous: Option<Rendezvous>,
    /// Where to look for a neighbour once those that another process found are gone.
    resting: Option<PipeEnd>,
    /// What there is from the start, until it is taken into use.
    first: Vec<Joined>,
    /// A link that goes on where another one ends, until it is taken into use.
    bequeathed: Option<(u32, Link)>,
    /// Until when links are held.
    held_until: Option<Instant>,
    /// Serial numbers of links that are on their way to another process.
    lent: Vec<u32>,
    /// Links by serial number.
    links: Vec<(u32, Joined)>,
    /// Of the newest link.
    serial: u32,
    /// Links ended, and nobody has asked yet.
    ended: bool,
    /// A neighbour wrote what it may not.
    broken: bool,
    /// Whether there ever was a link or a byte stream.
    pub was_up: bool,
    /// When to see about a neighbour that does not turn up.
    look_at: Option<Instant>,
    looks: u32,
    fallback: Fallback,
    /// What becomes of the byte stream of ours.
    out: Out,
    /// What the newest neighbour takes unfinished, until somebody asks.
    plugged: Option<u64>,
    notice: Notice,
    shown: Shown,
}

/// What is needed to make the rendezvous again.
struct Parts {
    offer: Offer,
    vital: bool,
    what: String,
}

/// Watches the descriptor of one half of the link with a serial number.
pub type Wake<'a> = dyn FnMut(u32, Half, BorrowedFd<'_>, EpollFlags) -> Result<()> + 'a;

impl Cable {
    /// Starts to look for a neighbour.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn new(plan: CablePlan, dir: &RuntimeDir) -> Result<Cable> {
        let CablePlan { end, offer, vital, expects_both_ways, fallback } = plan;
        let what = end.what().to_owned();
        let end = match end {
            Outlet::Pipe(end) => end,
            Outlet::File { file, .. } => {
                let shown = Shown::of_file(&what, &offer.label)?;
                let stream = Receiver::capture(StreamRx::new(file, &what));
                let first = Joined::new(None, Some(stream));
                let parts = Parts { offer, vital, what };
                return Ok(Cable::ready(parts, Notice::none(), shown, vec![first]));
            }
        };
        let look_at = look_at(fallback, &end);
        let notice = Notice::new(&end, &offer.label, expects_both_ways);
        let shown = Shown::new(&end, &offer.label)?;
        let rendezvous = Some(rendezvous(end, dir, &offer)?);
        let parts = Parts { offer, vital, what };
        Ok(Cable { rendezvous, look_at, fallback, ..Cable::of(parts, notice, shown) })
    }

    /// A cable whose other end is in this process, see [`shmring::pair`]. Who has it
    /// ends with it.
    ///
    /// # Errors
    /// Where there is no memory for what `stdpkt ls` shows.
    pub fn local(link: Link, what: &str) -> Result<Cable> {
        let parts = Parts { offer: Offer::default(), vital: true, what: what.to_owned() };
        let plugged = link.tx.is_some().then_some(link.features);
        let first = vec![Joined::new(link.tx, link.rx.map(Receiver::new))];
        Ok(Cable { plugged, ..Cable::ready(parts, Notice::none(), Shown::local(what)?, first) })
    }

    /// A cable of which all that will ever come is there.
    fn ready(parts: Parts, notice: Notice, shown: Shown, first: Vec<Joined>) -> Cable {
        Cable { first, look_at: Some(Instant::now()), ..Cable::of(parts, notice, shown) }
    }

    /// Without anybody to come.
    fn of(parts: Parts, notice: Notice, shown: Shown) -> Cable {
        Cable {
            id: 0,
            parts,
            rendezvous: None,
            resting: None,
            first: Vec::new(),
            bequeathed: None,
            held_until: None,
            lent: Vec::new(),
            links: Vec::new(),
            serial: 0,
            ended: false,
            broken: false,
            was_up: false,
            look_at: None,
            looks: 0,
            fallback: Fallback::Never,
            out: Out::Free,
            plugged: None,
            notice,
            shown,
        }
    }

    /// By which a [`Switch`](crate::Switch) that watches it knows it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The pipe's name for people.
    pub fn what(&self) -> &str {
        &self.parts.what
    }

    /// The function's name for this end.
    pub fn label(&self) -> &str {
        &self.parts.offer.label
    }

    /// Whether the function ends with its neighbours, see [`CablePlan::vital`].
    pub fn is_vital(&self) -> bool {
        self.parts.vital
    }

    /// Whether the function has to end, since its neighbour on a `|` has ended and
    /// nobody else holds that end of the pipe.
    pub fn is_gone(&self) -> bool {
        self.parts.vital && self.was_up && !self.is_up() && self.rendezvous.is_none()
    }

    /// Whether it is the half of a link that frames come in by, as in `at=RX:TX`.
    pub fn only_receives(&self) -> bool {
        let reads = |it: &Rendezvous| it.end().role() == Role::Reader;
        !self.parts.offer.duplex && self.rendezvous.as_ref().is_none_or(reads)
    }

    /// Whether there is a neighbour.
    pub fn is_up(&self) -> bool {
        !self.links.is_empty()
    }

    /// The descriptor of the rendezvous.
    pub fn rendezvous(&self) -> Option<&Rendezvous> {
        self.rendezvous.as_ref()
    }

    /// The live links.
    pub fn links(&mut self) -> impl Iterator<Item = &mut Joined> {
        self.links.iter_mut().map(|(_, joined)| joined)
    }

    /// The live links with the serial numbers by which [`Wake`] and [`Cable::woken`] know
    /// them. Who keeps halves of them elsewhere puts them back before any other call.
    pub fn numbered(&mut self) -> impl Iterator<Item = (u32, &mut Joined)> {
        self.links.iter_mut().map(|(serial, joined)| (*serial, joined))
    }

    /// Looks for nobody any more; links that are there go on.
    pub fn give_up(&mut self) {
        self.rendezvous = None;
        self.look_at = None;
    }

    /// Keeps the links for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut Joined) -> bool) {
        let before = self.links.len();
        self.links.retain_mut(|(_, joined)| {
            let keeps = keep(joined);
            self.broken |= joined.is_broken();
            keeps
        });
        if self.links.len() < before {
            self.notice.parted();
            self.ended = true;
        }
        match &self.rendezvous {
            _ if self.is_up() => {}
            Some(rendezvous) if !rendezvous.is_over() => self.shown.waits(),
            _ => self.shown.over(),
        }
    }

    /// Takes out what is dead; whether links ended since the last call.
    pub fn sweep(&mut self) -> bool {
        self.retain(|joined| {
            joined.drop_closed();
            joined.is_alive()
        });
        std::mem::take(&mut self.ended)
    }

    /// The half that takes frames, of [`Cable::way_out`].
    pub fn sender(&mut self) -> Option<&mut Sender> {
        self.way_out()?.tx.as_mut()
    }

    /// The link that takes frames. Of several it is the newest: only when a link is about to
    /// end does another one get the way back, whether that end was heard of yet or not.
    pub fn way_out(&mut self) -> Option<&mut Joined> {
        self.links.iter_mut().rev().map(|(_, joined)| joined).find(|joined| joined.tx.is_some())
    }

    /// Once for each new neighbour: the virtio-net features that it has.
    pub fn take_plugged(&mut self) -> Option<u64> {
        self.plugged.take()
    }

    /// When [`Cable::on_time`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        [self.look_at, self.held_until, self.notice.deadline()].into_iter().flatten().min()
    }

    /// The rendezvous' descriptor became ready: takes new links into use.
    ///
    /// # Errors
    /// [`LinkError`], and those of `wake`.
    pub fn on_rendezvous(&mut self, wake: &mut Wake<'_>) -> Result<()> {
        while let Some(rendezvous) = &mut self.rendezvous {
            match rendezvous.poll() {
                Ok(None) => break,
                Ok(Some(Event::Link(link))) => self.join(link, wake)?,
                Ok(Some(event)) => self.on_event(event, wake)?,
                Err(error @ LinkError::NeighbourGone { .. }) => self.nobody_there(error, wake)?,
                Err(error) => return Err(error.into()),
            }
        }
        self.greet();
        Ok(())
    }

    /// Nobody holds the other end of the pipe.
    fn nobody_there(&mut self, error: LinkError, wake: &mut Wake<'_>) -> Result<()> {
        // It took the beginning of a capture for what it is, and nothing else.
        if self.has_prologue() && self.stream_on(wake)? {
            return Ok(());
        }
        if !self.was_up {
            return Err(error.into());
        }
        // That is the end of the cable, not a failure.
        self.rendezvous = None;
        self.links.iter_mut().for_each(|(_, joined)| joined.tx = None);
        self.ended = true;
        Ok(())
    }

    /// Sees about a neighbour that has not turned up: one that does not know of
    /// rings gets a capture.
    ///
    /// # Errors
    /// Those of `wake` and open(2).
    pub fn on_time(&mut self, wake: &mut Wake<'_>) -> Result<()> {
        let now = Instant::now();
        self.notice.on_time(now, self.is_up(), self.rendezvous.is_some());
        if self.held_until.is_some_and(|until| now >= until) {
            self.release();
        }
        if self.look_at.is_none_or(|at| now < at) {
            return Ok(());
        }
        self.look_at = None;
        if let Some((serial, link)) = self.bequeathed.take() {
            return self.enter_on(serial, link, wake);
        }
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            return first.into_iter().try_for_each(|joined| self.add(joined, wake));
        }
        let Some(rendezvous) = &self.rendezvous else { return Ok(()) };
        if self.is_up() {
            return Ok(());
        }
        if self.fallback == Fallback::AtOnce {
            return self.begin_stream(Kind::Other, wake);
        }
        self.looks += 1;
        match neighbour(rendezvous.end().id(), Role::Writer).kind {
            // A look at all processes is not to be most of what happens here.
            Kind::Aware => self.look_at = Some(now + BOUND.max(20 * now.elapsed())),
            Kind::Unknown if self.looks == 1 => self.look_at = Some(now + BOUND - FIRST_LOOK),
            kind => self.begin_stream(kind, wake)?,
        }
        Ok(())
    }

    /// Takes a link into use.
    fn join(&mut self, link: Link, wake: &mut Wake<'_>) -> Result<()> {
        self.notice.joined(&link);
        // The byte streams of this pipe have done their part; what came in is first.
        let stream = self.end_streams();
        self.plugged = link.tx.is_some().then_some(link.features).or(self.plugged);
        let mut joined = Joined::link(link);
        joined.rx = match (stream, joined.rx) {
            (Some(stream), Some(link)) => Some(stream.then(link)),
            (stream, link) => link.or(stream),
        };
        self.add(joined, wake)
    }

    fn add(&mut self, mut joined: Joined, wake: &mut Wake<'_>) -> Result<()> {
        self.shown.joins(&mut joined)?;
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        if let Some(tx) = &joined.tx {
            wake(serial, Half::Tx, tx.as_fd(), edge)?;
        }
        if let Some(rx) = &joined.rx {
            wake(serial, Half::Rx, rx.as_fd(), edge)?;
        }
        let bytes_in = joined.rx.as_ref().is_some_and(Receiver::is_stream);
        if is_capture(&joined.tx) || bytes_in {
            self.plugged = Some(FEATURES); // packets are finished on this side
        }
        self.was_up = true;
        self.look_at = None;
        self.links.push((serial, joined));
        Ok(())
    }

    /// The descriptor of one half of a link became ready.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn woken(&mut self, serial: u32, half: Half) -> std::io::Result<()> {
        let Some((_, joined)) = self.links.iter_mut().find(|link| link.0 == serial) else {
            return Ok(());
        };
        match half {
            Half::Tx => {
                if let Some(tx) = &mut joined.tx {
                    tx.woken()?;
                    tx.publish();
                }
            }
            Half::Rx => joined.rx.as_mut().map_or(Ok(()), Receiver::woken)?,
        }
        self.greet();
        Ok(())
    }

    /// Before a sleep, after the halves were armed.
    pub fn arm(&mut self) {
        self.greet();
    }

    /// After a sleep: nobody needs to wake us any more.
    pub fn disarm(&mut self) {
        for joined in self.links() {
            if let Some(rx) = &mut joined.rx {
                rx.disarm();
            }
        }
    }

    /// Takes note of what happened to the senders, for those who do not wait
    /// for their descriptors.
    pub fn refresh(&mut self) {
        for tx in self.links().filter_map(|joined| joined.tx.as_mut()) {
            let _ = tx.woken();
        }
        self.greet();
    }

    /// Whether the neighbours get all that was sent even if this side ends now, or
    /// do not want it any more.
    pub fn is_flushed(&mut self) -> bool {
        self.links().filter_map(|joined| joined.tx.as_mut()).all(Sender::is_flushed)
    }
}

/// Whether frames go into a pipe as a capture.
fn is_capture(tx: &Option<Sender>) -> bool {
    tx.as_ref().is_some_and(|tx| tx.stream::<StreamTx>().is_some())
}

/// When to see for the first time whether the reader knows of rings.
fn look_at(fallback: Fallback, end: &PipeEnd) -> Option<Instant> {
    let may_stream = end.role() == Role::Writer && !end.is_socket();
    match fallback {
        Fallback::IfUnaware if may_stream => Some(Instant::now() + FIRST_LOOK),
        Fallback::AtOnce if may_stream => Some(Instant::now()),
        _ => None,
    }
}

fn rendezvous(end: PipeEnd, dir: &RuntimeDir, offer: &Offer) -> Result<Rendezvous, LinkError> {
    let reads = end.role() == Role::Reader;
    let mut rendezvous = Rendezvous::new(end, dir, offer.clone())?;
    if reads {
        rendezvous.accept_bytes();
    }
    Ok(rendezvous)
}

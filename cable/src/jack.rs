//! An edge and the cables it is joined to, and the frames between.

use std::time::{Duration, Instant};

use anyhow::Result;
use frames::{FEATURES, MAX_FRAME};
use shmring::{BytesMut, RecvError, SendError};

use crate::audience::{Audience, Held, is_held};
use crate::edge::{Burst, Edge, NotTaken, Watch};
use crate::finished::Finished;
use crate::{BATCH, Cable, PUBLISH_EVERY, Receiver, Sender};

/// How long after its last neighbour has gone an edge hears of it where another may come,
/// as on a FIFO. Whoever is restarted within that was never away: a kernel keeps its
/// addresses and its queue, and what is sent meanwhile waits there.
const GRACE: Duration = Duration::from_secs(1);

/// Frames that may wait in an edge for a neighbour: as many as a TAP holds.
const WAITING: u64 = 1000;

/// An edge and its cables.
pub struct Jack<E> {
    /// The edge's name for people.
    pub name: String,
    edge: E,
    /// The pipes it is joined to.
    pub cables: Vec<Cable>,
    finished: Finished,
    /// What the newest neighbour takes unfinished, once there was one.
    plugged: Option<u64>,
    /// The last one has gone, and the edge will hear of it then.
    unplug_at: Option<Instant>,
    /// Whether a frame came from the edge alone, the last time.
    alone: bool,
    /// Frames that links took from the edge.
    sent: u64,
    /// Frames that the edge took from links, or refused.
    taken: u64,
    /// Who is to see all of a recording, or of all frames.
    pub audience: Audience,
    held: Held,
}

impl<E: Edge> Jack<E> {
    /// An edge without links.
    pub fn new(name: String, edge: E, cables: Vec<Cable>) -> Jack<E> {
        let finished = Finished::new(&name);
        Jack {
            name,
            edge,
            cables,
            finished,
            plugged: None,
            unplug_at: None,
            alone: false,
            sent: 0,
            taken: 0,
            audience: Audience::Nobody,
            held: Held::default(),
        }
    }

    /// The edge.
    pub fn edge(&self) -> &E {
        &self.edge
    }

    /// The edge, for whoever puts frames into it.
    pub fn edge_mut(&mut self) -> &mut E {
        &mut self.edge
    }

    /// See [`Edge::is_empty`].
    pub fn is_empty(&mut self) -> bool {
        self.edge.is_empty()
    }

    /// Whether frames wait for their audience.
    pub fn holds_back(&self) -> bool {
        self.held.any
    }

    /// See [`Edge::close`].
    pub fn close_edge(&mut self) -> bool {
        self.hand_over() != Err(NotTaken::NotNow) && self.edge.close()
    }

    /// Packets of a frame that the edge took in part.
    fn hand_over(&mut self) -> Result<(), NotTaken> {
        let handed = self.finished.hand_over(&mut self.edge);
        if handed == Err(NotTaken::Refused)
            && let Some(rx) =
                self.cables.iter_mut().flat_map(Cable::links).find_map(|it| it.rx.as_mut())
        {
            rx.count_drop();
        }
        handed
    }

    /// See [`Edge::watch`].
    ///
    /// # Errors
    /// Those of `watch`.
    pub fn watch(&self, watch: &mut Watch<'_>) -> Result<()> {
        self.edge.watch(watch)
    }

    /// When it wants a turn and [`Jack::on_time`], although nothing woke it.
    pub fn deadline(&self) -> Option<Instant> {
        self.edge.deadline().into_iter().chain(self.held.until).chain(self.unplug_at).min()
    }

    /// Tells the edge that nobody has come in the place of its last neighbour, if it is
    /// time to.
    ///
    /// # Errors
    /// Those of [`Edge::unplugged`].
    pub fn on_time(&mut self) -> Result<()> {
        match self.unplug_at.take_if(|at| Instant::now() >= *at) {
            Some(_) => self.edge.unplugged(),
            None => Ok(()),
        }
    }

    /// A descriptor of the edge became ready.
    pub fn woken(&mut self) {
        self.edge.woken();
    }

    /// Moves some frames both ways; `true` when there were any.
    #[inline]
    pub fn turn(&mut self) -> bool {
        let mut busy = false;
        let _ = self.hand_over();
        let Jack { edge, cables, finished, audience, held, taken, .. } = self;
        *held = Held::default();
        let before = *taken;
        for cable in cables {
            cable.retain(|joined| {
                if let Some(rx) = &mut joined.rx
                    && let Err(error) = deliver(rx, edge, finished, *audience, held, taken)
                {
                    joined.end_rx(&error);
                    return false;
                }
                // What came in before the neighbour closed is delivered first.
                joined.drop_closed();
                joined.is_alive()
            });
        }
        busy |= self.taken > before;
        if self.edge.has_frames() {
            let mut burst = Burst::default();
            if let Some(joined) = self.cables.iter_mut().find_map(Cable::way_out)
                && let Some(sender) = &mut joined.tx
                && let Err(error) = collect(&mut self.edge, sender, self.alone, &mut burst)
            {
                joined.end_tx(&self.name, &error); // the rest of the link ends with the next turn
                busy = true;
            }
            if burst.frames > 0 {
                self.alone = burst.frames == 1;
                busy = true;
            }
            self.sent += burst.frames as u64;
            self.edge.filled(burst);
        }
        busy
    }

    /// Before a sleep: asks the edge and every neighbour to wake us. `false` when
    /// there is something to do after all.
    pub fn arm(&mut self) -> bool {
        let may_send = self.edge.has_frames();
        let mut sleep = self.edge.arm();
        for joined in self.cables.iter_mut().flat_map(Cable::links) {
            joined.tx.iter_mut().for_each(Sender::publish);
            if let Some(rx) = &mut joined.rx
                && self.edge.has_room()
                && is_held(rx, self.audience, &mut self.held) != Ok(true)
            {
                sleep &= rx.arm();
            }
        }
        // Frames wait in the edge only for the link they go to.
        if may_send && let Some(tx) = self.cables.iter_mut().find_map(Cable::sender) {
            sleep &= tx.arm();
        }
        sleep
    }

    /// After neighbours may have come: tells the edge what the newest one takes. Whether
    /// it came in the place of another.
    ///
    /// # Errors
    /// Those of [`Edge::plugged`].
    pub fn links_came(&mut self) -> Result<bool> {
        let Some(features) = self.cables.iter_mut().filter_map(Cable::take_plugged).last() else {
            return Ok(false);
        };
        self.unplug_at = None;
        let before = self.plugged.replace(features);
        if before.is_some_and(|before| before & !features != 0) {
            // Made for the one before, and this one takes less.
            self.discard(WAITING);
        }
        self.edge.plugged(features)?;
        Ok(before.is_some())
    }

    /// After links ended: tells the edge if there are no others, at once where none will
    /// come, else after some time.
    ///
    /// # Errors
    /// Those of [`Edge::unplugged`].
    pub fn links_ended(&mut self) -> Result<()> {
        if self.cables.iter().any(Cable::is_up) {
            return Ok(());
        }
        if self.cables.iter().all(Cable::is_gone) {
            self.unplug_at = None;
            return self.edge.unplugged();
        }
        self.unplug_at.get_or_insert_with(|| Instant::now() + GRACE);
        Ok(())
    }

    /// Tells the edge that whoever is behind its link, which stays, has left or come back.
    ///
    /// # Errors
    /// Those of [`Edge::plugged`] and [`Edge::unplugged`].
    pub fn neighbour_left(&mut self, has_left: bool) -> Result<()> {
        match (has_left, self.plugged) {
            (true, _) => self.edge.unplugged(),
            (false, Some(features)) => self.edge.plugged(features),
            (false, None) => Ok(()),
        }
    }

    /// Whether frames get away: each pipe has had a link. Where they come in by a pipe
    /// of their own, that is not waited for: what is sent waits where it goes, and what
    /// comes in may be text, of which there is none before somebody has sent.
    pub fn is_ready(&self) -> bool {
        self.have_met(|_| true)
    }

    /// The same of those cables on which somebody comes or the function ends, as that of
    /// a `|`: a FIFO may stay without a neighbour for ever.
    pub fn is_complete(&self) -> bool {
        self.have_met(Cable::is_vital)
    }

    fn have_met(&self, which: impl Fn(&Cable) -> bool) -> bool {
        let sends = self.cables.iter().any(|cable| !cable.only_receives());
        let has_met = |cable: &Cable| cable.was_up || sends && cable.only_receives();
        self.cables.iter().filter(|cable| which(cable)).all(has_met)
    }

    /// Frames that links took from the edge so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether there is a neighbour that takes frames.
    pub fn can_send(&mut self) -> bool {
        self.cables.iter_mut().any(|cable| cable.sender().is_some())
    }

    /// Whether the neighbours get all that the edge had, even if this side ends now.
    /// Where nobody takes frames there is nothing to wait for.
    pub fn is_drained(&mut self) -> bool {
        !self.can_send() || self.edge.is_empty() && self.cables.iter_mut().all(Cable::is_flushed)
    }

    /// Frames that the edge took from links so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the edge has taken all that neighbours sent.
    pub fn is_delivered(&mut self) -> bool {
        let mut links = self.cables.iter_mut().flat_map(Cable::links);
        !links.any(|joined| joined.rx.as_mut().is_some_and(Receiver::has_frame))
    }

    /// Takes frames out of the edge that no link took, and counts them; at most `max`.
    pub fn discard(&mut self, max: u64) -> u64 {
        let mut room = vec![0; MAX_FRAME];
        let mut discarded = 0;
        while discarded < max && self.edge.fill(&mut BytesMut::of_slice(&mut room)).is_ok() {
            discarded += 1;
        }
        if let Some(tx) = self.cables.iter_mut().find_map(Cable::sender) {
            (0..discarded).for_each(|_| tx.count_drop());
        }
        discarded
    }

    /// Before the links go to another process: sends what the edge has, as far as there
    /// is room before `until`.
    pub fn empty(&mut self, until: Instant) {
        self.edge.woken();
        let Some(sender) = self.cables.iter_mut().find_map(Cable::sender) else { return };
        let mut burst = Burst::default();
        while collect(&mut self.edge, sender, false, &mut burst).is_ok() && !self.edge.is_empty() {
            if Instant::now() >= until || sender.wait(Some(Duration::from_millis(1))).is_err() {
                break;
            }
        }
        self.sent += burst.frames as u64;
    }

    /// Closes every link; neighbours still get what was sent.
    pub fn close(&mut self) {
        self.cables.clear();
    }

    /// The edge, whose cables are gone.
    pub fn into_edge(self) -> E {
        self.edge
    }
}

/// Frames from a link to the edge, until there are no more or one is to wait.
///
/// # Errors
/// The end of the link.
#[inline]
fn deliver<E: Edge>(
    rx: &mut Receiver,
    edge: &mut E,
    finished: &mut Finished,
    audience: Audience,
    held: &mut Held,
    count: &mut u64,
) -> Result<(), RecvError> {
    let as_they_are = edge.features() & FEATURES == FEATURES;
    let mut frames = 0;
    let mut result = Ok(());
    for _ in 0..BATCH {
        if !edge.has_room() {
            break;
        }
        // Each one: the neighbour may have sent it since anybody looked.
        if let Ok(true) | Err(RecvError::Empty) = is_held(rx, audience, held) {
            break;
        }
        let taken = rx.receive(|bytes| {
            let taken = if as_they_are { edge.take(bytes) } else { finished.take(bytes, edge) };
            (taken != Err(NotTaken::NotNow), taken)
        });
        match taken {
            Ok(Ok(())) => {}
            Ok(Err(NotTaken::NotNow)) => break,
            Ok(Err(NotTaken::Refused)) => rx.count_drop(),
            Err(RecvError::Empty) => break,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
        frames += 1;
    }
    if frames > 0 {
        *count += frames;
        edge.taken();
    }
    rx.return_room();
    result
}

/// Frames from the edge to a link. Whether there are more is asked only after the first one is
/// on its way where it was `alone` the last time: somebody may wait for it, as for an answer.
///
/// # Errors
/// The link is of no use any more.
#[inline]
fn collect<E: Edge>(
    edge: &mut E,
    tx: &mut Sender,
    alone: bool,
    burst: &mut Burst,
) -> Result<(), SendError> {
    let mut staged = if alone { PUBLISH_EVERY } else { 0 };
    for _ in 0..BATCH {
        let mut len = 0;
        let filled = tx.put(MAX_FRAME, |room| {
            len = edge.fill(room)?;
            Ok(len)
        });
        match filled {
            Ok(Ok(())) => {
                staged += len;
                burst.push(len);
            }
            Ok(Err(crate::edge::NotNow)) => break,
            Err(SendError::Full) => break,
            Err(error) => return Err(error),
        }
        if staged >= PUBLISH_EVERY {
            tx.publish();
            staged = 0;
        }
    }
    tx.publish();
    Ok(())
}

//! `stdpkt feed`: a capture into the right link.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use frames::recorded::MAX_HEAD_START;
use rustix::fs::SeekFrom;
use shmring::{ByteStream, PipeEnd, RecvError, RuntimeDir, SendError, StreamIn};

use super::{Work, right};
use crate::FAILED;
use crate::name::NameArg;
use crate::run::signals::Signals;
use cable::stream_rx::StreamRx;
use cable::{BATCH, Cable, CablePlan, Sender};

/// `stdpkt feed`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt feed all.pcap | stdpkt run --left 10.0.0.2/24 -- tcpdump -c10
  stdpkt feed --speed realtime all.pcap
  tcpdump -w - | stdpkt feed")]
pub struct FeedArgs {
    /// A capture (pcap, pcapng, hex text or a hex dump), `-` or none for standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// How fast: max (as packets are taken), realtime (as they were captured) or a
    /// number of times as fast as that
    #[arg(long, value_name = "SPEED", default_value = "max", value_parser = speed)]
    pub speed: Speed,

    /// How often to send it; 0 for ever
    #[arg(long = "loop", value_name = "N", default_value_t = 1)]
    pub rounds: u64,

    /// How long a function's CMD waits for something before packets reach it, in seconds;
    /// 0 for at once, also while it is being loaded
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = head_start)]
    pub after_cmd: Duration,

    /// What it is called.
    #[command(flatten)]
    pub name: NameArg,
}

/// How fast a capture is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as it is taken.
    Max,
    /// So many times as fast as it was captured.
    Times(f64),
}

fn speed(text: &str) -> Result<Speed, String> {
    match text {
        "max" => Ok(Speed::Max),
        "realtime" => Ok(Speed::Times(1.0)),
        number => match number.parse() {
            Ok(times) if times > 0.0 && f64::is_finite(times) => Ok(Speed::Times(times)),
            _ => Err("a speed is max, realtime or a number, as 2 for twice as fast".to_owned()),
        },
    }
}

fn head_start(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|it| Duration::try_from_secs_f64(it).ok());
    let limit = MAX_HEAD_START.as_secs();
    seconds
        .filter(|it| *it <= MAX_HEAD_START)
        .ok_or_else(|| format!("0 to {limit} seconds, as 2.5"))
}

/// Sends a capture to the right.
///
/// # Errors
/// One line that names the file and the place in it.
pub fn run(args: &FeedArgs) -> Result<u8> {
    args.name.introduce(&[], "feed");
    let mut feed = Feed::open(args)?;
    // What is no capture is refused before anybody waits for it.
    if !feed.source.peek() {
        return Ok(FAILED);
    }
    let plan = CablePlan { expects_both_ways: false, ..right()? };
    let status = super::run(vec![plan], Some(Signals::new()?), &mut feed)?;
    if feed.too_long > 0 {
        say::note!("{}: left out {} packets too long for the link", feed.what, feed.too_long);
    }
    Ok(status)
}

struct Feed {
    what: String,
    source: StreamRx,
    after_cmd: Duration,
    /// The file, and where the capture begins in it, if it is sent again.
    again: Option<(OwnedFd, u64)>,
    /// Further rounds; `None` for ever.
    rounds: Option<u64>,
    clock: Clock,
    /// When the next packet is due, if that is later.
    due: Option<Instant>,
    /// This round had a packet.
    any: bool,
    over: bool,
    /// The link is full.
    blocked: bool,
    too_long: u64,
}

impl Feed {
    fn open(args: &FeedArgs) -> Result<Feed> {
        let path = args.file.as_deref().filter(|path| path.as_os_str() != "-");
        let (source, what): (OwnedFd, _) = match path {
            None => {
                let stdin = std::io::stdin().as_fd().try_clone_to_owned();
                let stdin = stdin.context("standard input is closed")?;
                // A pipe is opened anew, so that reading it need not block.
                let end = PipeEnd::new(stdin.try_clone()?, "standard input").ok();
                let anew = end.and_then(|end| end.reopen_to_read().ok());
                (anew.unwrap_or(stdin), "standard input".to_owned())
            }
            Some(path) => {
                let what = path.display().to_string();
                (File::open(path).with_context(|| what.clone())?.into(), what)
            }
        };
        let mut again = None;
        if args.rounds != 1 {
            match rustix::fs::seek(&source, SeekFrom::Current(0)) {
                Ok(begin) => again = Some((source.try_clone()?, begin)),
                Err(_) => bail!("--loop: {what} cannot be read again: name a file"),
            }
        }
        let mut source = StreamRx::new(source, &what);
        source.set_head_start(args.after_cmd);
        Ok(Feed {
            what,
            source,
            after_cmd: args.after_cmd,
            again,
            rounds: args.rounds.checked_sub(1),
            clock: Clock { speed: args.speed, first: None, lead: args.after_cmd },
            due: None,
            any: false,
            over: false,
            blocked: false,
            too_long: 0,
        })
    }

    /// Begins the next round at the end of one; `false` when that was the last.
    fn begin_again(&mut self) -> bool {
        let Some((file, begin)) = &self.again else { return false };
        if self.rounds == Some(0) || self.source.error().is_some() || !self.any {
            return false;
        }
        self.any = false;
        self.rounds = self.rounds.map(|rounds| rounds - 1);
        let Ok(copy) = file.try_clone() else { return false };
        if rustix::fs::seek(&copy, SeekFrom::Start(*begin)).is_err() {
            return false;
        }
        self.source = StreamRx::new(copy, &self.what);
        self.source.set_head_start(self.after_cmd);
        self.clock.first = None;
        true
    }

    fn send(&mut self, tx: &mut Sender, busy: &mut bool) {
        self.blocked = false;
        self.due = None;
        for _ in 0..BATCH {
            let (len, time) = match self.source.next_len() {
                Ok(len) => (len, self.source.time()),
                Err(RecvError::Ended) if self.begin_again() => continue,
                Err(error) => {
                    self.over = error != RecvError::Empty;
                    break;
                }
            };
            self.due = self.clock.due(time).filter(|due| *due > Instant::now());
            if self.due.is_some() {
                break;
            }
            let bytes = self.source.frame();
            let sent = tx.put(len, |room| {
                room.copy_from_bytes(0, bytes);
                Ok::<_, ()>(len)
            });
            match sent {
                Ok(_) => {}
                Err(SendError::Full) => {
                    self.blocked = true;
                    break;
                }
                Err(SendError::TooLong { .. }) => self.too_long += 1,
                Err(_) => break,
            }
            self.clock.sent(time);
            self.source.release();
            self.any = true;
            *busy = true;
        }
        tx.publish();
    }
}

/// Keeps the time of a capture.
struct Clock {
    speed: Speed,
    /// When the first packet of a round arrives, and its time.
    first: Option<(Instant, Duration)>,
    /// How long the very first packet waits where it arrives.
    lead: Duration,
}

impl Clock {
    /// When a packet of this time is due. One from before the first is due at once.
    fn due(&self, time: Option<Duration>) -> Option<Instant> {
        let Speed::Times(times) = self.speed else { return None };
        let (start, first) = self.first?;
        let after = time?.saturating_sub(first).as_secs_f64() / times;
        start.checked_add(Duration::try_from_secs_f64(after).ok()?)
    }

    fn sent(&mut self, time: Option<Duration>) {
        if let (Some(time), None) = (time, self.first) {
            self.first = Some((Instant::now() + std::mem::take(&mut self.lead), time));
        }
    }
}

impl Work for Feed {
    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool> {
        let mut busy = false;
        if let Some(tx) = cables[0].sender() {
            self.send(tx, &mut busy);
        }
        // What comes back has nowhere to go.
        cables[0].retain(|joined| {
            let Some(rx) = &mut joined.rx else { return true };
            for _ in 0..BATCH {
                match rx.receive(|_| (true, ())) {
                    Ok(()) => busy = true,
                    Err(RecvError::Empty) => break,
                    Err(_) => return false,
                }
            }
            rx.return_room();
            true
        });
        Ok(busy)
    }

    fn arm(&mut self, cables: &mut [Cable]) -> bool {
        let mut sleep = match cables[0].sender() {
            None => true,
            Some(tx) if self.blocked => tx.arm(),
            Some(_) if self.due.is_some() => true,
            Some(_) => self.source.arm(),
        };
        for rx in cables[0].links().filter_map(|joined| joined.rx.as_mut()) {
            sleep &= rx.arm();
        }
        sleep
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.source.as_fd())
    }

    fn ready(&mut self, _: &mut Vec<Cable>, _: &RuntimeDir) -> Result<()> {
        let _ = self.source.woken(); // cannot fail: there is nothing but a flag
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.due
    }

    fn is_over(&self, cables: &[Cable]) -> bool {
        cables[0].is_gone() || self.over
    }
}

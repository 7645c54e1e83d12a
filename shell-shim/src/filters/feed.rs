//! `stdpkt feed`: a capture into the right link.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use shmring::{PipeEnd, RecvError, SendError};

use super::{Patch, Work, right};
use crate::FAILED;
use crate::run::signals::Signals;
use cable::stream_rx::StreamRx;
use cable::{BATCH, Cable, CablePlan, Sender};

/// `stdpkt feed`.
#[derive(Debug, Args)]
pub struct FeedArgs {
    /// A capture (pcap, pcapng or hex text), `-` or none for standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Sends a capture to the right, as fast as it is taken.
///
/// # Errors
/// One line that names the file and the place in it.
pub fn run(args: &FeedArgs) -> Result<u8> {
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
    let mut feed = Feed { source: StreamRx::new(source, &what), blocked: false, too_long: 0 };
    // What is no capture is refused before anybody waits for it.
    if !feed.source.peek() {
        return Ok(FAILED);
    }
    let plan = CablePlan { expects_both_ways: false, ..right()? };
    let status = Patch::new(vec![plan], Some(Signals::new()?))?.run(&mut feed)?;
    if feed.too_long > 0 {
        say::note!("{what}: left out {} packets too long for the link", feed.too_long);
    }
    Ok(status)
}

struct Feed {
    source: StreamRx,
    /// The link is full.
    blocked: bool,
    too_long: u64,
}

impl Feed {
    fn send(&mut self, tx: &mut Sender, busy: &mut bool) {
        self.blocked = false;
        for _ in 0..BATCH {
            let bytes = match self.source.borrow() {
                Ok(bytes) => bytes,
                Err(RecvError::Empty) => break,
                Err(_) => break,
            };
            let len = bytes.len();
            let sent = tx.send(len, |room| {
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
            self.source.release();
            *busy = true;
        }
        tx.publish();
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

    fn ready(&mut self) {
        self.source.woken();
    }

    fn is_over(&self, cables: &[Cable]) -> bool {
        cables[0].is_gone() || (cables[0].was_up && self.source.is_ended())
    }
}

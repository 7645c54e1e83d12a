//! `stdpkt tee`: frames pass, and a copy of each goes to files.

use std::collections::HashMap;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use shmring::Bytes;

use super::mirror::Mirror;
use super::{Part, Work, left, right};
use crate::name::NameArg;
use crate::run::signals::Signals;
use cable::Cable;
use cable::lane::Lane;

/// `stdpkt tee`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt run --right 10.0.0.1/24 -- ping 10.0.0.2 |
    stdpkt tee all.pcap |
    stdpkt run --left 10.0.0.2/24
  stdpkt tee --append all.pcap
  stdpkt tee /tmp/copy")]
pub struct TeeArgs {
    /// Append to captures instead of starting them anew
    #[arg(short, long)]
    pub append: bool,

    /// Captures to write, both directions in each. A FIFO is written while
    /// somebody reads it; if that is another stdpkt, it becomes a link
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// What it is called.
    #[command(flatten)]
    pub name: NameArg,
}

/// Passes frames on until a neighbour ends.
///
/// # Errors
/// One line that names the file or link.
pub fn run(args: &TeeArgs) -> Result<u8> {
    args.name.introduce(&[], "tee");
    let plans = vec![left()?, right()?];
    // Before there are threads, which are not to get the signals either.
    let signals = Signals::new()?;
    check_distinct(&args.files)?;
    let mirrors: Result<_> =
        args.files.iter().map(|path| Mirror::open(path, args.append)).collect();
    let mut tee = Tee { forward: Lane::default(), back: Lane::default(), mirrors: mirrors? };
    let status = super::run(plans, Some(signals), &mut tee);
    tee.mirrors.into_iter().for_each(Mirror::finish);
    status
}

/// Two captures in one file spoil each other, and a FIFO's reader gets half of each.
fn check_distinct(files: &[PathBuf]) -> Result<()> {
    let mut seen = HashMap::new();
    for path in files {
        // What is still to be made has a directory at least.
        let (parent, name) = (path.parent(), path.file_name());
        let parent = parent.filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = || Ok(parent.canonicalize()?.join(name.ok_or(ErrorKind::NotFound)?));
        let place = path.canonicalize().or_else(|_| made()).unwrap_or_else(|_: Error| path.clone());
        if let Some(other) = seen.insert(place, path) {
            bail!("{} and {} are one file: leave one out", other.display(), path.display());
        }
    }
    Ok(())
}

struct Tee {
    forward: Lane,
    back: Lane,
    mirrors: Vec<Mirror>,
}

impl Work for Tee {
    fn part(&self) -> Part {
        Part::Through
    }

    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool> {
        let [left, right] = cables else { return Ok(false) };
        let mirrors = &mut self.mirrors;
        let mut copy = |bytes: &Bytes<'_>| {
            mirrors.iter_mut().for_each(|mirror| mirror.take(bytes));
            true
        };
        let there = self.forward.turn(left, right, |bytes, _| copy(bytes));
        let back = self.back.turn(right, left, |bytes, _| copy(bytes));
        self.mirrors.iter_mut().for_each(Mirror::pump);
        Ok(there || back)
    }

    fn arm(&mut self, cables: &mut [Cable]) -> bool {
        let [left, right] = cables else { return true };
        self.mirrors.iter_mut().for_each(Mirror::pause);
        self.forward.arm(left, right) & self.back.arm(right, left)
    }

    fn deadline(&self) -> Option<Instant> {
        self.mirrors.iter().filter_map(Mirror::deadline).min()
    }
}

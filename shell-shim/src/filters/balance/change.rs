//! `stdpkt balance --set`: asks a balancer that runs for changes.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags, open};

use super::BalanceArgs;
use crate::door::ask;
use crate::door::messages::Request;
use crate::name::find;

/// A balancer answers at once, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the balancer called `name` for each change, in the order of this text.
///
/// # Errors
/// One line that names what was not done; what comes before it was.
pub fn request(name: &str, args: &BalanceArgs) -> Result<u8> {
    let show = |path: &Path| path.display().to_string();
    let mut changes = Vec::new();
    changes.extend(args.add.iter().map(|path| (path, Request::Add { path: show(path) })));
    let weights = args.weight.iter();
    changes.extend(
        weights.map(|(path, weight)| (path, Request::Weight { path: show(path), weight: *weight })),
    );
    changes.extend(args.drain.iter().map(|path| (path, Request::Drain { path: show(path) })));
    changes.extend(args.undrain.iter().map(|path| (path, Request::Undrain { path: show(path) })));
    if changes.is_empty() {
        bail!("--set {name}: say what: --add, --weight, --drain or --undrain, with the PATH");
    }
    let process = find(name)?;
    for (path, change) in changes {
        // Its name may mean another one there, or none. Not opened, for that may have effects.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fifo = open(path, flags, Mode::empty()).with_context(|| show(path))?;
        ask(&process, &change, &[fifo.as_fd()], PATIENCE)?;
    }
    Ok(0)
}

//! Children joined by pipes, none of which outlives the group.
//!
//! They stay in the terminal's foreground process group, as those of a shell
//! script do, so that Ctrl-C reaches them all. For every other way to end,
//! dropping the group ends this process's children, and only those; what a
//! child leaves behind becomes one ([`Watch::new`]).

use std::collections::HashSet;
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::watch::Watch;

/// After SIGTERM and after SIGKILL, children have this long to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running pipeline.
pub struct Group<'a> {
    watch: &'a Watch,
    children: Vec<Child>,
    /// Standard output of the last child; none once it has ended.
    stdout: Option<PipeReader>,
    /// Standard error of all of them; none once it has ended.
    stderr: Option<PipeReader>,
}

/// What a pipeline did.
pub struct Done {
    /// How the last child ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
}

impl<'a> Group<'a> {
    /// Starts `commands`, each one's standard output joined to the standard
    /// input of the next.
    ///
    /// # Errors
    /// Where one cannot be started; those before it are ended.
    pub fn start(watch: &'a Watch, commands: Vec<Command>) -> Result<Group<'a>> {
        let (stderr, errors) = std::io::pipe().context("pipe")?;
        let mut group = Group { watch, children: Vec::new(), stdout: None, stderr: Some(stderr) };
        for mut command in commands {
            let (reader, writer) = std::io::pipe().context("pipe")?;
            let stdin = group.stdout.replace(reader).map_or_else(Stdio::null, Stdio::from);
            command.stdin(stdin).stdout(writer).stderr(errors.try_clone().context("pipe")?);
            let child = command.spawn();
            group
                .children
                .push(child.with_context(|| command.get_program().to_string_lossy().into_owned())?);
            // With `command` go this process's copies of what the child has.
        }
        Ok(group)
    }

    /// Waits until all children have ended; `heard` gets what they write to
    /// standard error, as it comes.
    ///
    /// # Errors
    /// [`Interrupted`](super::watch::Interrupted), or one line where they take
    /// longer than `limit`.
    pub fn finish(mut self, limit: Duration, mut heard: impl FnMut(&[u8])) -> Result<Done> {
        let until = Instant::now() + limit;
        let mut stdout = Vec::new();
        loop {
            let mut statuses = Vec::new();
            for child in &mut self.children {
                statuses.push(child.try_wait().context("wait")?);
            }
            if let (None, None) = (&self.stdout, &self.stderr)
                && statuses.iter().all(Option::is_some)
                && let Some(&Some(status)) = statuses.last()
            {
                self.children.clear();
                return Ok(Done { status, stdout });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("not done after {} s: is the machine overloaded?", limit.as_secs());
            }
            let fds = [&self.stdout, &self.stderr].map(|pipe| pipe.as_ref().map(AsFd::as_fd));
            let [out, err] = self.watch.wait(fds, left)?;
            if out {
                receive(&mut self.stdout, |bytes| stdout.extend_from_slice(bytes))?;
            }
            if err {
                receive(&mut self.stderr, &mut heard)?;
            }
        }
    }

    /// Ends what is left.
    fn end(&mut self) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let until = Instant::now() + PATIENCE;
            let mut told = HashSet::new();
            loop {
                let pids = self.alive();
                if pids.is_empty() {
                    return;
                }
                // Not waited for yet, so the pids are still their own.
                pids.into_iter().filter(|&pid| told.insert(pid)).for_each(|pid| {
                    let _ = kill(pid, signal);
                });
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                self.watch.wait_for_child(left);
            }
        }
    }

    /// The children that have not ended, orphans of children among them;
    /// buries the others.
    fn alive(&mut self) -> Vec<Pid> {
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let own: Vec<Pid> =
            self.children.iter().map(|child| Pid::from_raw(child.id() as i32)).collect();
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
        let adopted = children_of_this_process().into_iter().filter(|pid| {
            use nix::sys::wait::WaitStatus::StillAlive;
            !own.contains(pid) && waitpid(*pid, Some(flags)) == Ok(StillAlive)
        });
        let adopted: Vec<Pid> = adopted.collect();
        own.into_iter().chain(adopted).collect()
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        // Closed first: nobody may wait for this process to read on.
        self.stdout = None;
        self.stderr = None;
        if !self.children.is_empty() {
            self.end();
        }
    }
}

/// One read, which does not block as there is something; none at the end.
fn receive(pipe: &mut Option<PipeReader>, take: impl FnOnce(&[u8])) -> Result<()> {
    let mut bytes = [0; 4096];
    let Some(reader) = pipe else { return Ok(()) };
    match reader.read(&mut bytes).context("pipe")? {
        0 => *pipe = None,
        n => take(&bytes[..n]),
    }
    Ok(())
}

/// From `/proc/self/task/TID/children` (a kernel without them has only those
/// that were started here).
fn children_of_this_process() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<i32>>())
        .map(Pid::from_raw)
        .collect()
}

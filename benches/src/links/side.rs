//! One of the two processes: the ends of all links, and orders for them.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use shmring::{Consumer, Offer, PipeEnd, Producer, Rendezvous, RuntimeDir, Rx, Tx};

use super::turns::{End, Incoming, Outgoing, run};
use super::{Job, Task};
use crate::harness::frames::{Checker, Source};
use crate::harness::{inherit, pin_to};

struct Link {
    tx: Producer,
    rx: Consumer,
}

/// Meets the neighbour on every pipe, then does what standard input asks for
/// until it ends. The arguments are those that [`super::Links`] gave.
///
/// # Errors
/// Links that do not come up, and frames that are not what they should be.
pub fn main(arguments: &[String]) -> Result<()> {
    let [cpu, dir, capacity, max_frame, pipes] = arguments else {
        bail!("not meant to be started by hand")
    };
    let offer =
        Offer { capacity: capacity.parse()?, max_frame: max_frame.parse()?, ..Offer::default() };
    let dir = RuntimeDir::at(Path::new(dir))?;
    let pipes = inherit::take(pipes)?;
    let mut links =
        pipes.into_iter().map(|pipe| meet(pipe, &dir, &offer)).collect::<Result<Vec<_>>>()?;
    let mut control = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let orders = BufReader::new(control.try_clone()?);
    control.write_all(b"met\n")?;
    for order in orders.lines() {
        let job: Job = order?.parse()?;
        if job.task == Task::Receive {
            control.write_all(b"ready\n")?;
        }
        work(&mut links, &job, cpu.parse()?)?;
        control.write_all(b"done\n")?;
    }
    Ok(())
}

fn meet(pipe: OwnedFd, dir: &RuntimeDir, offer: &Offer) -> Result<Link> {
    let link = Rendezvous::new(PipeEnd::new(pipe, "the pipe")?, dir, offer.clone())?.wait()?;
    match (link.tx, link.rx) {
        (Some(Tx::Ring(tx)), Some(Rx::Ring(rx))) => Ok(Link { tx, rx }),
        _ => bail!("no ring each way"),
    }
}

fn work(links: &mut [Link], job: &Job, cpu: usize) -> Result<()> {
    let frames = |number| if job.only.is_none_or(|it| it == number) { job.frames } else { 0 };
    let links = links.iter_mut().enumerate();
    match job.task {
        Task::Send => share(
            job.threads,
            cpu,
            links.map(|(number, link)| Outgoing {
                tx: &mut link.tx,
                source: Source::new(job.sizes, false),
                left: frames(number),
            }),
        ),
        Task::Receive => share(
            job.threads,
            cpu,
            links.map(|(number, link)| Incoming {
                rx: &mut link.rx,
                checker: Checker::new(job.sizes, false),
                left: frames(number),
            }),
        ),
    }
}

/// An event loop a thread, each with as many ends. One alone stays on its
/// processor, if the machine has it; several run where the scheduler likes.
fn share<E: End + Send>(threads: usize, cpu: usize, ends: impl Iterator<Item = E>) -> Result<()> {
    let mut ends: Vec<E> = ends.collect();
    let each = ends.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let work = |ends| {
            if threads == 1 {
                let _ = pin_to(cpu);
            }
            run(ends)
        };
        let loops: Vec<_> =
            ends.chunks_mut(each).map(|ends| scope.spawn(move || work(ends))).collect();
        loops.into_iter().try_for_each(|it| it.join().ok().context("a thread panicked")?)
    })
}

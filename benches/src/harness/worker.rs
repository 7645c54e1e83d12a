//! The far side.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, anyhow, bail};
use rustix::time::ClockId;

use super::frames::{Checker, Sizes, Source};
use super::{Ends, Kind, Setup, cpu_time, inherit, pin_to};

/// Set in a process that is a far side, to the name of its [`Kind`].
pub(super) const MARK: &str = "STDPKT_BENCH_FAR_SIDE";

pub(super) const RECEIVE: u8 = 0;
pub(super) const CHECK: u8 = 1;
pub(super) const ECHO: u8 = 2;
pub(super) const CHECK_ECHO: u8 = 3;

/// To be called first in `main`: does not return in a process that is a far side.
pub fn hook(kinds: &[Kind]) {
    let Ok(name) = std::env::var(MARK) else { return };
    let status = match far_side(kinds, &name) {
        Ok(()) => 0,
        Err(error) => {
            say::line!("the far side of {name}: {error:#}");
            1
        }
    };
    std::process::exit(status);
}

fn far_side(kinds: &[Kind], name: &str) -> Result<()> {
    let kind = kinds.iter().find(|kind| kind.name == name).context("no such channel")?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [sizes, ring, dir, cpu, fds] = &args[..] else { bail!("not meant to be started by hand") };
    let sizes: Sizes = sizes.parse()?;
    let setup = Setup { dir: dir.into(), max_frame: sizes.longest(), ring: ring.parse()? };
    let control = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let cpu = (cpu != "-").then(|| cpu.parse()).transpose()?;
    let ends = (kind.far)(&setup, inherit::take(fds)?)?;
    serve(ends, control, sizes, cpu, ClockId::ProcessCPUTime)
}

/// Does what the near side asks for until it hangs up.
pub(super) fn serve(
    mut ends: Ends,
    mut control: UnixStream,
    sizes: Sizes,
    cpu: Option<usize>,
    clock: ClockId,
) -> Result<()> {
    if let Some(cpu) = cpu {
        pin_to(cpu)?;
    }
    loop {
        let mut message = [0; 9];
        match control.read_exact(&mut message) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let count = u64::from_le_bytes(message[1..].try_into()?);
        let full = matches!(message[0], CHECK | CHECK_ECHO);
        let mut checker = Checker::new(sizes, full);
        let cpu = cpu_time(clock);
        control.write_all(&[1])?;
        match message[0] {
            RECEIVE | CHECK => ends.rx.receive(count, &mut checker)?,
            ECHO | CHECK_ECHO => {
                let mut source = Source::new(sizes, full);
                for _ in 0..count {
                    ends.rx.receive(1, &mut checker)?;
                    ends.tx.send(1, &mut source)?;
                }
            }
            other => return Err(anyhow!("asked for {other}")),
        }
        let cpu = cpu_time(clock) - cpu;
        control.write_all(&(cpu.as_nanos() as u64).to_le_bytes())?;
    }
}

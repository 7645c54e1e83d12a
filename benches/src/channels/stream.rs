//! Pipes, FIFOs and sockets: one `write` a frame, and two kinds of reader.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair, sockopt,
};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::harness::frames::{Checker, HEADER, Source, length_in};
use crate::harness::{Ends, Far, Kind, Near, Receiver, Sender, Setup};

const ANY: usize = usize::MAX;
/// What the buffered reader asks for at once.
const READ_AT_ONCE: usize = 1 << 20;
/// More than the longest frame.
const LEFT_OVER: usize = 1 << 17;
const PAGE: usize = 4096;

pub(super) fn kinds() -> Vec<Kind> {
    let kind = |name, near, far| Kind { name, busy_polls: false, max_frame: ANY, near, far };
    vec![
        kind("pipe-64k", |_| pipes(64 << 10, buffered), buffered_far),
        kind("pipe-64k-naive", |_| pipes(64 << 10, naive), naive_far),
        kind("pipe-1m", |_| pipes(1 << 20, buffered), buffered_far),
        kind("pipe-1m-naive", |_| pipes(1 << 20, naive), naive_far),
        kind("fifo", fifo_near, fifo_far),
        kind("unix-stream", |_| sockets(SocketType::STREAM, one_socket), one_socket_far),
        kind("unix-seqpacket", |_| sockets(SocketType::SEQPACKET, packets), packets_far),
    ]
}

type Join = fn(OwnedFd, OwnedFd) -> Ends;

/// A pipe each way.
fn pipes(size: usize, join: Join) -> Result<(Near, Far)> {
    let (far_rx, near_tx) = pipe_with(PipeFlags::CLOEXEC)?;
    let (near_rx, far_tx) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&near_tx, size)?;
    fcntl_setpipe_size(&far_tx, size)?;
    Ok((Box::new(move || Ok(join(near_rx, near_tx))), Far::Process(vec![far_rx, far_tx])))
}

fn buffered(rx: OwnedFd, tx: OwnedFd) -> Ends {
    Ends { tx: Box::new(Writer(tx.into())), rx: Box::new(Buffered::new(rx)) }
}

fn buffered_far(_: &Setup, fds: Vec<OwnedFd>) -> Result<Ends> {
    let [rx, tx] = two(fds)?;
    Ok(buffered(rx, tx))
}

fn naive(rx: OwnedFd, tx: OwnedFd) -> Ends {
    Ends {
        tx: Box::new(Writer(tx.into())),
        rx: Box::new(Naive { file: rx.into(), frame: vec![0; 1 << 17] }),
    }
}

fn naive_far(_: &Setup, fds: Vec<OwnedFd>) -> Result<Ends> {
    let [rx, tx] = two(fds)?;
    Ok(naive(rx, tx))
}

fn two(fds: Vec<OwnedFd>) -> Result<[OwnedFd; 2]> {
    fds.try_into().ok().context("two descriptors")
}

const THERE: &str = "there";
const BACK: &str = "back";

/// Two FIFOs by name.
fn fifo_near(setup: &Setup) -> Result<(Near, Far)> {
    for name in [THERE, BACK] {
        nix::unistd::mkfifo(&setup.dir.join(name), nix::sys::stat::Mode::S_IRWXU)?;
    }
    let setup = setup.clone();
    let near = move || {
        // The order in which the far side opens them.
        let tx = OpenOptions::new().write(true).open(setup.dir.join(THERE))?;
        let rx = File::open(setup.dir.join(BACK))?;
        Ok(buffered(rx.into(), tx.into()))
    };
    Ok((Box::new(near), Far::Process(vec![])))
}

fn fifo_far(setup: &Setup, _: Vec<OwnedFd>) -> Result<Ends> {
    let rx = File::open(setup.dir.join(THERE))?;
    let tx = OpenOptions::new().write(true).open(setup.dir.join(BACK))?;
    Ok(buffered(rx.into(), tx.into()))
}

fn sockets(kind: SocketType, join: fn(OwnedFd) -> Result<Ends>) -> Result<(Near, Far)> {
    let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    Ok((Box::new(move || join(near)), Far::Process(vec![far])))
}

fn one(fds: Vec<OwnedFd>) -> Result<OwnedFd> {
    fds.into_iter().next().context("a descriptor")
}

fn one_socket(socket: OwnedFd) -> Result<Ends> {
    Ok(buffered(socket.try_clone()?, socket))
}

fn one_socket_far(_: &Setup, fds: Vec<OwnedFd>) -> Result<Ends> {
    one_socket(one(fds)?)
}

fn packets(socket: OwnedFd) -> Result<Ends> {
    sockopt::set_socket_send_buffer_size(&socket, 1 << 20)?;
    let rx = Packets { frame: vec![0; 1 << 17], socket: socket.try_clone()? };
    Ok(Ends { tx: Box::new(PacketWriter(socket)), rx: Box::new(rx) })
}

fn packets_far(_: &Setup, fds: Vec<OwnedFd>) -> Result<Ends> {
    packets(one(fds)?)
}

struct Writer(File);

impl Sender for Writer {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        for _ in 0..count {
            self.0.write_all(source.next())?;
        }
        Ok(())
    }
}

/// Reads a header, then the rest of the frame.
struct Naive {
    file: File,
    frame: Vec<u8>,
}

impl Receiver for Naive {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        for _ in 0..count {
            let mut header = [0; HEADER];
            self.file.read_exact(&mut header)?;
            let len = length_in(&header);
            if !(HEADER..=self.frame.len()).contains(&len) {
                bail!("a frame of {len} bytes");
            }
            let frame = &mut self.frame[..len];
            frame[..HEADER].copy_from_slice(&header);
            self.file.read_exact(&mut frame[HEADER..])?;
            checker.check(&&*frame)?;
        }
        Ok(())
    }
}

/// Reads as much as there is, then looks for frames in it.
///
/// Reads go to the begin of a page, what was left of the read before lies right
/// before it: some processors copy many times slower (`rep movsb`) to where the
/// target lies a little behind the source modulo 4096, and pipes begin pages.
pub(super) struct Buffered {
    file: File,
    buffer: Vec<u8>,
    page: usize,
    begin: usize,
    end: usize,
}

impl Buffered {
    pub(super) fn new(fd: OwnedFd) -> Buffered {
        let buffer = vec![0; LEFT_OVER + PAGE + READ_AT_ONCE];
        let page = LEFT_OVER + buffer[LEFT_OVER..].as_ptr().align_offset(PAGE);
        Buffered { file: fd.into(), buffer, page, begin: page, end: page }
    }

    fn whole_frame(&self) -> Option<&[u8]> {
        let data = &self.buffer[self.begin..self.end];
        data.get(..length_in(data.first_chunk()?))
    }

    fn fill(&mut self) -> Result<()> {
        let left = self.end - self.begin;
        if left > LEFT_OVER {
            bail!("no whole frame in {left} bytes");
        }
        self.buffer.copy_within(self.begin..self.end, self.page - left);
        self.begin = self.page - left;
        match self.file.read(&mut self.buffer[self.page..])? {
            0 => bail!("end of file"),
            n => self.end = self.page + n,
        }
        Ok(())
    }
}

impl Receiver for Buffered {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        for _ in 0..count {
            let len = loop {
                match self.whole_frame() {
                    Some(frame) => {
                        checker.check(&frame)?;
                        break frame.len();
                    }
                    None => self.fill()?,
                }
            };
            self.begin += len;
        }
        Ok(())
    }
}

struct PacketWriter(OwnedFd);

impl Sender for PacketWriter {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        for _ in 0..count {
            let frame = source.next();
            if send(self.0.as_fd(), frame, SendFlags::empty())? != frame.len() {
                bail!("a packet was cut");
            }
        }
        Ok(())
    }
}

struct Packets {
    socket: OwnedFd,
    frame: Vec<u8>,
}

impl Receiver for Packets {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        for _ in 0..count {
            let (len, _) = recv(&self.socket, &mut self.frame[..], RecvFlags::empty())?;
            checker.check(&&self.frame[..len])?;
        }
        Ok(())
    }
}

//! `tap-copy MTU SERVER CLIENT`: the ceiling of any chain of two functions.
//!
//! Two network namespaces with a TAP each (10.0.0.1 and 10.0.0.2), and one loop
//! that copies frames from TAP to TAP through a buffer: what a link costs when
//! there is no link. Runs the shell command SERVER in the first and CLIENT in
//! the second, and ends with CLIENT.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use edges::tap::{Offloads, Tap};
use frames::MAX_FRAME;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use shell_shim::stack::network::{Interface, Network};
use shell_shim::stack::{namespace, netlink};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mtu, server, client] = &args[..] else { bail!("usage: tap-copy MTU SERVER CLIENT") };
    let mtu = mtu.parse().context("MTU")?;
    let (left, mut server) = function("10.0.0.1/24", mtu, server)?;
    let (right, mut client) = function("10.0.0.2/24", mtu, client)?;
    std::thread::spawn(move || {
        if let Err(error) = copy(&left, &right) {
            say::line!("tap-copy: {error:#}");
        }
    });
    client.wait()?;
    server.kill()?;
    server.wait()?;
    Ok(())
}

fn function(address: &str, mtu: u32, command: &str) -> Result<(Tap, Child)> {
    namespace::enter()?;
    let tap = Tap::create("eth")?;
    tap.set_offload(Offloads { csum: true, tso4: true, tso6: true })?;
    let interface =
        Interface { name: "eth".into(), mtu, addresses: vec![address.parse()?], mac: None };
    netlink::configure(&Network { interfaces: vec![interface], ..Network::default() })?;
    let child = Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).spawn()?;
    Ok((tap, child))
}

fn copy(left: &Tap, right: &Tap) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for tap in [left, right] {
        epoll.add(tap.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
    }
    let mut left = std::fs::File::from(left.as_fd().try_clone_to_owned()?);
    let mut right = std::fs::File::from(right.as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; MAX_FRAME];
    loop {
        let to_right = move_some(&mut left, &mut right, &mut buffer)?;
        let to_left = move_some(&mut right, &mut left, &mut buffer)?;
        if !to_right && !to_left {
            epoll.wait(&mut [EpollEvent::empty(); 2], EpollTimeout::NONE)?;
        }
    }
}

fn move_some(from: &mut impl Read, to: &mut impl Write, buffer: &mut [u8]) -> Result<bool> {
    for turn in 0..64 {
        match from.read(buffer) {
            Ok(len) => to.write_all(&buffer[..len])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(turn > 0),
            Err(error) => return Err(error).context("read"),
        }
    }
    Ok(true)
}

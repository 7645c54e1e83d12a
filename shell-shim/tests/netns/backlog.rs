//! What the kernel still holds when a program has ended.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Result, ensure};
use shell_shim::stack::backlog::{Backlog, Left};
use shell_shim::stack::namespace::enter;
use shell_shim::stack::netlink;
use shell_shim::stack::network::Network;

use super::network::{interface, tap};
use super::{lacking, readable};

const WATCHDOG: Duration = Duration::from_secs(20);

pub fn connections_outlive_programs() -> Result<()> {
    enter().map_err(lacking("namespaces"))?;
    netlink::configure(&Network::default())?;
    let mut backlog = Backlog::new()?;
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address)?;
        let mut program = TcpStream::connect(listener.local_addr()?)?;
        let (mut peer, _) = listener.accept()?;
        drop(listener);
        program.set_nonblocking(true)?;
        let mut written = 0;
        loop {
            match program.write(&[1; 1 << 16]) {
                Ok(n) => written += n as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        ensure!(backlog.look(&[])?.is_none(), "a program that lives is waited for");
        let from = program.local_addr()?.ip();
        drop(program);
        ensure!(backlog.unread(&[])? == 0, "somebody else's bytes count");
        let left = backlog.look(&[])?;
        let unread = backlog.unread(&[from])?;
        ensure!(left.connections == 1 && left.bytes > 0, "{left:?}");
        // What has arrived may not be acknowledged yet.
        ensure!(left.bytes + unread >= written, "{left:?}, {unread} unread of {written} bytes");
        ensure!(backlog.look(&[from])?.is_none(), "what is cut off is waited for");
        ensure!(!readable(backlog.as_fd(), Duration::ZERO)?, "news of nothing");
        let mut read = Vec::new();
        peer.read_to_end(&mut read)?;
        ensure!(read.len() as u64 == written, "{} of {written} bytes", read.len());
        ensure!(readable(backlog.as_fd(), WATCHDOG)?, "nobody says that the connection is gone");
        let left = backlog.look(&[])?;
        ensure!(left.is_none() && backlog.unread(&[from])? == 0, "{left:?}");
    }
    Ok(())
}

pub fn datagrams_wait_for_addresses() -> Result<()> {
    enter().map_err(lacking("namespaces"))?;
    let left = tap("left")?;
    netlink::configure(&Network {
        interfaces: vec![interface("left", &["10.0.0.1/24"])],
        ..Network::default()
    })?;
    let mut backlog = Backlog::new()?;
    let program = UdpSocket::bind("10.0.0.1:0")?;
    program.send_to(b"late", "10.0.0.2:9")?;
    drop(program);
    let waiting = Left { unresolved: 1, ..Left::default() };
    ensure!(backlog.look(&[])? == waiting, "{:?}", backlog.look(&[])?);
    // Asks for the hardware address until it gives up, and says that it did.
    ensure!(readable(backlog.as_fd(), WATCHDOG)?, "no news of the next hop");
    while !backlog.look(&[])?.is_none() {
        ensure!(readable(backlog.as_fd(), WATCHDOG)?, "no news of the next hop");
    }
    drop(left);
    Ok(())
}

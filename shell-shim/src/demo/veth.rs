//! `stdpkt demo-veth`, hidden: the same measurement over a veth pair.
//!
//! The outer process enters namespaces as a function does and starts itself
//! again; the inner one takes a further network namespace. The outer one puts
//! one end of the pair there and serves; the inner one measures. The socket
//! that is the inner one's standard input carries one byte each way: "my
//! namespace is there", "your end is there". Namespaces and pair vanish with
//! the processes, and the inner one dies with the outer one.

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use ipnet::IpNet;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::measure::{CLIENT, PREFIX, SERVER};
use crate::perf::{self, ClientArgs, PerfCommand, Server, ServerArgs};
use crate::stack::network::{DEFAULT_MTU, Interface, Network};
use crate::stack::{namespace, netlink};

/// `stdpkt demo-veth`.
#[derive(Debug, Args)]
pub struct VethArgs {
    /// What the inner process measures.
    #[command(flatten)]
    pub client: ClientArgs,

    /// Be the inner process
    #[arg(long)]
    pub inner: bool,
}

/// Measures over a veth pair; returns the exit status.
///
/// # Errors
/// One line, where there can be no such pair or it cannot be measured.
pub fn run(args: VethArgs) -> Result<u8> {
    if args.inner { inner(args.client) } else { outer() }
}

fn outer() -> Result<u8> {
    let exe = env::current_exe().context("path of this program")?;
    namespace::enter()?;
    // Not before: entering a user namespace takes it back.
    set_pdeathsig(Signal::SIGKILL).context("death signal")?;
    let (mut socket, theirs) = UnixStream::pair().context("socket")?;
    let mut child = Command::new(exe)
        .args(env::args_os().skip(1))
        .arg("--inner")
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .context("a second process")?;
    // Where this fails, the inner one says why, or sees the end of the socket.
    let ready = socket.read_exact(&mut [0]).map_err(|_| anyhow!("the inner process ended"));
    let made = ready.and_then(|()| {
        let there = File::open(format!("/proc/{}/ns/net", child.id())).context("/proc")?;
        netlink::add_veth("right", "left", there.as_fd())?;
        netlink::configure(&network("right", SERVER)?)?;
        let server = Server::bind(&ServerArgs { once: true, ..ServerArgs::default() })?;
        socket.write_all(b"1").context("socket")?;
        Ok(server)
    });
    let server = match made {
        Ok(server) => server,
        Err(error) => {
            // Before the socket closes: the error is told here, and once.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
    };
    // It ends with this process where no client comes.
    thread::spawn(move || {
        if let Err(error) = server.serve() {
            say::error!("{error:#}");
        }
    });
    let status = child.wait().context("wait")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(crate::FAILED))
}

fn inner(client: ClientArgs) -> Result<u8> {
    set_pdeathsig(Signal::SIGKILL).context("death signal")?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().context("socket")?;
    let mut socket = UnixStream::from(stdin);
    namespace::enter().context("a second namespace")?;
    socket.write_all(b"1").context("socket")?;
    socket.read_exact(&mut [0]).context("the outer process ended")?;
    netlink::configure(&network("left", CLIENT)?)?;
    perf::run(PerfCommand::Client(client))?;
    Ok(0)
}

/// An end of the pair, as an interface of a function would be.
fn network(name: &str, ip: &str) -> Result<Network> {
    let address = IpNet::new(ip.parse()?, PREFIX)?;
    let name = name.to_owned();
    let interface = Interface { name, mtu: DEFAULT_MTU, addresses: vec![address], mac: None };
    Ok(Network { interfaces: vec![interface], ..Network::default() })
}

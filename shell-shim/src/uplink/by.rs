//! The programs that route, and how each is told.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use cable::Edge;
use clap::ValueEnum;
use edges::codec::Coding;
use edges::messages::MessageEdge;
use edges::program::Program;
use edges::stream::StreamEdge;
use edges::unix::{Socket, meet, twice};
use frames::{Framing, mac_of};
use rustix::fs::{OFlags, inotify};
use rustix::net::SocketType;

use super::{START, UplinkArgs};
use crate::stack::keeper::search::{find, user_path};

/// A program that routes.
pub struct Uplink {
    /// The program.
    pub program: Program,
    /// Its frames.
    pub edge: Box<dyn Edge>,
    /// Where its sockets are, as long as it lives.
    pub sockets: Option<Scratch>,
}

/// Which program routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// passt(1)
    Passt,
    /// slirp4netns(1)
    Slirp4netns,
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            By::Passt => "passt",
            By::Slirp4netns => "slirp4netns",
        })
    }
}

impl By {
    /// In the order of preference.
    pub const ALL: [By; 2] = [By::Passt, By::Slirp4netns];

    /// Whether it is installed.
    pub fn is_there(self) -> bool {
        find(self.to_string(), &user_path()).is_ok()
    }

    /// Starts it; it is ready when this returns.
    ///
    /// # Errors
    /// One line: what it said instead.
    pub fn start(self, args: &UplinkArgs) -> Result<Uplink> {
        match self {
            By::Passt => passt(args),
            By::Slirp4netns => slirp4netns(args),
        }
    }
}

/// Frames go over its standard input, a socket (`-F 0`).
fn passt(args: &UplinkArgs) -> Result<Uplink> {
    let (mut ours, theirs) = UnixStream::pair().context("socketpair")?;
    // For whom it has connections it must have seen a frame of: a function that only
    // listens has sent none.
    ours.write_all(&announcement()).context("passt")?;
    let mut command = Command::new("passt");
    command.args(["-f", "-1", "-q", "-F", "0", "-m", &args.mtu.to_string()]);
    command.args(["-a", "10.0.2.15", "-n", "255.255.255.0", "-g", "10.0.2.2"]);
    command.args(["-D", "10.0.2.3", "--dns-forward", "10.0.2.3"]);
    if !args.host_loopback {
        command.arg("--no-map-gw");
    }
    for (host, guest) in &args.tcp {
        command.arg("-t").arg(format!("{host}:{guest}"));
    }
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
    let program = Program::spawn(command)?.map_err(|error| anyhow!("passt: {error}"))?;
    let (input, output) = twice(ours.into())?;
    let coding = Coding::Framed(Framing::Qemu);
    let edge = Box::new(StreamEdge::of_program("passt", coding, input, output)?);
    Ok(Uplink { program, edge, sockets: None })
}

/// Who has 10.0.2.15, as stdpkt functions name their interfaces: an ARP announcement
/// (RFC 5227, section 3) with its length before it. Another address is learnt from the
/// first frame.
fn announcement() -> Vec<u8> {
    let address = Ipv4Addr::new(10, 0, 2, 15);
    let mac = mac_of(address.into());
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    let mut bytes = Framing::Qemu.prefix_of(frame.len()).to_vec();
    bytes.extend(frame);
    bytes
}

/// It listens at a socket, says so on standard error, and takes ports by another socket.
fn slirp4netns(args: &UplinkArgs) -> Result<Uplink> {
    let dir = Scratch::new()?;
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .context("inotify")?;
    inotify::add_watch(&changes, &dir.0, inotify::WatchFlags::CREATE).context("inotify")?;
    let (frames, api) = (dir.0.join("frames"), dir.0.join("api"));
    let (mut said, theirs) = std::io::pipe().context("pipe")?;
    // Nobody reads what it says later: then it goes without that.
    rustix::fs::fcntl_setfl(&theirs, OFlags::NONBLOCK).context("fcntl")?;
    let mut command = Command::new("slirp4netns");
    command.args(["--target-type=bess", "--cidr=10.0.2.0/24"]);
    command.arg(format!("--mtu={}", args.mtu));
    if !args.tcp.is_empty() {
        command.arg("--api-socket").arg(&api);
    }
    if !args.host_loopback {
        command.arg("--disable-host-loopback");
    }
    command.arg(&frames).stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs);
    let program = Program::spawn(command)?.map_err(|error| anyhow!("slirp4netns: {error}"))?;
    let mut line = vec![0; 4096];
    let came = edges::program::is_readable(&said, START)?;
    let len = if came { said.read(&mut line)? } else { 0 };
    let line = String::from_utf8_lossy(&line[..len]);
    if !line.contains("Waiting for connection") {
        bail!("slirp4netns did not start: {}: see slirp4netns(1), or take --by passt", line.trim());
    }
    std::mem::forget(said); // as long as both live
    let Socket::Connected(socket) = meet(&frames, SocketType::SEQPACKET)? else {
        bail!("slirp4netns is ready and does not listen: take --by passt");
    };
    while !args.tcp.is_empty() && UnixStream::connect(&api).is_err() {
        let mut news = [0; 4096];
        if !edges::program::is_readable(&changes, START)? {
            bail!("slirp4netns takes no ports: take --by passt");
        }
        let _ = rustix::io::read(&changes, &mut news);
    }
    for (host, guest) in &args.tcp {
        let request = format!(
            r#"{{"execute":"add_hostfwd","arguments":{{"proto":"tcp","host_addr":"0.0.0.0","host_port":{host},"guest_addr":"10.0.2.15","guest_port":{guest}}}}}"#
        );
        let answer = ask(&api, &request).with_context(|| format!("slirp4netns: port {host}"))?;
        if answer.contains("error") {
            bail!("slirp4netns: port {host}: {}: choose another port", answer.trim());
        }
    }
    let edge = Box::new(MessageEdge::new("slirp4netns", socket, None)?);
    Ok(Uplink { program, edge, sockets: Some(dir) })
}

fn ask(api: &Path, request: &str) -> Result<String> {
    let mut socket = UnixStream::connect(api)?;
    socket.write_all(request.as_bytes())?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A directory of our own.
pub struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Result<Scratch> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("stdpkt-uplink-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("{}: remove it", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

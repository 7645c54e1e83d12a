//! The programs that route, and how each is told.

use std::io::{PipeReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use cable::Edge;
use clap::ValueEnum;
use edges::codec::Coding;
use edges::flow::Flow;
use edges::messages::MessageEdge;
use edges::program::{Program, is_readable};
use edges::stream::StreamEdge;
use edges::unix::{Socket, meet, twice};
use frames::{Framing, mac_of};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{SndBuf, SndBufForce};
use rustix::fs::OFlags;
use rustix::net::{RecvFlags, SocketType, recv};

use super::{START, UplinkArgs};
use crate::stack::keeper::search::{find, user_path};

/// A program that routes.
pub struct Uplink {
    /// The program.
    pub program: Program,
    /// What it says to people.
    pub said: Said,
    /// What goes through it.
    pub flow: Rc<Flow>,
    /// Its frames.
    pub edge: Box<dyn Edge>,
}

/// The standard error of a program that routes.
pub struct Said(PipeReader);

impl Said {
    /// All of it since the last time.
    pub fn so_far(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes); // or until there is no more
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

const PORTS: &str = "it is in use or may not be had: choose another port, above 1023";

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

/// What either says that is no reason to end.
const CHATTER: [&str; 8] = [
    "syslog",
    "Don't run as root",
    "IPv6",
    "BESS mode is experimental",
    "child failed",
    "Waiting for connection",
    "received tapfd",
    "sent \"tapfd\"",
];

impl By {
    /// In the order of preference.
    pub const ALL: [By; 2] = [By::Passt, By::Slirp4netns];

    /// Whether it is installed.
    pub fn is_there(self) -> bool {
        find(self.to_string(), &user_path()).is_ok()
    }

    /// Why it has ended, in a line, of all that it has said.
    pub fn failed(self, said: &str) -> String {
        let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
        let last = lines().rfind(|line| !CHATTER.iter().any(|chatter| line.contains(chatter)));
        let way_out = match last.unwrap_or_default() {
            line if line.contains("bind") || line.contains("Overlapping") => PORTS.to_owned(),
            line if line.contains("xternal") => {
                "it wants a default route (ip route): give the host one, or take --by slirp4netns"
                    .to_owned()
            }
            _ => self.way_out(),
        };
        format!("{self} ended: {}: {way_out}", last.unwrap_or("it did not say why"))
    }

    /// The same of one that ended with this status: 128 and its signal, as in a shell.
    pub fn ended(self, status: u8, said: &str) -> String {
        match status.checked_sub(128) {
            Some(signal @ 1..) => {
                format!("{self} was ended by signal {signal}: start the uplink anew")
            }
            _ => self.failed(said),
        }
    }

    /// Why it is not waited for any longer.
    fn hangs(self) -> String {
        format!("{self} is not ready after {} s: {}", START.as_secs(), self.way_out())
    }

    fn way_out(self) -> String {
        format!("see {self}(1), or choose the other program by --by")
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

/// Bytes of a socket, if it may have so many: more than a TCP window has.
const SOCKET: usize = 16 << 20;

/// Makes room for what is sent from here. One of the default size holds a few frames of 64 KiB.
fn enlarge(socket: impl AsFd) {
    if setsockopt(&socket, SndBufForce, &SOCKET).is_err() {
        let _ = setsockopt(&socket, SndBuf, &SOCKET); // up to net.core.wmem_max
    }
}

/// Frames go over its standard input, a socket (`-F 0`).
fn passt(args: &UplinkArgs) -> Result<Uplink> {
    let (mut ours, theirs) = UnixStream::pair().context("socketpair")?;
    // What finds it full passt drops, and it is slow to send that again.
    enlarge(&theirs);
    enlarge(&ours);
    // Its answer says that it is ready. And for whom it has connections it must have seen
    // a frame of: a function that only listens sends none.
    ours.write_all(&question()).context("passt")?;
    let mut command = Command::new("passt");
    command.args(["-f", "-1", "-q", "-F", "0", "-m", &args.mtu.to_string()]);
    command.args(["-a", "10.0.2.15", "-n", "255.255.255.0", "-g", "10.0.2.2"]);
    // To the host's own; not with -D, which keeps passt from reading which that is.
    command.args(["--dns-forward", "10.0.2.3"]);
    if !args.host_loopback {
        command.arg("--no-map-gw");
    }
    for (host, guest) in &args.tcp {
        command.arg("-t").arg(format!("{host}:{guest}"));
    }
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
    let (program, mut said) = spawn(By::Passt, command)?;
    // At its end the socket comes to its own.
    let answered = || recv(&ours, &mut [0; 1], RecvFlags::PEEK).is_ok_and(|(_, len)| len > 0);
    if !is_readable(&ours, START)? {
        bail!(By::Passt.hangs());
    }
    if !answered() {
        bail!(By::Passt.failed(&said.so_far()));
    }
    let (input, output) = twice(ours.into())?;
    let coding = Coding::Framed(Framing::Qemu);
    let flow = Rc::new(Flow::default());
    let [from, to] = [(input, flow.clone()), (output, flow.clone())];
    let edge = Box::new(StreamEdge::of_programs("passt", coding, from, to)?);
    Ok(Uplink { program, said, flow, edge })
}

/// Starts a program that routes. What it says to people is kept from them.
fn spawn(by: By, mut command: Command) -> Result<(Program, Said)> {
    let (said, theirs) = std::io::pipe().context("pipe")?;
    // Nobody reads it before the end: what is too much is lost, and nobody waits.
    for end in [said.as_fd(), theirs.as_fd()] {
        rustix::fs::fcntl_setfl(end, OFlags::NONBLOCK).context("fcntl")?;
    }
    command.stderr(theirs);
    let program = Program::spawn_bound(command)?.map_err(|error| anyhow!("{by}: {error}"))?;
    Ok((program, Said(said)))
}

/// Who has 10.0.2.2? asks 10.0.2.15, by the Ethernet address that stdpkt functions give
/// it: an ARP request (RFC 826) with its length before it. Another address is learnt
/// from the first frame.
fn question() -> Vec<u8> {
    let [here, gateway] = [Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(10, 0, 2, 2)];
    let mac = mac_of(here.into());
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(here.octets());
    frame.extend([0; 6]);
    frame.extend(gateway.octets());
    let mut bytes = Framing::Qemu.prefix_of(frame.len()).to_vec();
    bytes.extend(frame);
    bytes
}

/// It listens at a socket, says so on standard error, and takes ports by another socket.
fn slirp4netns(args: &UplinkArgs) -> Result<Uplink> {
    let dir = Scratch::new()?;
    let (frames, api) = (dir.0.join("frames"), dir.0.join("api"));
    let mut command = Command::new("slirp4netns");
    command.args(["--target-type=bess", "--cidr=10.0.2.0/24"]);
    command.arg(format!("--mtu={}", args.mtu));
    if !args.tcp.is_empty() {
        command.arg("--api-socket").arg(&api);
    }
    if !args.host_loopback {
        command.arg("--disable-host-loopback");
    }
    command.arg(&frames).stdin(Stdio::null()).stdout(Stdio::null());
    let (program, mut said) = spawn(By::Slirp4netns, command)?;
    let mut lines = String::new();
    while !lines.contains("Waiting for connection") {
        if !is_readable(&said.0, START)? {
            bail!(By::Slirp4netns.hangs());
        }
        let more = said.so_far();
        if more.is_empty() {
            bail!(By::Slirp4netns.failed(&lines));
        }
        lines += &more;
    }
    let Socket::Connected(socket) = meet(&frames, SocketType::SEQPACKET)? else {
        bail!("slirp4netns is ready and does not listen: take --by passt");
    };
    enlarge(&socket);
    for (host, guest) in &args.tcp {
        let request = format!(
            r#"{{"execute":"add_hostfwd","arguments":{{"proto":"tcp","host_addr":"0.0.0.0","host_port":{host},"guest_addr":"10.0.2.15","guest_port":{guest}}}}}"#
        );
        let answer = ask(&api, &request).with_context(|| format!("slirp4netns: port {host}"))?;
        if answer.contains("error") {
            bail!("slirp4netns: port {host}: {PORTS}");
        }
    }
    let edge = Box::new(MessageEdge::new("slirp4netns", socket, None)?);
    Ok(Uplink { program, said, flow: Rc::default(), edge })
}

fn ask(api: &Path, request: &str) -> Result<String> {
    // It may be there and not listening yet, of which nothing tells.
    let start = Instant::now();
    let mut socket = loop {
        match UnixStream::connect(api) {
            Ok(socket) => break socket,
            Err(_) if start.elapsed() < START => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error.into()),
        }
    };
    socket.write_all(request.as_bytes())?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A directory of our own, for sockets that nobody looks for once they are connected.
struct Scratch(std::path::PathBuf);

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

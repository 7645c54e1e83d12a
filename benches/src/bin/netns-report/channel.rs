//! Two network stacks and what lies between them.

use std::fmt;
use std::fs::DirBuilder;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shell_shim::stack::namespace;
use stdpkt_benches::harness::pin_to;
use stdpkt_benches::netperf::{SERVER, Test, UNPACE};
use stdpkt_benches::programs::is_program;

/// What joins the two stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Channel {
    /// `stdpkt run --channel shm`
    Shm,
    /// `stdpkt run --channel fifo`
    Fifo,
    /// A loop that copies from TAP to TAP: no link at all
    TapCopy,
    /// Two ends of one kernel device
    Veth,
    /// `vdens ptp://`
    Vdens,
}

pub const ALL: [Channel; 5] =
    [Channel::Shm, Channel::Fifo, Channel::TapCopy, Channel::Veth, Channel::Vdens];

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("?", |value| value.get_name()))
    }
}

impl Channel {
    /// Why it cannot be measured here.
    pub fn unavailable(self, mtu: u32, pin: bool) -> Option<&'static str> {
        match self {
            Channel::TapCopy | Channel::Veth | Channel::Vdens if pin => {
                Some("only functions are pinned")
            }
            Channel::Vdens if mtu > 1500 => Some("a VDE network has no larger packets"),
            Channel::Vdens if !is_program("vdens") => Some("vdens is not installed"),
            Channel::Veth if !is_program("ip") => Some("ip is not installed"),
            _ => None,
        }
    }
}

/// Longest a measurement may take beyond its own time.
const LIMIT: u32 = 20;
/// Where the programs and their scratch files are.
pub struct Bench {
    runtime_dir: PathBuf,
    scratch: PathBuf,
    /// Holds this program and its neighbours `stdpkt` and `tap-copy`.
    programs: PathBuf,
    /// Whether each function has a core of its own.
    pin: bool,
}

impl Bench {
    /// # Errors
    /// Those of making a directory; netperf or stdpkt that are not there.
    pub fn new(scratch: &Path, pin: bool) -> Result<Bench> {
        for program in ["netperf", "netserver"] {
            if !is_program(program) {
                bail!("{program} is not installed");
            }
        }
        let runtime_dir = scratch.join("run");
        DirBuilder::new().mode(0o700).create(&runtime_dir)?;
        let this = std::env::current_exe()?;
        let programs = this.parent().context("this program lies nowhere")?.to_owned();
        if !programs.join("stdpkt").exists() {
            bail!("{} is not built", programs.join("stdpkt").display());
        }
        Ok(Bench { runtime_dir, scratch: scratch.to_owned(), programs, pin })
    }

    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// A command that ends by itself after `limit` seconds, with all it started.
    fn limited(&self, limit: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "1", &limit.to_string()]).arg(program);
        command.env("SHMRING_RUNTIME_DIR", &self.runtime_dir);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// What is started from now on runs on this core, if functions are pinned.
    fn pin_next(&self, core: usize) -> Result<()> {
        if self.pin { pin_to(core) } else { Ok(()) }
    }

    /// `stdpkt run` with the given arguments.
    pub fn stdpkt(&self, limit: u32, arguments: &str) -> Command {
        let mut command = self.limited(limit, self.programs.join("stdpkt"));
        command.arg("run").args(arguments.split(' '));
        command
    }

    /// Runs one test over one channel; the figure is netperf's.
    ///
    /// # Errors
    /// Programs that do not start, and an answer without a figure.
    pub fn run(&self, channel: Channel, mtu: u32, test: Test, seconds: u32) -> Result<f64> {
        let client = test.client("10.0.0.1", seconds);
        let limit = seconds + LIMIT;
        let answer = match channel {
            Channel::Shm | Channel::Fifo => {
                let common = format!("--mtu {mtu} --channel {channel}");
                let (read, write) = std::io::pipe()?;
                let mut left = self.stdpkt(limit, &format!("{common} --right 10.0.0.1/24"));
                left.args(["--", "sh", "-c", SERVER]).stdout(write);
                self.pin_next(0)?;
                let server = Server(left.spawn().context("stdpkt")?);
                drop(left); // its copy of the pipe's end
                let mut right = self.stdpkt(limit, &format!("{common} --left 10.0.0.2/24"));
                right.args(["--", "sh", "-c", &client]).stdin(read);
                self.pin_next(1)?;
                let answer = output(right)?;
                drop(server);
                answer
            }
            Channel::TapCopy => {
                let mut command = self.limited(limit, self.programs.join("tap-copy"));
                command.args([&mtu.to_string(), SERVER, &client]);
                output(command)?
            }
            Channel::Veth => {
                let mut command = self.limited(limit, std::env::current_exe()?);
                command.args(["--part", "veth", &mtu.to_string(), SERVER, &client]);
                output(command)?
            }
            Channel::Vdens => {
                let network = format!("ptp://{}", self.scratch.join("vde").display());
                let vdens = |address: &str, script: &str| {
                    let script = format!("{UNPACE}{}{script}", configure("vde0", address, mtu));
                    let mut command = self.limited(limit, "vdens");
                    command.args([&network, "sh", "-c", &script]);
                    command
                };
                let mut server = vdens("10.0.0.1", SERVER);
                let server = Server(server.stdout(Stdio::null()).spawn().context("vdens")?);
                let answer = output(vdens("10.0.0.2", &client))?;
                drop(server);
                answer
            }
        };
        test.figure(&answer).with_context(|| format!("netperf answered {:?}", answer.trim()))
    }
}

/// Ends with the measurement.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // timeout(1) passes it on to all that it started.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn output(mut command: Command) -> Result<String> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("the client")?;
    drop(command); // its copies of pipe ends
    let mut answer = String::new();
    child.stdout.take().context("no output")?.read_to_string(&mut answer)?;
    child.wait()?;
    Ok(answer)
}

fn configure(interface: &str, address: &str, mtu: u32) -> String {
    format!(
        "ip link set lo up; ip addr add {address}/24 dev {interface}; \
         ip link set {interface} mtu {mtu} up; "
    )
}

/// Two network namespaces joined by a veth pair; ends with the client.
///
/// # Errors
/// Those of making namespaces and of starting programs.
pub fn veth(mtu: &str, server: &str, client: &str) -> Result<()> {
    let mtu = mtu.parse().context("MTU")?;
    let shell = |script: String| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    };
    namespace::enter()?;
    // Waits in this namespace for its end of the pair.
    let script = format!("read go; {}{server}", configure("right", "10.0.0.1", mtu));
    let mut server = shell(script).stdin(Stdio::piped()).spawn()?;
    namespace::enter()?;
    let pair = format!("ip link add left type veth peer name right netns {}; ", server.id());
    let made = shell(format!("{pair}{}", configure("left", "10.0.0.2", mtu))).status()?;
    server.stdin.take().context("no pipe")?.write_all(b"\n")?;
    if made.success() {
        shell(client.to_owned()).status()?;
    }
    server.kill()?;
    server.wait()?;
    Ok(())
}

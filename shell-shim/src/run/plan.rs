//! From the command line to what has to be set up. Everything that can be
//! refused is refused here, before anything is made.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use ipnet::IpNet;
use shmring::{Channel, LinkError, Offer, PipeEnd, Role};

use super::args::{ChannelArg, RunArgs, StackArg};
use super::link_spec::{At, EndSpec, LinkSpec};
use crate::stack::network::{Interface, Network};
use crate::succession::heir;
use cable::{CablePlan, Edge, Fallback, Outlet};
use edges::spec::{EdgeSpec, Place};
use frames::{FEATURES, MAX_FRAME, mac_of};

/// `MAXNS`, of resolv.conf(5).
const NAME_SERVERS: usize = 3;

/// A function to set up.
pub struct Plan {
    /// Interfaces, addresses and routes.
    pub network: Network,
    /// What each interface is joined to, in the order of `network.interfaces`.
    pub plugs: Vec<Plug>,
    /// Whether standard input and output are cables, and not CMD's.
    pub owns: Owned,
}

/// What an interface is joined to.
pub enum Plug {
    /// Pipes.
    Cables(Vec<CablePlan>),
    /// An edge in the place of a neighbour, and its name for people.
    Edge(String, Box<dyn Edge>),
}

impl Plug {
    /// The pipes.
    pub fn cables(&self) -> &[CablePlan] {
        match self {
            Plug::Cables(cables) => cables,
            Plug::Edge(..) => &[],
        }
    }

    /// As [`Plug::cables`].
    pub fn into_cables(self) -> Vec<CablePlan> {
        match self {
            Plug::Cables(cables) => cables,
            Plug::Edge(..) => Vec::new(),
        }
    }
}

/// What the cables of a function have in common.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How frames cross them.
    pub channel: ChannelArg,
    /// Bytes of ring each way.
    pub ring: usize,
}

impl Terms {
    /// Those of a command line.
    pub fn of(args: &RunArgs) -> Terms {
        Terms { channel: args.channel, ring: args.ring() }
    }

    /// A cable of the interface `name`. `vital`: whether it is a `|`, with which the
    /// function ends.
    pub fn cable(self, name: &str, end: Outlet, duplex: bool, vital: bool) -> CablePlan {
        let channel = match self.channel {
            ChannelArg::Shm => Channel::Shm,
            ChannelArg::Fifo => Channel::Fifo,
            // On a FIFO neighbours come and go, and a veth pair goes with one of them.
            ChannelArg::Veth if vital && duplex && !heir::takes_over() => Channel::Aside,
            ChannelArg::Veth => Channel::Shm,
        };
        CablePlan {
            end,
            offer: Offer {
                label: name.to_owned(),
                duplex,
                channel,
                capacity: self.ring,
                max_frame: MAX_FRAME,
                features: FEATURES,
            },
            vital,
            expects_both_ways: duplex,
            // A FIFO by path waits for whom it is meant for; who reads a `|` may be anybody.
            fallback: if vital { Fallback::IfUnaware } else { Fallback::Never },
        }
    }
}

/// Which of the standard descriptors are links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owned {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
}

/// Checks the arguments against each other and against the descriptors.
///
/// # Errors
/// One line that names the option, descriptor or file and the way out.
pub fn plan(args: &RunArgs) -> Result<Plan> {
    let mut builder = Builder { args, interfaces: vec![], plugs: vec![], owns: Owned::default() };
    builder.end("left", &args.left, Role::Reader).context("--left")?;
    builder.end("right", &args.right, Role::Writer).context("--right")?;
    for link in &args.link {
        let plug = builder.link(link).with_context(|| format!("--link {}", link.name))?;
        builder.add(&link.name, link.ip.clone(), plug)?;
    }
    let Builder { interfaces, plugs, owns, .. } = builder;
    if interfaces.is_empty() {
        bail!("a function needs an interface: give --left, --right or --link");
    }
    if args.dns.len() > NAME_SERVERS {
        bail!("--dns: a resolver asks {NAME_SERVERS} name servers at most: leave one out");
    }
    let network = Network {
        interfaces,
        routes: args.route.clone(),
        gateways: args.gateway.clone(),
        bridge: args.bridge,
    };
    network.check()?;
    check_distinct(network.interfaces.iter().map(|i| i.name.as_str()).zip(&plugs))?;
    Ok(Plan { network, plugs, owns })
}

/// A function joined to itself would wait for a neighbour for ever, or talk to itself.
fn check_distinct<'a>(interfaces: impl Iterator<Item = (&'a str, &'a Plug)>) -> Result<()> {
    let mut seen = std::collections::HashMap::new();
    for (name, cable) in
        interfaces.flat_map(|(name, plug)| plug.cables().iter().map(move |c| (name, c)))
    {
        // A socket may well be both standard input and output.
        if let Some(end) = cable.end.pipe().filter(|end| !end.is_socket())
            && let Some(other) = seen.insert(end.id(), name)
        {
            let what = end.what();
            bail!(
                "{what} joins this function to itself ({other} and {name}): give each direction and each interface a FIFO of its own, or one at=FIFO for both directions"
            );
        }
    }
    Ok(())
}

struct Builder<'a> {
    args: &'a RunArgs,
    interfaces: Vec<Interface>,
    plugs: Vec<Plug>,
    owns: Owned,
}

impl Builder<'_> {
    /// `left` or `right`, on a standard descriptor unless an edge is there.
    fn end(&mut self, as_called: &str, specs: &[EndSpec], role: Role) -> Result<()> {
        let mut edges = specs.iter().filter_map(|spec| spec.at.as_ref());
        let plug = match (specs, edges.next(), edges.next()) {
            ([], ..) => return Ok(()),
            (_, None, _) => {
                let end = self.standard(role)?;
                Plug::Cables(vec![self.cable(as_called, end, true, true)])
            }
            (_, Some(edge), None) => self.edge(edge)?,
            (_, Some(_), Some(_)) => bail!("an interface is joined to one edge: give at= once"),
        };
        let mut names = specs.iter().filter_map(|spec| spec.dev.as_deref());
        let (name, other) = (names.next().unwrap_or(as_called), names.next());
        if other.is_some() {
            bail!("an interface has one name: give dev= once");
        }
        if self.args.stack == StackArg::Lkl && name != as_called {
            bail!("dev={name}: LKL's interfaces are eth0, eth1, ...: leave it out");
        }
        self.add(name, specs.iter().filter_map(|spec| spec.ip).collect(), plug)
    }

    fn add(&mut self, name: &str, addresses: Vec<IpNet>, plug: Plug) -> Result<()> {
        if self.interfaces.iter().any(|other| other.name == name) {
            bail!("two interfaces are called {name}: give the --link another name");
        }
        self.plugs.push(plug);
        self.interfaces.push(interface(name, self.args.mtu, addresses));
        Ok(())
    }

    fn cable(&self, name: &str, end: Outlet, duplex: bool, vital: bool) -> CablePlan {
        Terms::of(self.args).cable(name, end, duplex, vital)
    }

    fn edge(&mut self, spec: &EdgeSpec) -> Result<Plug> {
        if self.args.stack == StackArg::Lkl {
            bail!("{spec}: with --stack lkl put `stdpkt join {spec}` behind a `|` instead");
        }
        if spec.place == Place::Stdio {
            self.take(Role::Reader)?;
            self.take(Role::Writer)?;
        }
        Ok(Plug::Edge(spec.to_string(), spec.open()?))
    }

    fn link(&mut self, link: &LinkSpec) -> Result<Plug> {
        let name = &link.name;
        Ok(match &link.at {
            At::Edge(spec) => self.edge(spec)?,
            At::Both(path) => {
                let (end, vital) = self.at(path, Role::Either)?;
                Plug::Cables(vec![self.cable(name, end, true, vital)])
            }
            At::Each { rx, tx } => {
                let (rx, rx_vital) = self.at(rx, Role::Reader)?;
                let (tx, tx_vital) = self.at(tx, Role::Writer)?;
                let (rx, tx) =
                    (self.cable(name, rx, false, rx_vital), self.cable(name, tx, false, tx_vital));
                Plug::Cables(vec![rx, tx])
            }
        })
    }

    /// A FIFO by path; `/dev/stdin` and `/dev/stdout` are the descriptors
    /// themselves, since a socket cannot be opened by path.
    fn at(&mut self, path: &Path, role: Role) -> Result<(Outlet, bool)> {
        match path.to_str() {
            Some("/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0") => {
                Ok((self.standard(Role::Reader)?, true))
            }
            Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => {
                Ok((self.standard(Role::Writer)?, true))
            }
            _ => Ok((open(path, role)?.into(), false)),
        }
    }

    /// Notes that a standard descriptor is in use.
    fn take(&mut self, role: Role) -> Result<()> {
        let (what, taken) = match role {
            Role::Reader => ("standard input", &mut self.owns.stdin),
            _ => ("standard output", &mut self.owns.stdout),
        };
        if std::mem::replace(taken, true) {
            bail!("{what} is joined to another interface already");
        }
        Ok(())
    }

    fn standard(&mut self, role: Role) -> Result<Outlet> {
        self.take(role)?;
        let outlet = if role == Role::Reader { standard_input()? } else { standard_output()? };
        if self.args.stack == StackArg::Lkl && outlet.pipe().is_none() {
            bail!(
                "standard input is a plain file, which --stack lkl does not read: put `stdpkt feed FILE |` before this"
            );
        }
        Ok(outlet)
    }
}

/// An interface, whose Ethernet address follows from its first address.
pub fn interface(name: &str, mtu: u32, addresses: Vec<IpNet>) -> Interface {
    let mac = addresses.first().map(|address| mac_of(address.addr()));
    Interface { name: name.to_owned(), mtu, addresses, mac }
}

/// The link on standard input: a pipe, or a plain file with a capture.
///
/// # Errors
/// One line that says what standard input is instead.
pub(crate) fn standard_input() -> Result<Outlet> {
    let what = "standard input";
    let fd = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .with_context(|| format!("{what} is closed"))?;
    let outlet = Outlet::to_read(fd, what)
        .map_err(|error| no_pipe(error, "put a function and `|` before this one"))?;
    match outlet {
        Outlet::Pipe(end) => Ok(of_role(end, Role::Reader)?.into()),
        file => Ok(file),
    }
}

/// The link on standard output.
///
/// # Errors
/// One line that says what standard output is instead.
pub(crate) fn standard_output() -> Result<Outlet> {
    let what = "standard output";
    let fd = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .with_context(|| format!("{what} is closed"))?;
    let end = PipeEnd::new(fd, what)
        .map_err(|error| no_pipe(error, "put `|` and another function behind this one"))?;
    Ok(of_role(end, Role::Writer)?.into())
}

fn of_role(end: PipeEnd, role: Role) -> Result<PipeEnd> {
    if end.role() != role && end.role() != Role::Either {
        bail!("{} is the wrong end of a pipe", end.what());
    }
    Ok(end.with_role(role))
}

/// The FIFO of a link, by path.
///
/// # Errors
/// One line that says what is there instead, and what to do.
pub(crate) fn open(path: &Path, role: Role) -> Result<PipeEnd> {
    open_for(std::process::id(), path, role)
}

/// The same for the process `pid`, see [`PipeEnd::open_for`].
///
/// # Errors
/// As [`open`].
pub(crate) fn open_for(pid: u32, path: &Path, role: Role) -> Result<PipeEnd> {
    PipeEnd::open_for(pid, path, role).map_err(|error| match &error {
        LinkError::System { errno, .. } if *errno == rustix::io::Errno::NOENT => {
            anyhow!("{error}: {}", missing(path))
        }
        _ => no_pipe(error, "make a FIFO with mkfifo and name that"),
    })
}

/// Adds what to do when this is no pipe.
fn no_pipe(error: LinkError, hint: &str) -> anyhow::Error {
    match error {
        LinkError::NotAPipe { .. } => anyhow!("{error}: {hint}"),
        _ => error.into(),
    }
}

/// How to make what is not there.
fn missing(path: &Path) -> String {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        Some(parent) if ["/dev/fd", "/proc"].iter().any(|it| parent.starts_with(it)) => {
            "no such descriptor is open: name a FIFO".to_owned()
        }
        Some(parent) if !parent.exists() => {
            format!("make it with `mkdir -p {}; mkfifo {}`", parent.display(), path.display())
        }
        _ => format!("make it with `mkfifo {}`", path.display()),
    }
}

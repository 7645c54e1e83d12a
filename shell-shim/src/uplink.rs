//! `stdpkt uplink`: a router to whatever the host can reach, without root.
//!
//! A user-mode network stack does the work, passt or slirp4netns, whichever is
//! there. Both get the same addresses, so that a chain can be written before it runs.

mod by;

use std::time::Duration;

use anyhow::{Result, bail};
use cable::{Cable, CablePlan, Jack, Switch};
use clap::Args;
use shmring::RuntimeDir;

use crate::filters::{left, offer};
use crate::join::descendants::Descendants;
use crate::join::driver::{Course, Joint};
use crate::name::NameArg;
use crate::run::signals::Signals;
use crate::stack::network::DEFAULT_MTU;
use by::{By, Uplink};

/// How long a program may take until it is ready.
const START: Duration = Duration::from_secs(10);

/// `stdpkt uplink`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt run --right 10.0.2.15/24 --gateway 10.0.2.2 -- curl https://debian.org |
    stdpkt uplink
  stdpkt uplink --tcp 8080:80
  stdpkt uplink --by slirp4netns --mtu 65520")]
pub struct UplinkArgs {
    /// The program that does it [default: passt, else slirp4netns]
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub by: Option<By>,

    /// Let the host's port HOST in to the chain's GUEST at 10.0.2.15 (repeatable)
    #[arg(short, long = "tcp", value_name = "HOST:GUEST", value_parser = ports)]
    pub tcp: Vec<(u16, u16)>,

    /// Let the chain reach the host's own loopback, at 10.0.2.2
    #[arg(long)]
    pub host_loopback: bool,

    /// Largest IP packet, in bytes; up to 65520, with the same in the function before
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MTU, value_parser = clap::value_parser!(u32).range(1280..=65_520))]
    pub mtu: u32,

    /// What it is called.
    #[command(flatten)]
    pub name: NameArg,
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let pair = text.split_once(':').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match (port(pair.0), port(pair.1)) {
        (Some(host), Some(guest)) => Ok((host, guest)),
        _ => Err("write two ports as 8080:80".to_owned()),
    }
}

/// Routes until the link or the program ends; returns the exit status.
///
/// # Errors
/// One line that names the program or link and the way out.
pub fn run(args: &UplinkArgs) -> Result<u8> {
    args.name.introduce(&[], "uplink");
    let plan = left()?;
    let dir = RuntimeDir::for_user()?;
    let Some(by) = args.by.or_else(|| By::ALL.into_iter().find(|by| by.is_there())) else {
        bail!("neither passt nor slirp4netns is here: install one (apt-get install passt)");
    };
    if !by.is_there() {
        bail!("{by} is not here: install it (apt-get install {by})");
    }
    if !args.host_loopback && !has_route() {
        bail!(
            "the uplink leads nowhere: this network namespace has no IPv4 route (ip route); run it where there is one"
        );
    }
    let descendants = Descendants::adopt()?;
    let Uplink { program, mut said, flow, edge } = by.start(args)?;
    say::note!(
        "uplink by {by}: 10.0.2.15/24, gateway 10.0.2.2, name server 10.0.2.3, MTU {}",
        args.mtu
    );
    let cable = Cable::new(CablePlan { offer: offer("uplink"), ..plan }, &dir)?;
    let jacks = vec![Jack::new("uplink".to_owned(), edge, vec![cable])];
    // Only now: the program inherits no blocked signals.
    let signals = Signals::new()?;
    let course = Course { program, ended: false, what: by.to_string(), flow: Some(flow), out: 0 };
    Joint::new(jacks, signals, vec![course], descendants)
        .of_servants(move |status| by.ended(status, &said.so_far()))
        .run(Switch::new(dir)?)
}

/// Whether there is any route for IPv4 but to oneself. Where that cannot be told, the
/// program will.
fn has_route() -> bool {
    let Ok(routes) = std::fs::read_to_string("/proc/net/route") else { return true };
    routes.lines().skip(1).any(|line| !line.starts_with("lo\t"))
}

//! `stdpkt run --stack lkl`: CMD has the network stack in itself, and the rings,
//! too. What is left to do here is to start it and to see it end.

mod newcomer;
mod stays;

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::unistd::dup;
use rustix::fs::{Stat, fstat};
use shmring::board::Board;
use shmring::{PipeEnd, RuntimeDir};

use super::args::{ChannelArg, RunArgs};
use super::plan::{Plan, Plug, plan};
use super::signals::{Arrived, Signals};
use super::stop::Stop;
use crate::door::messages::{Reply, Request};
use crate::door::{Call, Door};
use crate::host::see_check;
use crate::stack::keeper::Keeper;
use crate::stack::lkl::{Lkl, config};
use crate::stack::network::{Interface, MTU, Network};
use crate::stack::{namespace, netlink};
use crate::succession::heir;
use newcomer::Newcomer;
use stays::{Stays, stays};

/// Runs a function to its end; returns its exit status.
///
/// # Errors
/// One line that names what failed and the way out.
pub fn run(args: &RunArgs) -> Result<u8> {
    let plan = plan(args)?;
    let mut links = super::links(&plan);
    let Plan { network, plugs, .. } = plan;
    let lkl = Lkl::find(args.lkl.as_deref())?;
    let stays = args.keep.then(|| stays(&args.command)).transpose()?;
    let (script, command) = match &stays {
        None => (setup_script(args)?, args.command.clone()),
        Some(Stays::Idle) => (setup_script(args)?, Vec::new()),
        Some(Stays::Reads { .. }) if !args.setup.is_empty() => {
            bail!(
                "--setup: CMD's rules are read in their place: leave CMD out, or use --stack netns"
            )
        }
        Some(Stays::Reads { program, rules }) => (rules.clone(), vec![program.clone()]),
    };
    let dir = RuntimeDir::for_user()?;
    let mut ends = Vec::new();
    let mut kept = Vec::new();
    let mut pipes = Vec::new();
    for cables in plugs.iter().map(Plug::cables) {
        let cable_ends = cables.iter().filter_map(|cable| cable.end.pipe());
        let paths: Result<Vec<String>> =
            cable_ends.map(|end| path_of(end, &mut kept, &mut ends)).collect();
        pipes.push(paths?.join("|"));
    }
    let file = memfd_create(c"lkl.json", MFdFlags::empty()).context("memfd_create")?;
    let mut file = std::fs::File::from(file);
    let text = config(&network, &pipes, args.forward, &args.sysctl)?.to_string();
    file.write_all(text.as_bytes()).context("LKL's configuration")?;
    let config_path = format!("/dev/fd/{}", file.as_raw_fd());
    kept.push(file.into());
    // LKL boots in a network namespace without interfaces: a CMD that it does
    // not catch, or a configuration that it does not like, leads nowhere
    // instead of to the host's network.
    namespace::enter().map_err(see_check)?;
    netlink::configure(&lo())?;
    let newcomer = Newcomer::new(&mut kept)?;
    let (input, typed) = std::io::pipe().context("pipe")?;
    let mut command = command;
    if matches!(stays, Some(Stays::Reads { .. })) {
        // Without close-on-exec.
        let rules = dup(&input).context("dup")?;
        command.extend(["--noflush".to_owned(), format!("/dev/fd/{}", rules.as_raw_fd())]);
        kept.push(rules);
    }
    if !script.is_empty() {
        links.input = Some(input.as_raw_fd());
    }
    links.kept = kept.iter().map(AsRawFd::as_raw_fd).collect();
    let mut keeper = Keeper::start(links, &args.dns).map_err(see_check)?;
    command.first().map_or(Ok(()), |program| keeper.look_for(program.as_ref()))?;
    drop((kept, input));
    let signals = Signals::new()?;
    (&typed).write_all(script.as_bytes()).context("--setup")?;
    let mut argv: Vec<OsString> = vec!["env".into()];
    let mut set = |name: &str, value: OsString| {
        let mut word = OsString::from(format!("{name}="));
        word.push(value);
        argv.push(word);
    };
    set("LD_PRELOAD", lkl.preload());
    set("LKL_HIJACK_CONFIG_FILE", config_path.into());
    // LKL meets its neighbours from another network namespace than they are in.
    if let Some(path) = dir.path() {
        set("SHMRING_RUNTIME_DIR", path.into());
    }
    set("STDPKT_RING", args.ring().to_string().into());
    set("STDPKT_LINGER", args.linger.as_millis().to_string().into());
    // CMD has the rings, and is in another pid namespace; the name is here.
    set("STDPKT_INSIDE", std::process::id().to_string().into());
    let channel = match args.channel {
        ChannelArg::Shm => "shm",
        ChannelArg::Fifo => "fifo",
        ChannelArg::Veth => {
            bail!("--channel veth is for the host's stack: leave out --stack lkl")
        }
    };
    set("STDPKT_CHANNEL", channel.into());
    let mut newcomer = newcomer.map(|(newcomer, told)| {
        set("STDPKT_HEIR", told.into());
        newcomer
    });
    let is_own = command.is_empty() || stays.is_some();
    match command.is_empty() {
        false => argv.extend(command.into_iter().map(Into::into)),
        true if script.is_empty() => argv.extend(["sleep".into(), "infinity".into()]),
        true => argv.extend(["nft".into(), "-i".into()]),
    }
    let mut door = Door::open();
    // What `STDPKT_INSIDE` leads to.
    let show = || Board::of_this_process().context("memory for stdpkt ls");
    if let Some(newcomer) = &mut newcomer {
        keeper.spawn(&argv)?;
        newcomer.wait_until_up(&mut keeper, &typed)?;
        let plans = plugs.iter().flat_map(Plug::cables);
        heir::take_over_by(
            plans,
            door.as_mut(),
            || Err(no_inside()),
            |old| newcomer.take(&mut keeper).map(|()| old),
        )?;
        show()?;
        newcomer.wait_until_here(&keeper, plugs.len())?;
        heir::arrived();
    } else {
        show()?;
        keeper.spawn(&argv)?;
    }
    if let Some(Reply::Interface { pipe, .. }) = heir::between() {
        // The other one is this function's alone.
        let is_it = |stat: Stat| (stat.st_dev, stat.st_ino) == pipe;
        ends.retain(|end| fstat(end).is_ok_and(is_it));
    }
    let status = supervise(&mut keeper, &signals, &ends, door.as_mut(), newcomer, is_own)?;
    drop(keeper);
    dir.sweep(); // a CMD that was killed left its gates behind
    Ok(status)
}

/// Addresses outside of LKL, of documentation: getaddrinfo(3) of many programs
/// offers a family only where the host has an address of it.
fn lo() -> Network {
    let addresses = ["192.0.2.1/32", "2001:db8::1/128"];
    let lo = Interface {
        name: "lo".to_owned(),
        mtu: *MTU.end(),
        addresses: addresses.into_iter().filter_map(|address| address.parse().ok()).collect(),
        mac: None,
    };
    Network { interfaces: vec![lo], ..Network::default() }
}

/// What `nft -i` is to read. The kernel is in one process; no other program can
/// reach it, so a CMD of the user's leaves no room for setup commands.
fn setup_script(args: &RunArgs) -> Result<String> {
    let mut script = String::new();
    for line in &args.setup {
        let Some(rules) = line.trim_start().strip_prefix("nft ") else {
            bail!(
                "--setup `{}`: an LKL kernel lives in one process: only `nft ...` is possible, or use --stack netns",
                line.escape_debug()
            );
        };
        script.push_str(rules);
        script.push('\n');
    }
    if !script.is_empty() {
        // nft reads a byte at a time: once it has read this empty line, it has done those before.
        script.push('\n');
    }
    if !script.is_empty() && !args.command.is_empty() && !args.keep {
        bail!(
            "--setup: the LKL kernel lives in CMD's process, where nft cannot reach it: leave CMD out, or use --stack netns"
        );
    }
    Ok(script)
}

/// How CMD gets at a pipe: a FIFO by its path, a standard descriptor by a
/// duplicate that CMD inherits. The latter is kept here as well, to see its end.
fn path_of(end: &PipeEnd, kept: &mut Vec<OwnedFd>, ends: &mut Vec<OwnedFd>) -> Result<String> {
    if let Some(path) = end.path() {
        let text = path.to_str();
        let text = text.with_context(|| format!("{}: LKL takes UTF-8 only", path.display()));
        return Ok(text?.to_owned());
    }
    let standard = end.as_fd().try_clone_to_owned().context("dup")?;
    // Without close-on-exec, unlike the first.
    let inherited = dup(&standard).context("dup")?;
    let path = format!("/dev/fd/{}", inherited.as_raw_fd());
    kept.push(inherited);
    // A Unix socket that ksh93 has shut down to one direction looks ended from the start.
    if !end.is_socket() {
        ends.push(standard);
    }
    Ok(path)
}

fn no_inside() -> anyhow::Error {
    anyhow!(
        "its network stack is LKL, inside the process of CMD, which no other program can enter: use --stack netns for a function with an inside"
    )
}

/// Nothing can be asked of a function whose stack is in CMD.
fn refuse(call: Call) {
    let why = match call.request {
        Request::Inside => no_inside(),
        Request::Link { .. } | Request::Unlink { .. } => anyhow!(
            "its interfaces are LKL's, inside the process of CMD, and are there from the start: use --stack netns for a function that gets others"
        ),
        ref other => other.not_here(),
    };
    call.answer(Err(why));
}

/// Waits for the end of CMD, of a neighbour on `|`, or a signal.
fn supervise(
    keeper: &mut Keeper,
    signals: &Signals,
    ends: &[OwnedFd],
    mut door: Option<&mut Door>,
    mut newcomer: Option<Newcomer>,
    is_own: bool,
) -> Result<u8> {
    const FIXED: usize = 5;
    const PLACE_IS_GONE: Arrived = Arrived { number: libc::SIGTERM, from_terminal: false };
    let is_cut = |newcomer: &Option<Newcomer>| newcomer.as_ref().is_some_and(|it| it.is_cut);
    let mut stop = is_cut(&newcomer).then(Stop::begin);
    let mut signalled = None;
    let mut place = heir::place();
    loop {
        // Always as many, so that the ends are behind them.
        let or_none = signals.as_fd();
        let guests = door.as_ref().map_or(or_none, |door| door.as_fd());
        let links = newcomer.as_ref().map_or(or_none, AsFd::as_fd);
        let place_fd = place.unwrap_or(or_none);
        let fixed: [_; FIXED] = [keeper.as_fd(), signals.as_fd(), guests, place_fd, links];
        let mut fds = fixed.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).to_vec();
        if stop.is_none() {
            // The end of a pipe needs no asking for: POLLHUP or POLLERR.
            fds.extend(ends.iter().map(|end| PollFd::new(end.as_fd(), PollFlags::empty())));
        }
        let timeout = stop.map_or(PollTimeout::NONE, |stop| {
            let left =
                stop.at().saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        drop(fds);
        if ready[0] {
            let status = keeper.status()?;
            // A program of ours ends when it is told to, and that is its success.
            return Ok(match (is_own && stop.is_some(), signalled) {
                (true, signalled) => signalled.unwrap_or(0),
                (false, _) => status,
            });
        }
        let mut gone = place.take_if(|_| ready[3]).map(|_| PLACE_IS_GONE);
        while let Some(signal) = signals.next()?.or(gone.take()) {
            let number = Signal::try_from(signal.number).context("signal")?;
            if !signal.from_terminal {
                keeper.terminate(number)?;
            }
            if number != Signal::SIGINT || is_own {
                signalled = Some(128 + signal.number as u8);
                stop.get_or_insert_with(Stop::begin);
            }
        }
        door.iter_mut().flat_map(|door| door.calls()).for_each(refuse);
        newcomer.as_mut().filter(|_| ready[4]).into_iter().for_each(Newcomer::heard);
        if is_cut(&newcomer) || ready[FIXED..].contains(&true) {
            stop.get_or_insert_with(Stop::begin);
        }
        if let Some(blow) = stop.as_mut().and_then(Stop::due) {
            keeper.terminate(blow)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use shmring::Role;

    use super::*;

    #[test]
    fn a_fifo_is_told_by_its_path_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("standard input");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (mut kept, mut ends) = (vec![], vec![]);
        let end = PipeEnd::open(&path, Role::Either).unwrap();
        assert_eq!(path_of(&end, &mut kept, &mut ends).unwrap(), path.to_str().unwrap());
        assert!(kept.is_empty() && ends.is_empty());

        let (pipe, _other) = std::io::pipe().unwrap();
        let end = PipeEnd::new(pipe, path.to_str().unwrap()).unwrap();
        let told = path_of(&end, &mut kept, &mut ends).unwrap();
        assert_eq!(told, format!("/dev/fd/{}", kept[0].as_raw_fd()));
        assert_eq!(ends.len(), 1);
    }
}

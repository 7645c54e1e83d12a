//! `stdpkt run`: a network function between two pipes.
//!
//! Parse, plan, then do: [`mod@plan`] refuses what can be refused before anything
//! is made; then come namespaces, keeper, TAPs and addresses, and a
//! [`function::Function`] joins the neighbours and lives.

pub mod after;
pub mod args;
mod demand;
pub mod function;
pub mod held;
mod holder;
pub mod linger;
pub mod link_spec;
pub mod lkl;
mod pairs;
pub mod plan;
pub mod settings;
mod settling;
pub mod signals;
mod stage;
pub(crate) mod stop;
pub(crate) mod values;

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use shmring::{PipeEnd, RuntimeDir};

use crate::door::Door;
use crate::host::see_check;
use crate::stack::device::Device;
use crate::stack::keeper::{Keeper, Links, inside_of_this_process};
use crate::stack::lent::Lent;
use crate::stack::network::Interface;
use crate::stack::whose::Whose;
use crate::stack::{lent, namespace, netlink, sysctl};
use crate::succession::heir;
use crate::told;
use after::After;
use args::{ChannelArg, RunArgs, StackArg};
use cable::{Cable, Edge, Jack, Switch};
use edges::tap::Tap;
use frames::MAX_FRAME;
use function::{Function, Further, audience};
use held::{Held, Tie};
use holder::Outcome;
use linger::Linger;
use pairs::Pairs;
use plan::{Plan, Plug, Terms, plan};
use signals::Signals;

/// Runs a function to its end; returns its exit status.
///
/// # Errors
/// One line that names what failed and the way out.
pub fn run(args: RunArgs) -> Result<u8> {
    let file = args.file.as_deref().and_then(Path::file_stem).map(OsStr::to_string_lossy);
    args.name.introduce(&args.command, file.as_deref().unwrap_or(usual_name(&args)));
    if args.idle.is_some() && !args.on_demand {
        bail!("--idle: give --on-demand as well, since a function that sleeps wakes by a frame");
    }
    match args.stack {
        StackArg::Lkl if args.netns.is_some() || args.bridge => {
            bail!("--netns and --bridge are for the host's stack: leave out --stack lkl")
        }
        StackArg::Lkl if args.restart.is_some() => bail!(
            "--restart: the links of an LKL function are CMD's, and end with it: leave out --stack lkl"
        ),
        StackArg::Lkl if args.on_demand => bail!(
            "--on-demand: an LKL function is its CMD, which has the links: leave out --stack lkl"
        ),
        StackArg::Lkl => return lkl::run(&args),
        StackArg::Netns if args.lkl.is_some() => bail!("--lkl: give --stack lkl as well"),
        StackArg::Netns => {}
    }
    if args.netns.is_some() && !args.sysctl.is_empty() {
        bail!(
            "--sysctl would change a namespace that is not the function's: leave out --netns, or set it there yourself"
        );
    }
    if args.channel == ChannelArg::Veth {
        refuse_veth(&args)?;
    }
    if args.on_demand {
        heir::refuse()?;
    }
    match held::prepare()? {
        Some(held) => set_up(&args, plan(&args)?, None, held),
        // One that takes another's place has somebody who keeps that.
        None if args.on_demand || args.restart.is_some() && !heir::takes_over() => {
            match holder::run(&args)? {
                Outcome::Over(status) => Ok(status),
                Outcome::Here(plan, awake) => set_up(&args, *plan, Some(awake), Held::default()),
            }
        }
        None => set_up(&args, plan(&args)?, None, Held::default()),
    }
}

/// Cables that have links already, of each interface, and what watches them.
pub struct Awake {
    cables: Vec<Vec<Cable>>,
    switch: Switch,
}

/// Where there can be no veth pair.
fn refuse_veth(args: &RunArgs) -> Result<()> {
    let (what, why) = match args {
        _ if args.netns.is_some() => ("--netns", "it would stay there"),
        _ if args.on_demand => ("--on-demand", "no frame on it wakes anybody"),
        _ if args.restart.is_some() => ("--restart", "it ends with the function"),
        _ => return Ok(()),
    };
    bail!("{what} and --channel veth: a veth pair needs both functions, and {why}: leave one out")
}

/// Sets the function up, and lives its life.
fn set_up(args: &RunArgs, mut plan: Plan, awake: Option<Awake>, held: Held) -> Result<u8> {
    let owned = links(&plan);
    // Named after the user, and so found before the user namespace is entered.
    let dir = RuntimeDir::for_user()?;
    let is_wished = pairs::are_wished(&plan.plugs);
    let is_awake = awake.is_some() || is_wished;
    let (mut early, mut switch) = match awake {
        Some(Awake { cables, switch }) => (cables, switch),
        None => (Vec::new(), Switch::new(dir.clone())?),
    };
    if is_wished {
        early = match pairs::meet(&mut plan.plugs, &dir, &mut switch, &args.command)? {
            Ok(cables) => cables,
            Err(status) => return Ok(status),
        };
    }
    let mut pairs = Pairs::of(&mut early);
    let begun = begin(args, plan, owned, &dir, (&mut early, &mut pairs), held);
    // Before the neighbours lose their links.
    let (function, _lent) = begun.inspect_err(|_| told::mark())?;
    if is_awake { function.awake()? } else { function }.run(switch)
}

/// Sets the function up; second, what is to be changed back after it. `early` and `pairs`: the
/// cables of each interface that there are already, and what is to come of some of them.
fn begin(
    args: &RunArgs,
    plan: Plan,
    owned: Links,
    dir: &RuntimeDir,
    (early, pairs): (&mut [Vec<Cable>], &mut Pairs),
    held: Held,
) -> Result<(Function, Option<Lent>)> {
    let Plan { network, plugs, .. } = plan;
    let existing = args.netns.as_ref().map(Whose::find).transpose()?;
    match (&existing, pairs.hear()?) {
        (None, None) => namespace::enter().map_err(see_check)?,
        (None, Some(user)) => namespace::enter_beside(&user).map_err(see_check)?,
        (Some(found), _) => {
            found.enter()?;
            let is_given = network.interfaces.iter().all(|it| lent::exists(&it.name));
            let runs = !args.command.is_empty() || !args.setup.is_empty();
            if (runs || !is_given) && !namespace::may_be_changed() {
                bail!(
                    "--netns: this user may not change that namespace: run as root, or leave out --netns"
                );
            }
        }
    }
    let mut keeper = None;
    if !args.command.is_empty() || !args.setup.is_empty() {
        keeper = Some(Keeper::start(owned, &args.dns).map_err(see_check)?);
    }
    // Whoever is waited for may be waited for long, and a signal is the end then.
    let mut veths = pairs.make(&network.interfaces)?;
    let signals = Signals::new()?;
    // In a namespace that exists a TAP that exists is the interface itself.
    let mut given = Vec::new();
    let mut device = |(at, interface): (usize, &Interface)| {
        let name = &interface.name;
        Ok(match veths.remove(&at) {
            Some(veth) => Device::Veth(veth),
            None if existing.is_some() && lent::exists(name) => {
                given.push(name.clone());
                Device::Tap(Tap::attach(name).with_context(|| {
                    format!("there is an interface {name}: give the link another by dev=NAME")
                })?)
            }
            None => {
                let tap = Tap::create(name).map_err(see_check)?;
                if existing.is_none() {
                    tap.leave_to_namespace()?;
                }
                Device::Tap(tap)
            }
        })
    };
    let all = network.interfaces.iter().enumerate();
    let devices: Vec<Device> = all.map(&mut device).collect::<Result<_>>()?;
    let further = Further::new(args.mtu, Terms::of(args), given.clone(), dir.clone());
    let lent = match existing {
        None => netlink::configure(&network).map(|()| None)?,
        Some(_) => Some(lent::configure(&network, given)?),
    };
    if args.forward {
        sysctl::forward(args.netns.as_ref().map(|_| &network))?;
    }
    args.sysctl.iter().try_for_each(|assignment| sysctl::set(assignment))?;
    if let Some(keeper) = &mut keeper {
        args.setup.iter().try_for_each(|script| keeper.run_setup(script))?;
        // Not only when a neighbour has come.
        args.command.first().map_or(Ok(()), |program| keeper.look_for(program.as_ref()))?;
    }
    // Before its name is shown.
    let mut door = Door::open();
    let inside = || keeper.as_ref().map_or_else(inside_of_this_process, Keeper::inside);
    heir::take_over(plugs.iter().flat_map(Plug::cables), door.as_mut(), inside)?;
    held.take_over(after::LABEL);
    // Only now do neighbours find this function: whoever does finds it ready.
    let (mut jacks, mut far) = (Vec::new(), Vec::new());
    let mut early = early.iter_mut().map(std::mem::take);
    for ((device, plug), config) in devices.into_iter().zip(plugs).zip(&network.interfaces) {
        let name = config.name.clone();
        let cables = match (early.next().filter(|cables| !cables.is_empty()), plug) {
            (Some(cables), _) => Ok(cables),
            (None, Plug::Cables(plans)) => {
                plans.into_iter().map(|plan| heir::cable(plan, dir)).collect()
            }
            (None, Plug::Edge(what, edge)) => {
                let features = device.features() | edge.features();
                let (here, there) =
                    shmring::pair(args.ring(), MAX_FRAME, features, [&name, &what])?;
                let cable = Cable::local(here, &what)?;
                far.push(Jack::new(what, edge, vec![Cable::local(there, &name)?]));
                Ok(vec![cable])
            }
        };
        jacks.push(Jack::new(name.clone(), device, cables.context(name)?));
    }
    heir::arrived();
    let after = After::new(args.keep, args.restart)?;
    let addresses = network.interfaces.iter().map(|it| it.addresses.iter().map(|a| a.addr()));
    let linger = Linger::new(args.linger, addresses.map(Iterator::collect).collect())?;
    if held::is_held() {
        jacks.iter_mut().flat_map(|jack| &mut jack.cables).for_each(Cable::are_kept);
    }
    let last = (linger, Tie::new(args.idle), further);
    let command = args.command.clone();
    let function = Function::new(jacks, far, signals, door, keeper, (command, after), last)
        .bridging(args.bridge)
        .awaited(args.on_demand || std::env::var_os(audience::VARIABLE).is_some());
    Ok((function, lent))
}

/// What a function without CMD is called.
fn usual_name(args: &RunArgs) -> &'static str {
    match (args.bridge, args.forward) {
        (true, _) => "switch",
        (_, true) => "router",
        _ => "host",
    }
}

/// What the keeper has to know of the standard descriptors.
fn links(plan: &Plan) -> Links {
    let pipes = plan.plugs.iter().flat_map(Plug::cables).filter_map(|cable| cable.end.pipe());
    Links {
        stdin: plan.owns.stdin,
        stdout: plan.owns.stdout,
        pipes: pipes.map(PipeEnd::id).collect(),
        ..Links::default()
    }
}

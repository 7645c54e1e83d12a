//! `stdpkt balance`: spreads the flows of the left link over several FIFOs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use shmring::{PipeEnd, RecvError, Role, SendError};

use super::{Patch, Work, left, offer};
use crate::run::plan::with_way_out;
use crate::run::signals::Signals;
use cable::lane::{Lane, say_why};
use cable::{BATCH, Cable, CablePlan, Fallback, Sender};
use frames::VNET_LEN;

/// Bytes of a packet that say which flow it belongs to: Ethernet with tags, IPv6
/// with some extension headers, ports.
const HEAD: usize = 192;

/// A target that takes nothing for so long is not waited for any more, so
/// that one that is stopped does not stop the others.
const PATIENCE: Duration = Duration::from_millis(100);

/// `stdpkt balance`.
#[derive(Debug, Args)]
pub struct BalanceArgs {
    /// FIFOs, one for each target, both ways over each. Targets share an IP
    /// address; which one gets a flow depends on its addresses and ports
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// What stays together
    #[arg(long, value_enum, default_value = "flow")]
    pub by: By,
}

/// What goes to one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// What has the same addresses and ports, as a connection has
    Flow,
    /// All between two addresses: for FTP, netperf and others that take several
    /// connections for one thing
    Addresses,
}

/// Spreads flows until the left neighbour ends.
///
/// # Errors
/// One line that names the FIFO or link.
pub fn run(args: &BalanceArgs) -> Result<u8> {
    let mut plans = vec![left()?];
    for path in &args.paths {
        plans.push(CablePlan {
            end: PipeEnd::open(path, Role::Either).map_err(with_way_out)?,
            offer: offer("balance"),
            vital: false,
            expects_both_ways: true,
            fallback: Fallback::Never,
        });
    }
    let targets = vec![Target::default(); args.paths.len()];
    let by = args.by;
    let mut balance = Balance {
        by,
        targets,
        blocked: None,
        waiting: true,
        lost: 0,
        questions: Default::default(),
    };
    let status = Patch::new(plans, Some(Signals::new()?))?.run(&mut balance);
    if balance.lost > 0 {
        say::note!("{} frames found no target that takes them", balance.lost);
    }
    status
}

#[derive(Debug, Default, Clone)]
struct Target {
    back: Lane,
    /// Its hardware address, once it has sent something.
    mac: Option<[u8; 6]>,
    /// Since when it takes nothing.
    full_since: Option<Instant>,
}

struct Balance {
    by: By,
    targets: Vec<Target>,
    /// The target that the next frame waits for.
    blocked: Option<usize>,
    /// No target has turned up yet.
    waiting: bool,
    /// Frames that no target got, or not all that should.
    lost: u64,
    /// The last question for the hardware address of the targets, by ARP and by
    /// neighbour discovery.
    questions: [Vec<u8>; 2],
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the target of its flow.
    Flow(u64),
    /// To every target: ARP, neighbour discovery, broadcasts.
    All,
}

impl Work for Balance {
    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool> {
        let Some((left, targets)) = cables.split_first_mut() else { return Ok(false) };
        let mut busy = false;
        self.spread(left, targets, &mut busy);
        for (target, cable) in self.targets.iter_mut().zip(targets) {
            let mac = &mut target.mac;
            let back = target.back.turn(cable, left, |bytes, _| {
                let mut source = [0; 6];
                if bytes.copy_to(VNET_LEN + 6, &mut source) == 6 {
                    *mac = Some(source);
                }
                true
            });
            busy |= back;
        }
        Ok(busy)
    }

    fn arm(&mut self, cables: &mut [Cable]) -> bool {
        let Some((left, targets)) = cables.split_first_mut() else { return true };
        let mut sleep = true;
        for (target, cable) in self.targets.iter().zip(&mut *targets) {
            sleep &= target.back.arm(cable, left);
        }
        match self.blocked {
            Some(at) => sleep & targets[at].sender().is_none_or(Sender::arm),
            None if self.waiting => sleep,
            None => sleep & left.links().filter_map(|it| it.rx.as_mut()).all(|rx| rx.arm()),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.blocked.and_then(|at| self.targets[at].full_since).map(|since| since + PATIENCE)
    }
}

impl Balance {
    fn spread(&mut self, left: &mut Cable, targets: &mut [Cable], busy: &mut bool) {
        self.blocked = None;
        // Frames wait for the first target.
        self.waiting &= !targets.iter().any(|target| target.was_up);
        if self.waiting {
            return;
        }
        let Balance { by, targets: known, blocked, lost, questions, .. } = self;
        greet(targets, known, questions);
        left.retain(|joined| {
            let Some(rx) = &mut joined.rx else { return true };
            let mut alive = true;
            for _ in 0..BATCH {
                let moved = rx.receive(|bytes| {
                    let mut head = [0; HEAD];
                    let len = bytes.copy_to(VNET_LEN, &mut head);
                    let way = way_of(&head[..len], *by);
                    let chosen = chosen(way, targets, known);
                    if let Some(kind) = question(&head[..len]) {
                        questions[kind] = bytes.to_vec();
                    }
                    *lost += u64::from(chosen.is_empty());
                    for at in chosen {
                        let (Some(tx), it) = (targets[at].sender(), &mut known[at]) else {
                            continue;
                        };
                        let sent = tx.send(bytes.len(), |room| {
                            room.copy_from_bytes(0, bytes);
                            if let (Way::Flow(_), Some(mac)) = (way, &it.mac) {
                                room.copy_from(VNET_LEN, mac);
                            }
                            Ok::<_, ()>(bytes.len())
                        });
                        if matches!(sent, Err(SendError::Full)) {
                            let since = *it.full_since.get_or_insert_with(Instant::now);
                            if way != Way::All && since.elapsed() < PATIENCE {
                                return (false, Some(at));
                            }
                        } else {
                            it.full_since = None;
                        }
                        if sent.is_err() {
                            tx.count_drop();
                            *lost += 1;
                        }
                    }
                    (true, None)
                });
                match moved {
                    Ok(None) => *busy = true,
                    Ok(Some(at)) => {
                        *blocked = Some(at);
                        break;
                    }
                    Err(RecvError::Empty) => break,
                    Err(error) => {
                        say_why(&error, rx);
                        alive = false;
                        break;
                    }
                }
            }
            rx.return_room();
            alive
        });
        targets.iter_mut().filter_map(Cable::sender).for_each(Sender::publish);
    }
}

/// A target that has just come has another hardware address than its
/// predecessor, if any, and tells it in answer to the question it missed.
fn greet(targets: &mut [Cable], known: &mut [Target], questions: &[Vec<u8>]) {
    for (cable, target) in targets.iter_mut().zip(known) {
        if cable.take_plugged().is_none() {
            continue;
        }
        target.mac = None;
        let Some(tx) = cable.sender() else { continue };
        for frame in questions.iter().filter(|frame| !frame.is_empty()) {
            let sent = tx.send(frame.len(), |room| {
                room.copy_from(0, frame);
                Ok::<_, ()>(frame.len())
            });
            if sent.is_err() {
                tx.count_drop();
            }
        }
    }
}

/// Whether a packet asks for a hardware address: 0 by ARP, 1 by neighbour discovery.
fn question(packet: &[u8]) -> Option<usize> {
    const NEIGHBOUR_SOLICITATION: u8 = 135;
    match (packet.get(12..14)?, packet.get(20), packet.get(54)) {
        ([0x08, 0x06], ..) => Some(0),
        ([0x86, 0xdd], Some(58), Some(&NEIGHBOUR_SOLICITATION)) => Some(1),
        _ => None,
    }
}

/// The targets for a frame among those that are alive.
fn chosen(way: Way, targets: &mut [Cable], known: &[Target]) -> Vec<usize> {
    let alive = targets.iter_mut().map(|it| it.sender().is_some_and(|tx| !tx.is_closed()));
    let alive: Vec<_> = alive.enumerate().filter_map(|(at, alive)| alive.then_some(at)).collect();
    let Way::Flow(flow) = way else { return alive };
    // A target whose hardware address is unknown would not take frames for another's.
    let ready = alive.iter().copied().filter(|&at| known[at].mac.is_some());
    let ready: Vec<_> = ready.collect();
    let set = if ready.is_empty() { alive } else { ready };
    // Of the targets, each flow has its own order: when one dies, its flows
    // spread over the others, and no other flow moves.
    set.into_iter().max_by_key(|at| hash((flow, at))).into_iter().collect()
}

/// The same for both directions of a flow.
fn way_of(packet: &[u8], by: By) -> Way {
    // The group bit of the destination.
    if packet.first().is_none_or(|byte| byte & 1 != 0) {
        return Way::All;
    }
    let Ok(sliced) = LaxSlicedPacket::from_ethernet(packet) else { return Way::All };
    let (addresses, whole) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let pair = (header.source().to_vec(), header.destination().to_vec());
            (pair, !ip.payload().fragmented)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let pair = (header.source().to_vec(), header.destination().to_vec());
            (pair, !ip.payload().fragmented)
        }
        _ => return Way::All,
    };
    // Fragments after the first have no ports: those of a datagram stay together.
    let whole = whole && by == By::Flow;
    let (protocol, ports) = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) if whole => (6, (tcp.source_port(), tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) if whole => {
            (17, (udp.source_port(), udp.destination_port()))
        }
        _ => (0, (0, 0)),
    };
    let (a, b) = ((addresses.0, ports.0), (addresses.1, ports.1));
    Way::Flow(hash((protocol, a.clone().min(b.clone()), a.max(b))))
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Way {
        let mut out = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from.0, to.0, 9);
        builder.udp(from.1, to.1).write(&mut out, &[0; 1000]).unwrap();
        way_of(&out[..HEAD], By::Flow)
    }

    #[test]
    fn both_directions_of_a_flow_go_the_same_way() {
        let (client, server) = (([10, 0, 0, 1], 5000), ([10, 0, 0, 2], 53));
        assert_eq!(udp(client, server), udp(server, client));
        assert_ne!(udp(client, server), udp(([10, 0, 0, 1], 5001), server));
        assert!(matches!(udp(client, server), Way::Flow(_)));
    }

    #[test]
    fn what_is_no_flow_goes_to_all() {
        assert_eq!(way_of(&[0xff; 60], By::Flow), Way::All);
        let arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
        assert_eq!(way_of(&arp, By::Flow), Way::All);
        assert_eq!(way_of(b"", By::Flow), Way::All);
        assert_eq!(way_of(&[2; 13], By::Flow), Way::All);
    }
}

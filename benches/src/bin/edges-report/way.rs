//! Ways from a client to a server, each a shell script.

use std::fmt;

use clap::ValueEnum;
use stdpkt_benches::netperf::SERVER;

/// Who is at the other end, and through what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Way {
    /// Two functions, `--channel shm`
    Shm,
    /// Two functions, `--channel fifo`
    Fifo,
    /// `join frames -- cat`, a cat for each direction
    Cat,
    /// `join frames -- ssh` to this host
    Ssh,
    /// `join vde -- vde_plug` on both sides of a vde_switch
    Vde,
    /// Two functions, `--netns` of two namespaces that are there
    Netns,
    /// A veth pair between these
    Veth,
    /// `stdpkt uplink --by passt`
    UplinkPasst,
    /// The same program with a namespace of its own
    Pasta,
    /// `stdpkt uplink --by slirp4netns`
    UplinkSlirp4netns,
    /// The same program with a namespace
    Slirp4netns,
}

/// In the order of the table.
pub const ALL: [Way; 11] = [
    Way::Shm,
    Way::Fifo,
    Way::Cat,
    Way::Ssh,
    Way::Vde,
    Way::Netns,
    Way::Veth,
    Way::UplinkPasst,
    Way::Pasta,
    Way::UplinkSlirp4netns,
    Way::Slirp4netns,
];

/// What each is measured against: the first over the second.
pub const RATIOS: [(Way, Way); 7] = [
    (Way::Shm, Way::Fifo),
    (Way::Cat, Way::Fifo),
    (Way::Ssh, Way::Fifo),
    (Way::Vde, Way::Fifo),
    (Way::Netns, Way::Veth),
    (Way::UplinkPasst, Way::Pasta),
    (Way::UplinkSlirp4netns, Way::Slirp4netns),
];

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("?", |value| value.get_name()))
    }
}

/// Until what is started beside the chain has ended, too.
const TIDY: &str = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n";

impl Way {
    /// Why it cannot be measured.
    pub fn unavailable(self, mtu: u32) -> Option<&'static str> {
        (self == Way::Vde && mtu > 9000).then_some("a VDE network has no larger packets")
    }

    /// Where the client finds the server.
    pub fn server(self) -> &'static str {
        match self {
            Way::Veth
            | Way::UplinkPasst
            | Way::Pasta
            | Way::UplinkSlirp4netns
            | Way::Slirp4netns => "192.0.2.1",
            _ => "10.0.0.2",
        }
    }

    /// Runs `sh client` with a way to the server, in the scratch directory.
    pub fn script(self, mtu: u32) -> String {
        let run = format!("stdpkt run --mtu {mtu}");
        let client = format!("{run} --right 10.0.0.1/24 -- sh client");
        let near = |options: &str| format!("{run} {options} --right 10.0.0.1/24 -- sh client");
        let far = |options: &str| format!("{run} {options} -- sh -c '{SERVER}'");
        let left = "--left 10.0.0.2/24";
        let uplink = |by: &str| {
            format!(
                "{run} --right 10.0.2.15/24 --gateway 10.0.2.2 -- sh client \
                 | stdpkt uplink --mtu {mtu} --by {by}"
            )
        };
        match self {
            Way::Shm => format!("{client} | {}", far(left)),
            Way::Fifo => {
                let fifo = "--channel fifo";
                format!("{} | {}", near(fifo), far(&format!("{fifo} {left}")))
            }
            Way::Cat => format!(
                "export STDPKT_SERVER='{SERVER}'
                 {client} | stdpkt join frames -- sh -c 'cat | {run} {left},at=frames:stdio \
                     -- sh -c \"$STDPKT_SERVER\" | cat'"
            ),
            Way::Ssh => format!(
                "printf '%s\\n' '{SERVER}' >server
                 {client} | stdpkt join frames -- ssh -F k/ssh host \
                     {run} {left},at=frames:stdio -- sh $PWD/server"
            ),
            Way::Vde => {
                let plug = "stdpkt join --left vde -- vde_plug vde://$PWD/switch";
                format!("{TIDY}{} | {plug} &\n{client} | {plug}", far("--right 10.0.0.2/24"))
            }
            Way::Netns => {
                let third = format!("--netns third {left}");
                format!("{} | {}", near("--netns host"), far(&third))
            }
            Way::Veth => format!(
                "trap 'ip link set near mtu 1500; ip -n far link set far mtu 1500' EXIT
                 ip link set near mtu {mtu}; ip -n far link set far mtu {mtu}; sh client"
            ),
            Way::UplinkPasst => uplink("passt"),
            Way::UplinkSlirp4netns => uplink("slirp4netns"),
            // Root's form of it. The gateway would be the host's loopback.
            Way::Pasta => format!(
                "trap 'kill $(jobs -p); wait; ip netns del served' EXIT
                 ip netns add served; ip netns exec served sh -c \"$UNPACE\"
                 pasta -f -q --config-net -m {mtu} --no-map-gw --runas 0 --netns-only \
                     --netns /run/netns/served &
                 until ip -n served route | grep -q default; do sleep 0.05; done
                 ip netns exec served sh client"
            ),
            Way::Slirp4netns => format!(
                "{TIDY}rm -f up
                 unshare -n sh -c 'echo $$ >pid; until [ -e up ]; do sleep 0.05; done; sh client' &
                 client=$!
                 until [ -s pid ] && kill -0 $(cat pid); do sleep 0.05; done; sleep 0.1
                 slirp4netns -c -m {mtu} --disable-host-loopback -r 3 $(cat pid) tap0 3>up.part &
                 until [ -s up.part ]; do sleep 0.05; done
                 touch up; wait $client; rm -f pid up.part"
            ),
        }
    }
}

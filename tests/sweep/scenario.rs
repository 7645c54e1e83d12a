//! The chains that are put to the test.

use crate::support::scene::{Outcome, Scene};

/// A chain, and how to tell that it has done its work.
pub struct Scenario {
    pub name: &'static str,
    /// For bash; each `stdpkt` may be the one that is traced. It prints the status of
    /// each, in order, as its last line.
    script: &'static str,
    /// Whether the work was done.
    pub is_done: fn(&Scene, &Outcome) -> bool,
}

/// What becomes of the function that is traced: it says who it is, and waits for the tracer.
const HELD: &str = "#!/bin/bash
echo $$ > pid.new && mv pid.new pid && read -r _ < go && exec stdpkt \"$@\"
";

const STATUSES: &str = "echo \"${PIPESTATUS[@]}\"";

impl Scenario {
    /// How many commands there are to trace.
    pub fn commands(&self) -> usize {
        self.script.matches("stdpkt ").count()
    }

    /// Prepares a scene; returns the script, with one of its commands to be traced.
    pub fn prepare(&self, scene: &Scene, traced: usize) -> String {
        use std::os::unix::fs::PermissionsExt;
        let held = scene.path("bin/held");
        std::fs::write(&held, HELD).expect("scene");
        std::fs::set_permissions(&held, PermissionsExt::from_mode(0o755)).expect("scene");
        std::fs::write(scene.path("in.pcap"), capture()).expect("scene");
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        for name in ["go", "f"] {
            rustix::fs::mknodat(rustix::fs::CWD, scene.path(name), fifo, mode, 0).expect("scene");
        }
        let mut parts = self.script.split("stdpkt ");
        let mut script = parts.next().unwrap_or_default().to_owned();
        for (at, part) in parts.enumerate() {
            script += if at == traced { "held " } else { "stdpkt " };
            script += part;
        }
        script.replace("STATUSES", STATUSES)
    }
}

/// Packets in the capture that is played.
const PACKETS: usize = 12;

/// A pcap of UDP datagrams.
fn capture() -> Vec<u8> {
    let mut out = Vec::from(*b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0");
    for n in 0..PACKETS {
        let mut packet = Vec::new();
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
            .udp(5000, 6000)
            .write(&mut packet, &vec![n as u8; 100 * n])
            .expect("a packet");
        for word in [n as u32, 0, packet.len() as u32, packet.len() as u32] {
            out.extend(word.to_le_bytes());
        }
        out.extend(packet);
    }
    out
}

/// Packets of a pcap; 0 where it is none, or not whole.
fn packets(scene: &Scene, name: &str) -> usize {
    let bytes = std::fs::read(scene.path(name)).unwrap_or_default();
    let Some(mut rest) = bytes.get(24..) else { return 0 };
    let mut count = 0;
    while !rest.is_empty() {
        let len = rest.get(8..12).and_then(|len| len.try_into().ok()).map(u32::from_le_bytes);
        let Some(next) = len.and_then(|len| rest.get(16 + len as usize..)) else { return 0 };
        rest = next;
        count += 1;
    }
    count
}

/// Pings were answered: not all need to be, as on any network.
fn answered(outcome: &Outcome) -> bool {
    let said = format!("{}{}", outcome.out, outcome.err);
    said.contains(" received") && !said.contains(" 0 received")
}

fn pinged(_: &Scene, outcome: &Outcome) -> bool {
    answered(outcome)
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pair",
        script: "stdpkt run --right 10.0.0.1/24 -- ping -q -c2 -i0.05 -W1 10.0.0.2 \
                 | stdpkt run --left 10.0.0.2/24; STATUSES",
        is_done: pinged,
    },
    Scenario {
        name: "pair-over-pipes",
        script: "stdpkt run --channel fifo --right 10.0.0.1/24 -- ping -q -c2 -i0.05 -W1 10.0.0.2 \
                 | stdpkt run --left 10.0.0.2/24; STATUSES",
        is_done: pinged,
    },
    Scenario {
        name: "fifo",
        script: "stdpkt run --link x,at=f,ip=10.0.0.1/24 -- sleep 1000 & a=$!
                 stdpkt run --link x,at=f,ip=10.0.0.2/24 -- ping -q -c2 -i0.05 -W1 10.0.0.1 & b=$!
                 wait -n; kill $a $b 2>/dev/null
                 wait $a; a=$?; wait $b; echo $a $?",
        is_done: pinged,
    },
    Scenario {
        name: "router",
        script: "stdpkt run --right 10.0.1.1/24 --gateway 10.0.1.2 \
                 | stdpkt run --left 10.0.1.2/24 --right 10.0.2.2/24 --forward --setup true \
                 | stdpkt run --left 10.0.2.1/24 --gateway 10.0.2.2 \
                     -- ping -q -c2 -i0.05 -W1 10.0.1.1; STATUSES",
        is_done: pinged,
    },
    Scenario {
        name: "tee",
        script: "stdpkt run --right 10.0.0.1/24 -- ping -q -c2 -i0.05 -W1 10.0.0.2 \
                 | stdpkt tee x.pcap | stdpkt run --left 10.0.0.2/24; STATUSES",
        is_done: |scene, outcome| answered(outcome) && packets(scene, "x.pcap") >= 4,
    },
    Scenario {
        name: "filters",
        script: "stdpkt feed in.pcap | stdpkt filter udp | stdpkt dump -w out.pcap; STATUSES",
        is_done: |scene, _| packets(scene, "out.pcap") == PACKETS,
    },
    Scenario {
        name: "balance",
        script: "stdpkt run --link l,at=f,ip=10.0.0.2/24 -- sleep 1000 & a=$!
                 stdpkt run --right 10.0.0.1/24 -- ping -q -c2 -i0.05 -W1 10.0.0.2 \
                 | timeout 2 stdpkt balance f; b=${PIPESTATUS[@]}
                 kill $a 2>/dev/null; wait $a; echo $? $b",
        is_done: pinged,
    },
    Scenario {
        name: "capture",
        script: "stdpkt run --right 10.0.0.1/24 -- sh -c 'ping -q -c1 -W0.2 10.0.0.2; true' \
                 | cat > x.pcap; STATUSES",
        is_done: |scene, _| packets(scene, "x.pcap") > 0,
    },
    Scenario {
        name: "played",
        script: "cat in.pcap | stdpkt run --left 10.0.0.2/24; STATUSES",
        is_done: |_, _| true,
    },
];

//! dump, feed, tee, filter and balance, with the tools people use beside them.
//! Each script is what one would type.

mod balance;
mod capture;
mod chain;
mod corpus;
mod etherpipe;
mod flows;
mod reading;
mod spawn;
mod targets;
mod text;
mod transport;
mod trouble;
mod wire;

use crate::support::scene::{Outcome, Scene};

/// A scene with `in.pcap`: twelve UDP packets of a flow, every third of them in
/// VLAN 100, the hardware address of each destination ending in its number.
fn scene() -> Scene {
    use etherparse::{PacketBuilder, VlanId};
    use frames::capture::{Encoder, Format};
    let mut out = Vec::new();
    Encoder(Format::Pcap).begin(&mut out);
    for n in 0..12u8 {
        let mut packet = Vec::new();
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, n]);
        let (payload, client, server) = (vec![0xe0 + n; 40], [10, 0, 0, 1], [10, 0, 0, 2]);
        if n.is_multiple_of(3) {
            let tagged = link.single_vlan(VlanId::try_new(100).expect("an id"));
            let udp = tagged.ipv4(client, server, 64).udp(40001, 40000);
            udp.write(&mut packet, &payload).expect("a vector takes all");
        } else {
            let udp = link.ipv4(client, server, 64).udp(40001, 40000);
            udp.write(&mut packet, &payload).expect("a vector takes all");
        }
        let time = std::time::Duration::new(1_700_000_000, u32::from(n) * 1000);
        Encoder(Format::Pcap).packet(time, &packet, &mut out);
    }
    let scene = Scene::new();
    std::fs::write(scene.path("in.pcap"), out).expect("the scene's directory");
    scene
}

/// Runs a script to its end; its status is not 0 if any part of a pipeline failed.
fn bash(scene: &Scene, script: &str) -> Outcome {
    scene.start_in(&["bash", "-o", "pipefail"], script).end()
}

/// The output of a script that succeeds.
#[track_caller]
fn ok(scene: &Scene, script: &str) -> String {
    let outcome = bash(scene, script);
    assert_eq!(outcome.status, 0, "{script}\n{outcome:#?}");
    outcome.out
}

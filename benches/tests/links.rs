//! Many links at once, a few of them.

use std::path::Path;

use stdpkt_benches::harness::frames::Sizes;
use stdpkt_benches::links::{Footprint, Links, Way};

const RING: usize = 64 << 10;
const HEADER: usize = 4096;

/// A frame that is lost keeps this from ending, any other mistake is an error.
#[test]
fn every_frame_crosses_its_link_and_every_ring_is_all_the_memory_it_takes() {
    let program = Path::new(env!("CARGO_BIN_EXE_links-report"));
    let mut links = Links::start(program, 3, RING, 1500).unwrap();
    for way in [Way::There, Way::Back] {
        for threads in 1..=3 {
            links.stream(way, Sizes::Mixed, 3000, threads).unwrap();
        }
    }
    links.after(|| (), 1).unwrap();
    let footprint = Footprint::of(&links.pids()).unwrap();
    assert_eq!(footprint.rings, 3 * 2 * (RING + HEADER) as u64);
}

//! Chains over rings, over the pipes themselves, and mixed.

use crate::support::chains::{NAT, assert_pings, routers, three, two};
use crate::support::need::{need, need_functions};

#[test]
fn ten_routers_in_a_row_forward_over_rings() {
    need_functions!("ping");
    assert_pings(&routers(10, "", "ping -i0.2 -c3 10.0.0.1"));
}

#[test]
fn ten_routers_in_a_row_forward_over_pipes() {
    need_functions!("ping");
    assert_pings(&routers(10, "--channel fifo", "ping -i0.2 -c3 10.0.0.1"));
}

#[test]
fn the_nat_chain_works_over_pipes() {
    need_functions!("ping", "iptables");
    assert_pings(&NAT.replace("stdpkt run", "stdpkt run --channel fifo"));
}

#[test]
fn a_link_is_a_fifo_if_its_writer_says_so() {
    need_functions!("ping");
    assert_pings(&two("--channel fifo", "-- ping -i0.2 -c3 10.0.0.1"));
}

#[test]
fn a_link_is_a_fifo_if_its_reader_says_so() {
    need_functions!("ping");
    assert_pings(&two("", "--channel fifo -- ping -i0.2 -c3 10.0.0.1"));
}

#[test]
fn a_middle_function_may_have_fifos_among_rings() {
    need_functions!("ping");
    assert_pings(&three("", "--channel fifo", "-- ping -i0.2 -c3 10.0.1.1"));
}

#[test]
fn ipv6_is_forwarded() {
    need_functions!("ping");
    assert_pings(
        "stdpkt run --right fd00:1::1/64 --gateway fd00:1::2 -- ping -6 -i0.2 -c3 fd00:2::1 \
         | stdpkt run --left fd00:1::2/64 --right fd00:2::2/64 --forward \
         | stdpkt run --left fd00:2::1/64 --gateway fd00:2::2",
    );
}

#[test]
fn both_families_share_a_link() {
    need_functions!("ping");
    assert_pings(
        "stdpkt run --right 10.0.0.1/24 --right fd00::1/64 \
         | stdpkt run --left 10.0.0.2/24 --left fd00::2/64 \
         -- sh -c 'ping -c1 10.0.0.1 && ping -6 -c1 fd00::1'",
    );
}

//! Pieces are whole frames again, and their payloads are the stream.

use etherparse::checksum::Sum16BitWords;

use super::*;
use crate::tcp::{CWR, FIN, PSH, SYN, TCP_CHECKSUM, put_sum};

const TCP: u8 = etherparse::IpNumber::TCP.0;

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Whether bytes sum up to nothing, with a pseudo header's fields before them.
fn is_right(pseudo: &[u8], len: usize, bytes: &[u8]) -> bool {
    let rest = if pseudo.is_empty() { [0; 4] } else { [0, TCP, (len >> 8) as u8, len as u8] };
    let sum = Sum16BitWords::new().add_slice(pseudo).add_4bytes(rest).add_slice(bytes);
    sum.ones_complement() == 0
}

/// A TCP frame in a ring; `gso` is the size of its segments, 0 for none.
fn frame(v6: bool, vlan: bool, gso: u16, payload: &[u8], flags: u8) -> Vec<u8> {
    let gso_type = if gso == 0 {
        GSO_NONE
    } else if v6 {
        GSO_TCPV6
    } else {
        GSO_TCPV4
    };
    let mut out = vec![NEEDS_CSUM, gso_type, 0, 0];
    out.extend(gso.to_le_bytes());
    out.extend([0; 6]);
    out.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    if vlan {
        out.extend([0x81, 0, 0, 7]);
    }
    let tcp_len = 32 + payload.len();
    if v6 {
        out.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        out.extend((tcp_len as u16).to_be_bytes());
        out.extend([TCP, 64]);
        out.extend([0xfd; 16]);
        out.extend([0xfe; 16]);
    } else {
        out.extend([8, 0, 0x45, 0]);
        out.extend((20 + tcp_len as u16).to_be_bytes());
        out.extend([0xff, 0xff, 0x40, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    out.extend([0, 80, 0, 81, 0xff, 0xff, 0xff, 0, 0, 0, 0, 9, 0x80, flags, 1, 0, 0, 0, 0, 0]);
    out.extend([1; 12]);
    out.extend(payload);
    out
}

/// The pieces of a frame, each of at most `room` bytes.
fn pieces(frame: &[u8], room: usize) -> Option<Vec<Vec<u8>>> {
    let copy = |at: usize, out: &mut [u8]| {
        let n = out.len().min(frame.len().saturating_sub(at));
        out[..n].copy_from_slice(&frame[at..at + n]);
        n
    };
    let mut pieces = Pieces::of(frame.len(), copy)?;
    let mut out = Vec::new();
    while !pieces.is_done() {
        let Piece { mut headers, payload } = pieces.next(room)?;
        headers.extend_from_slice(&frame[payload]);
        assert!(headers.len() <= room);
        out.push(headers);
    }
    Some(out)
}

/// Checks a piece as a driver would and returns its payload.
fn payload_of(piece: &[u8], ip: usize, v6: bool) -> &[u8] {
    let tcp = ip + if v6 { 40 } else { 20 };
    if v6 {
        assert_eq!(usize::from(be16(piece, ip + 4)), piece.len() - tcp);
    } else {
        assert_eq!(usize::from(be16(piece, ip + 2)), piece.len() - ip);
        assert!(is_right(&[], 0, &piece[ip..tcp]), "checksum of the IPv4 header");
    }
    // What the driver does for NEEDS_CSUM, then what a receiver checks.
    assert_eq!(piece[0], NEEDS_CSUM);
    let start = VNET_LEN + usize::from(u16::from_le_bytes([piece[6], piece[7]]));
    assert_eq!((start, piece[8]), (tcp, 16));
    let mut done = piece.to_vec();
    let sum = Sum16BitWords::new().add_slice(&piece[start..]);
    put_sum(&mut done, start + TCP_CHECKSUM, sum.ones_complement());
    let (at, len) = if v6 { (ip + 8, 32) } else { (ip + 12, 8) };
    assert!(is_right(&done[at..at + len], done.len() - tcp, &done[tcp..]), "checksum of TCP");
    &piece[tcp + 32..]
}

#[test]
fn pieces_are_frames_and_their_payload_is_the_stream() {
    let stream: Vec<u8> = (0..50_001u32).map(|n| (n % 251) as u8).collect();
    for v6 in [false, true] {
        for (vlan, gso, room) in
            [(false, 1448, 29_183), (true, 1448, 3000), (false, 0, 29_183), (false, 60_000, 9000)]
        {
            let whole = frame(v6, vlan, gso, &stream, PSH | FIN | CWR | 0x10);
            let ip = VNET_LEN + 14 + if vlan { 4 } else { 0 };
            let tcp = ip + if v6 { 40 } else { 20 };
            let pieces = pieces(&whole, room).unwrap();
            assert!(pieces.len() > 1);
            let mut joined = Vec::new();
            for (n, piece) in pieces.iter().enumerate() {
                let payload = payload_of(piece, ip, v6);
                let seq = u32::from_be_bytes(piece[tcp + 4..tcp + 8].try_into().unwrap());
                assert_eq!(seq, 0xffff_ff00u32.wrapping_add(joined.len() as u32));
                let last = n + 1 == pieces.len();
                assert_eq!(piece[tcp + 13] & (PSH | FIN) != 0, last);
                assert_eq!(piece[tcp + 13] & CWR != 0, n == 0);
                let is_gso = gso > 0 && payload.len() > usize::from(gso);
                assert_eq!(piece[1] != GSO_NONE, is_gso);
                if gso == 1448 && !last {
                    assert_eq!(payload.len() % 1448, 0);
                }
                joined.extend_from_slice(payload);
            }
            assert!(joined == stream, "v6 {v6} vlan {vlan} gso {gso}");
        }
    }
}

#[test]
fn what_is_not_plain_tcp_is_not_cut() {
    let good = frame(false, false, 0, &[7; 3000], 0x10);
    assert!(pieces(&good, 1000).is_some());
    for (at, value, why) in [
        (VNET_LEN + 12, 9, "not IP"),
        (VNET_LEN + 14, 0x44, "a header of 16 bytes"),
        (VNET_LEN + 14 + 6, 0x20, "a fragment"),
        (VNET_LEN + 14 + 9, 17, "UDP"),
        (VNET_LEN + 34 + 12, 0x40, "a TCP header of 16 bytes"),
        (VNET_LEN + 34 + 13, SYN, "SYN"),
        (1, 3, "UDP fragmentation"),
        (0, 0, "a wrong checksum"),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        assert!(pieces(&bad, 1000).is_none(), "{why}");
    }
    for len in 0..good.len().min(90) {
        let _ = pieces(&good[..len], 1000);
    }
    assert!(pieces(&good, 300).is_none(), "too little room");
}

#[test]
fn a_right_checksum_is_enough() {
    let mut whole = frame(false, false, 0, &[7; 3001], 0x10);
    whole[0] = 0;
    let tcp = VNET_LEN + 34;
    let at = Tcp { ip: 14, v6: false, tcp: 34, payload: 66 };
    let sum = at.pseudo_header(&whole[VNET_LEN..], whole.len() - tcp).add_slice(&whole[tcp..]);
    put_sum(&mut whole, tcp + TCP_CHECKSUM, sum.ones_complement());
    assert!(pieces(&whole, 1000).is_some());
}

//! What is told of a connection to another kernel.

use rtnetlink::packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};

use super::entry::{Entry, Table};
use super::{message, parse};

/// Attributes as the kernel writes them: kind and value.
fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn tuple(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
    let ip = [nla(1, &from.0), nla(2, &to.0)].concat();
    let proto = [nla(1, &[6]), nla(2, &from.1.to_be_bytes()), nla(3, &to.1.to_be_bytes())].concat();
    [nla(1, &ip), nla(2, &proto)].concat()
}

const CLIENT: ([u8; 4], u16) = ([10, 0, 1, 2], 40000);
const NAT: ([u8; 4], u16) = ([10, 0, 1, 1], 8080);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 5001);

fn entry(status: u32, mark: u32) -> Entry {
    let attributes = [
        nla(1, &tuple(CLIENT, NAT)),
        nla(2, &tuple(SERVER, CLIENT)),
        nla(3, &status.to_be_bytes()),
        nla(4, &nla(1, &[nla(1, &[3]), nla(4, &[7, 0]), nla(5, &[3, 0])].concat())),
        nla(7, &300u32.to_be_bytes()),
        nla(8, &mark.to_be_bytes()),
        nla(11, &1u32.to_be_bytes()),
        nla(12, &99u32.to_be_bytes()),
    ];
    let mut header = NetlinkHeader::default();
    header.message_type = 1 << 8;
    let payload = [vec![2, 0, 0, 0], attributes.concat()].concat();
    Entry::deserialize(&header, &payload).unwrap()
}

fn bytes(entry: &Entry) -> Vec<u8> {
    let mut bytes = vec![0; entry.buffer_len()];
    entry.serialize(&mut bytes);
    bytes
}

fn has(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|it| it == part)
}

#[test]
fn a_forwarded_port_is_told_as_a_translation() {
    let told = bytes(&entry(0x2e, 7).for_another().unwrap().unwrap());
    assert!(has(&told, &nla(1, &tuple(CLIENT, NAT))), "who speaks with whom");
    assert!(has(&told, &nla(2, &tuple(NAT, CLIENT))), "as it were without a translation");
    let ports = [nla(1, &SERVER.1.to_be_bytes()), nla(2, &SERVER.1.to_be_bytes())].concat();
    let to = [nla(1, &SERVER.0), nla(2, &SERVER.0), nla(3, &ports)].concat();
    assert!(has(&told, &nla(13, &to)), "to where");
    assert!(has(&told, &nla(8, &7u32.to_be_bytes())), "the mark");
    assert!(has(&told, &nla(4, &[15, 255])) && has(&told, &nla(5, &[11, 255])), "TCP's flags");
    assert!(!has(&told, &nla(12, &99u32.to_be_bytes())), "the number is the old kernel's");
    assert!(!has(&told, &nla(6, &to)), "no other translation");
}

#[test]
fn without_a_translation_the_answers_stay_what_they_are() {
    let told = bytes(&entry(0x0e, 0).for_another().unwrap().unwrap());
    assert!(has(&told, &nla(2, &tuple(SERVER, CLIENT))));
    assert!(entry(0x20e, 0).for_another().unwrap().is_none(), "it is about to end");
}

#[test]
fn what_was_saved_is_read_again_and_anything_else_is_refused() {
    let all = [entry(0x2e, 1), entry(0x0e, 2)];
    let saved: Vec<u8> = all.iter().flat_map(|it| message(it.clone(), 0)).collect();
    assert_eq!(parse(&saved).unwrap(), all);
    assert_eq!(parse(&message(Entry::question(Table::Expected), 0)).unwrap().len(), 1);
    for cut in 1..saved.len() {
        // Never a panic; a whole message is one.
        let _ = parse(&saved[..cut]).map(|all| all.into_iter().map(Entry::for_another).count());
    }
    assert!(parse(b"iptables-save was meant").is_err());
    assert!(parse(&[0; 64]).is_err());
}

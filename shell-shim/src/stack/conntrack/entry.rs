//! One connection, as ctnetlink has it (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`).

use anyhow::{Context, Result};
use rtnetlink::packet_core::{
    DecodeError, DefaultNla, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
    NlasIterator,
};

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Connections.
    Connections,
    /// Those that one that exists is about to open, as FTP does.
    Expected,
}

impl Table {
    /// `NFNL_SUBSYS_CTNETLINK` and `NFNL_SUBSYS_CTNETLINK_EXP`.
    fn subsystem(self) -> u16 {
        match self {
            Table::Connections => 1,
            Table::Expected => 2,
        }
    }
}

/// A message about one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    table: Table,
    /// `IPCTNL_MSG_*`.
    command: u8,
    /// Of addresses.
    family: u8,
    attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    kind: u16,
    value: Vec<u8>,
}

const NEW: u8 = 0;
const GET: u8 = 1;
/// `struct nfgenmsg`.
const HEAD: usize = 4;

// enum ctattr_type
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const HELP: u16 = 5;
const NAT_SRC: u16 = 6;
const TIMEOUT: u16 = 7;
const MARK: u16 = 8;
const NAT_DST: u16 = 13;
const TUPLE_MASTER: u16 = 14;
const SEQ_ADJ_ORIG: u16 = 15;
const SEQ_ADJ_REPLY: u16 = 16;
const ZONE: u16 = 18;
const LABELS: u16 = 22;
const SYNPROXY: u16 = 24;
/// What can be told of a connection; the rest is the kernel's own, as counters.
const KEPT: [u16; 13] = [
    TUPLE_ORIG,
    TUPLE_REPLY,
    STATUS,
    PROTOINFO,
    HELP,
    TIMEOUT,
    MARK,
    TUPLE_MASTER,
    SEQ_ADJ_ORIG,
    SEQ_ADJ_REPLY,
    ZONE,
    LABELS,
    SYNPROXY,
];
/// `CTA_EXPECT_ID`, the one thing of an expected connection that cannot.
const EXPECT_ID: u16 = 5;

// enum ip_conntrack_status
const SRC_NAT: u32 = 1 << 4;
const DST_NAT: u32 = 1 << 5;
const DYING: u32 = 1 << 9;

// enum ctattr_tuple, ctattr_ip, ctattr_l4proto, ctattr_nat, ctattr_protonat, ctattr_protoinfo
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_SRC: [u16; 2] = [1, 3];
const IP_DST: [u16; 2] = [2, 4];
const PORT_SRC: u16 = 2;
const PORT_DST: u16 = 3;
const NAT_MIN: [u16; 2] = [1, 4];
const NAT_MAX: [u16; 2] = [2, 5];
const NAT_PROTO: u16 = 3;
const NAT_PORTS: [u16; 2] = [1, 2];
const PROTOINFO_TCP: u16 = 1;
const TCP_FLAGS: [u16; 2] = [4, 5];
/// `IP_CT_TCP_FLAG_BE_LIBERAL`
const BE_LIBERAL: u8 = 0x08;

impl Entry {
    /// The question for all of a table.
    pub fn question(table: Table) -> Entry {
        Entry { table, command: GET, family: 0, attributes: Vec::new() }
    }

    /// Whether it belongs to another one, which has to be there first.
    pub fn is_dependent(&self) -> bool {
        self.table == Table::Expected || self.attribute(TUPLE_MASTER).is_some()
    }

    /// The same as a request to another kernel. None where it is about to end.
    ///
    /// # Errors
    /// Where something is missing.
    pub fn for_another(mut self) -> Result<Option<Entry>> {
        self.command = NEW;
        if self.table == Table::Expected {
            self.attributes.retain(|it| it.kind != EXPECT_ID);
            return Ok(Some(self));
        }
        let status = self.attribute(STATUS).and_then(|it| it.try_into().ok());
        let status = u32::from_be_bytes(status.context("a connection without a status")?);
        if status & DYING != 0 {
            return Ok(None);
        }
        let orig = self.attribute(TUPLE_ORIG).map(nested).context("a connection without ends")?;
        let reply = self.attribute(TUPLE_REPLY).map(nested).context("one without a way back")?;
        self.attributes.retain(|it| KEPT.contains(&it.kind));
        if status & (SRC_NAT | DST_NAT) != 0 {
            // The kernel translates anew, from what the answers were without it.
            let before = mirrored(&orig, &reply);
            self.set(TUPLE_REPLY, joined(before));
            if status & SRC_NAT != 0 {
                self.set(NAT_SRC, joined(translation(&reply, IP_DST, PORT_DST)));
            }
            if status & DST_NAT != 0 {
                self.set(NAT_DST, joined(translation(&reply, IP_SRC, PORT_SRC)));
            }
        }
        if let Some(info) = self.attribute(PROTOINFO).map(nested) {
            self.set(PROTOINFO, joined(info.into_iter().map(with_flags).collect()));
        }
        Ok(Some(self))
    }

    fn attribute(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|it| it.kind == kind).map(|it| &it.value[..])
    }

    /// One that has others in it.
    fn set(&mut self, kind: u16, value: Vec<u8>) {
        self.attributes.retain(|it| it.kind != kind);
        self.attributes.push(Attribute { kind, value });
    }
}

/// The answers to `orig` where nobody translates; `reply` has what is no address or port.
fn mirrored(orig: &[Attribute], reply: &[Attribute]) -> Vec<Attribute> {
    let swap = |kind: u16, pairs: &[(u16, u16)]| {
        let there = pairs.iter().find_map(|&(one, other)| match kind {
            it if it == one => Some(other),
            it if it == other => Some(one),
            _ => None,
        });
        there.unwrap_or(kind)
    };
    let within = |tuple: &[Attribute], kind| inner(tuple, kind).unwrap_or_default();
    let turned = |kind: u16, pairs: &[(u16, u16)]| -> Vec<Attribute> {
        let all = within(orig, kind).into_iter();
        let all = all.map(|it| Attribute { kind: swap(it.kind, pairs), ..it });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|it| it.kind); // from before to, as ever
        all
    };
    let ips = [(IP_SRC[0], IP_DST[0]), (IP_SRC[1], IP_DST[1])];
    let mut proto = turned(TUPLE_PROTO, &[(PORT_SRC, PORT_DST)]);
    if !proto.iter().any(|it| it.kind == PORT_SRC) {
        // ICMP: another type, and the same number.
        proto = within(reply, TUPLE_PROTO);
    }
    reply
        .iter()
        .map(|it| match it.kind {
            TUPLE_IP => Attribute { kind: TUPLE_IP, value: joined(turned(TUPLE_IP, &ips)) },
            TUPLE_PROTO => Attribute { kind: TUPLE_PROTO, value: joined(proto.clone()) },
            _ => it.clone(),
        })
        .collect()
}

/// A translation to this address and port of the answers.
fn translation(reply: &[Attribute], address: [u16; 2], port: u16) -> Vec<Attribute> {
    let mut all = Vec::new();
    for it in inner(reply, TUPLE_IP).unwrap_or_default() {
        if let Some(family) = address.iter().position(|&kind| kind == it.kind) {
            for kind in [NAT_MIN[family], NAT_MAX[family]] {
                all.push(Attribute { kind, value: it.value.clone() });
            }
        }
    }
    let proto = inner(reply, TUPLE_PROTO).unwrap_or_default();
    if let Some(port) = proto.into_iter().find(|it| it.kind == port) {
        let both = NAT_PORTS.map(|kind| Attribute { kind, value: port.value.clone() });
        all.push(Attribute { kind: NAT_PROTO, value: joined(both.to_vec()) });
    }
    all
}

/// TCP's flags come with a mask that says which of them are to be set. What windows the two have
/// is not told, so a segment that seems to be outside of them is none of another connection.
fn with_flags(info: Attribute) -> Attribute {
    if info.kind != PROTOINFO_TCP {
        return info;
    }
    let mut all = nested(&info.value);
    for flags in all.iter_mut().filter(|it| TCP_FLAGS.contains(&it.kind)) {
        if let [flags, mask] = &mut flags.value[..] {
            *flags |= BE_LIBERAL;
            *mask = u8::MAX;
        }
    }
    Attribute { value: joined(all), ..info }
}

fn inner(all: &[Attribute], kind: u16) -> Option<Vec<Attribute>> {
    all.iter().find(|it| it.kind == kind).map(|it| nested(&it.value))
}

/// What is in an attribute; none where it is no such one.
fn nested(value: &[u8]) -> Vec<Attribute> {
    let all = NlasIterator::new(value).map_while(Result::ok);
    all.map(|it| Attribute { kind: it.kind(), value: it.value().to_vec() }).collect()
}

fn joined(all: Vec<Attribute>) -> Vec<u8> {
    let all: Vec<DefaultNla> =
        all.into_iter().map(|it| DefaultNla::new(it.kind, it.value)).collect();
    let all = all.as_slice();
    let mut bytes = vec![0; all.buffer_len()];
    all.emit(&mut bytes);
    bytes
}

impl NetlinkSerializable for Entry {
    fn message_type(&self) -> u16 {
        self.table.subsystem() << 8 | u16::from(self.command)
    }

    fn buffer_len(&self) -> usize {
        HEAD + joined(self.attributes.clone()).len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..HEAD].copy_from_slice(&[self.family, 0, 0, 0]);
        buffer[HEAD..].copy_from_slice(&joined(self.attributes.clone()));
    }
}

impl NetlinkDeserializable for Entry {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Entry, DecodeError> {
        let table = match header.message_type >> 8 {
            1 => Table::Connections,
            2 => Table::Expected,
            _ => return Err(DecodeError::from("another subsystem")),
        };
        let [family, _, _, _, attributes @ ..] = payload else {
            return Err(DecodeError::from("too short"));
        };
        let command = header.message_type as u8;
        Ok(Entry { table, command, family: *family, attributes: nested(attributes) })
    }
}

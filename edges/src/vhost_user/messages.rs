//! Messages of a vhost-user front end (QEMU, docs/interop/vhost-user.rst): bytes to
//! requests, without descriptors and without state. Whoever wrote them, the worst is an
//! error.

use std::fmt;

/// Bytes of a message's header: request, flags and size of what follows, 4 bytes each,
/// in the machine's own order.
pub const HEADER: usize = 12;
/// Memory regions that one message has room for.
pub const MOST_REGIONS: usize = 8;
/// Bytes after the header of the longest message that is asked for: a table of all regions.
pub const MOST_BYTES: usize = 8 + MOST_REGIONS * REGION;

const REGION: usize = 32;
/// The version of the protocol, in the flags.
const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;
/// Of the number that goes with an eventfd: that there is none.
const NO_DESCRIPTOR: u64 = 1 << 8;

/// The names of requests that are not carried out, as a front end of something other
/// than a network card sends them, or one that uses what was not offered.
const FOREIGN: [(u32, &str); 8] = [
    (4, "RESET_OWNER"),
    (6, "SET_LOG_BASE"),
    (7, "SET_LOG_FD"),
    (17, "GET_QUEUE_NUM"),
    (20, "NET_SET_MTU"),
    (24, "GET_CONFIG"),
    (25, "SET_CONFIG"),
    (37, "ADD_MEM_REG"),
];

/// What stands before a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The request's number.
    pub request: u32,
    /// The sender waits for an answer, whatever the request is.
    pub needs_reply: bool,
    /// Bytes that follow.
    pub size: usize,
}

/// A region of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Where the guest has it.
    pub guest: u64,
    /// Its bytes.
    pub size: u64,
    /// Where the front end has it.
    pub user: u64,
    /// Where it begins in its file.
    pub offset: u64,
}

/// Where the parts of a ring are, as the front end has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingAddresses {
    /// Descriptors.
    pub descriptors: u64,
    /// What the driver writes.
    pub available: u64,
    /// What the device writes.
    pub used: u64,
}

/// What a front end asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Which virtio features there are.
    GetFeatures,
    /// Which of them are used.
    SetFeatures(u64),
    /// Which features of the protocol there are.
    GetProtocolFeatures,
    /// Which of them are used.
    SetProtocolFeatures(u64),
    /// This connection is the device's.
    SetOwner,
    /// The memory, a descriptor each.
    SetMemory(Vec<Region>),
    /// How many entries a ring has.
    SetRingSize(usize, u32),
    /// Where a ring is.
    SetRingAddresses(usize, RingAddresses),
    /// Where a ring goes on.
    SetRingBase(usize, u32),
    /// Ends a ring and asks where it would go on.
    GetRingBase(usize),
    /// The bell by which the driver rings, with which the ring begins.
    SetRingKick(usize),
    /// The bell by which the driver is rung, if there is one.
    SetRingCall(usize, bool),
    /// The bell for errors, which is not rung.
    SetRingError(usize),
    /// Whether frames pass a ring.
    EnableRing(usize, bool),
}

/// Why a message is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// Of another version of the protocol.
    Version(u32),
    /// An answer, where nobody asked.
    Answer(u32),
    /// More bytes than any request has.
    Size(u32, u32),
    /// Not as many bytes as the request has.
    Length(u32, usize),
    /// A request that is not carried out.
    Unknown(u32),
    /// More regions than were offered, or none.
    Regions(u32),
    /// A ring without a bell.
    NoBell,
    /// A ring that a network card with one pair of rings does not have.
    Ring(u64),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Version(version) => write!(
                f,
                "it speaks version {version} of vhost-user, not 1: is it a vhost-user front end?"
            ),
            Wrong::Answer(request) => write!(
                f,
                "it answers (message {request}) where nobody asked: two back ends, or no virtual machine"
            ),
            Wrong::Size(request, size) => write!(f, "message {request} of {size} bytes"),
            Wrong::Length(request, len) => {
                write!(f, "message {request} with {len} bytes is not as long as it has to be")
            }
            Wrong::Unknown(request) => {
                let name = FOREIGN.iter().find(|(number, _)| number == request);
                let name = name.map_or("", |(_, name)| name);
                write!(
                    f,
                    "it asks for {name}{}{request}{}, which a network card does not offer: its device has to be virtio-net",
                    if name.is_empty() { "message " } else { " (" },
                    if name.is_empty() { "" } else { ")" },
                )
            }
            Wrong::Regions(count) => write!(
                f,
                "{count} regions of memory, where 1 to {MOST_REGIONS} can be taken: leave out memory that can be plugged in"
            ),
            Wrong::NoBell => write!(f, "a ring without eventfd, which would have to be polled"),
            Wrong::Ring(ring) => write!(
                f,
                "ring {ring}, where there are two: give the device one queue pair (mq=off), and take virtio-net"
            ),
        }
    }
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Header, Wrong> {
        let word = |at| number::<4>(bytes, at).map_or(0, u32::from_ne_bytes);
        let (request, flags, size) = (word(0), word(4), word(8));
        if flags & VERSION_MASK != VERSION {
            return Err(Wrong::Version(flags & VERSION_MASK));
        }
        if flags & REPLY != 0 {
            return Err(Wrong::Answer(request));
        }
        if size as usize > MOST_BYTES {
            return Err(Wrong::Size(request, size));
        }
        Ok(Header { request, needs_reply: flags & NEED_REPLY != 0, size: size as usize })
    }

    /// An answer to it, header included.
    pub fn answer(&self, body: &[u8]) -> Vec<u8> {
        let words = [self.request, VERSION | REPLY, body.len() as u32];
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.extend_from_slice(body);
        bytes
    }
}

impl Request {
    /// Reads what follows the header.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn parse(request: u32, body: &[u8]) -> Result<Request, Wrong> {
        let wrong = Wrong::Length(request, body.len());
        let of_len = |len| if body.len() == len { Ok(()) } else { Err(wrong.clone()) };
        let long = |at| number(body, at).map(u64::from_ne_bytes).ok_or(wrong.clone());
        let word = |at| number(body, at).map(u32::from_ne_bytes).ok_or(wrong.clone());
        let state = || of_len(8).and_then(|()| Ok((ring(word(0)?.into())?, word(4)?)));
        let bell = || {
            of_len(8)?;
            let value = long(0)?;
            Ok((ring(value & 0xff)?, value & NO_DESCRIPTOR == 0))
        };
        match request {
            1 => of_len(0).map(|()| Request::GetFeatures),
            2 => of_len(8).and_then(|()| long(0)).map(Request::SetFeatures),
            3 => of_len(0).map(|()| Request::SetOwner),
            5 => {
                let count = word(0)?;
                if !(1..=MOST_REGIONS as u32).contains(&count) {
                    return Err(Wrong::Regions(count));
                }
                // QEMU sends as many as there are; some send the whole table.
                let least = 8 + count as usize * REGION;
                if body.len() < least {
                    return Err(wrong);
                }
                let regions = (8..least).step_by(REGION).map(|at| {
                    let field = |number: usize| long(at + 8 * number);
                    let (guest, size, user, offset) = (field(0)?, field(1)?, field(2)?, field(3)?);
                    Ok(Region { guest, size, user, offset })
                });
                regions.collect::<Result<_, _>>().map(Request::SetMemory)
            }
            8 => state().map(|(ring, size)| Request::SetRingSize(ring, size)),
            9 => {
                of_len(40)?;
                let (descriptors, used, available) = (long(8)?, long(16)?, long(24)?);
                let addresses = RingAddresses { descriptors, available, used };
                Ok(Request::SetRingAddresses(ring(word(0)?.into())?, addresses))
            }
            10 => state().map(|(ring, base)| Request::SetRingBase(ring, base)),
            11 => state().map(|(ring, _)| Request::GetRingBase(ring)),
            12 => match bell()? {
                (ring, true) => Ok(Request::SetRingKick(ring)),
                (_, false) => Err(Wrong::NoBell),
            },
            13 => bell().map(|(ring, comes)| Request::SetRingCall(ring, comes)),
            14 => bell().map(|(ring, _)| Request::SetRingError(ring)),
            15 => of_len(0).map(|()| Request::GetProtocolFeatures),
            16 => of_len(8).and_then(|()| long(0)).map(Request::SetProtocolFeatures),
            18 => state().map(|(ring, on)| Request::EnableRing(ring, on != 0)),
            other => Err(Wrong::Unknown(other)),
        }
    }
}

fn ring(number: u64) -> Result<usize, Wrong> {
    if number < 2 { Ok(number as usize) } else { Err(Wrong::Ring(number)) }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

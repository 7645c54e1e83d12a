//! Frames from and to the buffers of a driver: one copy, whatever the buffers are.

use cable::BATCH;
use frames::{ETHERNET_LEN, MAX_FRAME, VNET_LEN};
use shmring::board::Meter;
use shmring::{Bytes, BytesMut};

use super::device::{Device, RECEIVE, TRANSMIT};
use super::memory::Memory;
use super::ring::{Broken, Chain};

/// Where `num_buffers` is in the header.
const NUM_BUFFERS: usize = 10;
/// Descriptors of one frame: more than any driver has for 64 KiB.
const MOST_PARTS: usize = 1024;

/// The next frame that the guest sends; what is none is counted.
///
/// # Errors
/// The guest broke the ring.
pub fn send(
    device: &mut Device,
    room: &mut BytesMut<'_>,
    came: &mut Meter,
) -> Result<Option<usize>, Broken> {
    let header = device.header();
    let Some(memory) = &device.memory else { return Ok(None) };
    let ring = &mut device.rings[TRANSMIT];
    if !ring.is_active() {
        return Ok(None);
    }
    // What is no frame is given back; a guest that has nothing else waits for its turn.
    for _ in 0..BATCH {
        let Some(chain) = ring.next(memory)? else { break };
        let head = chain.head_index();
        let len = gather(chain, memory, header, room);
        ring.give_back(head, 0)?;
        if len.is_some() {
            return Ok(len);
        }
        came.dropped();
    }
    Ok(None)
}

/// Writes a frame to the guest's buffers; `false` when there are too few at the moment.
///
/// # Errors
/// As [`send`].
pub fn receive(device: &mut Device, frame: Bytes<'_>) -> Result<bool, Broken> {
    let (header, merges) = (device.header(), device.merges());
    let Some(memory) = &device.memory else { return Ok(true) };
    let ring = &mut device.rings[RECEIVE];
    let mut scatter = Scatter::new(frame, header);
    let (mut first, mut chains) = (None, Vec::new());
    while !scatter.is_done() && (merges || chains.is_empty()) {
        let Some(chain) = ring.next(memory)? else { break };
        let head = chain.head_index();
        first.get_or_insert_with(|| chain.clone());
        let Some(len) = scatter.write(chain, memory) else {
            return Err("a buffer that nothing can be received in".to_owned());
        };
        chains.push((head, len));
    }
    let count = chains.len() as u16;
    if !scatter.is_done() {
        ring.put_back(count);
        return Ok(false);
    }
    if let (true, Some(first)) = (count > 1, first) {
        Scatter::say_buffers(first, memory, count)
            .ok_or_else(|| "a buffer that holds no header".to_owned())?;
    }
    chains.into_iter().try_for_each(|(head, len)| ring.give_back(head, len))?;
    Ok(true)
}

/// Copies what a chain holds to `room` as a frame; `None` if it is no frame.
fn gather(
    chain: Chain<'_>,
    memory: &Memory,
    header: usize,
    room: &mut BytesMut<'_>,
) -> Option<usize> {
    let most = header + MAX_FRAME - VNET_LEN;
    let mut head = [0; VNET_LEN];
    let mut at = 0;
    for (number, part) in chain.enumerate() {
        let len = part.len() as usize;
        if part.is_write_only() || at + len > most || number == MOST_PARTS {
            return None;
        }
        memory.read(part.addr(), len, |bytes| {
            let of_head = bytes.copy_to(0, &mut head[at.min(header)..header]);
            let rest = bytes.part(of_head, bytes.len());
            room.copy_from_bytes(VNET_LEN + at.saturating_sub(header), rest);
            at += bytes.len();
        })?;
    }
    // In a frame on a link it means something else.
    head[NUM_BUFFERS..].fill(0);
    room.copy_from(0, &head);
    (at >= header + ETHERNET_LEN).then(|| at - header + VNET_LEN)
}

/// A frame on its way to a driver.
struct Scatter<'a> {
    head: [u8; VNET_LEN],
    /// Bytes of it that the driver knows.
    header: usize,
    frame: Bytes<'a>,
    /// Bytes that are written, header included.
    at: usize,
}

impl<'a> Scatter<'a> {
    /// A frame whose header has `header` bytes for the driver.
    fn new(frame: Bytes<'a>, header: usize) -> Scatter<'a> {
        let mut head = [0; VNET_LEN];
        frame.copy_to(0, &mut head);
        head[NUM_BUFFERS..].copy_from_slice(&1u16.to_le_bytes());
        Scatter { head, header, frame, at: 0 }
    }

    /// All that is to be written.
    fn len(&self) -> usize {
        self.frame.len() - VNET_LEN + self.header
    }

    /// Whether all is written.
    fn is_done(&self) -> bool {
        self.at >= self.len()
    }

    /// Writes on into a chain; how much of it was used. `None`: not a buffer to receive in.
    fn write(&mut self, chain: Chain<'_>, memory: &Memory) -> Option<u32> {
        let before = self.at;
        for (number, part) in chain.enumerate() {
            if self.is_done() {
                break;
            }
            if !part.is_write_only() || number == MOST_PARTS {
                return None;
            }
            let len = (part.len() as usize).min(self.len() - self.at);
            memory.write(part.addr(), len, |mut room| {
                let head = &self.head[self.at.min(self.header)..self.header];
                let of_head = room.copy_from(0, head);
                let rest = (self.at + of_head - self.header.min(self.at + of_head)) + VNET_LEN;
                room.copy_from_bytes(of_head, self.frame.part(rest, room.len() - of_head));
                self.at += room.len();
            })?;
        }
        Some((self.at - before) as u32)
    }

    /// Says in the first of `count` chains that there are so many.
    fn say_buffers(first: Chain<'_>, memory: &Memory, count: u16) -> Option<()> {
        let count = count.to_le_bytes();
        let mut at = 0;
        for part in first {
            let len = (part.len() as usize).min(VNET_LEN - at);
            memory.write(part.addr(), len, |mut room| {
                let skip = NUM_BUFFERS.saturating_sub(at).min(room.len());
                let from = (at + skip).saturating_sub(NUM_BUFFERS).min(count.len());
                let to = (from + room.len() - skip).min(count.len());
                room.copy_from(skip, &count[from..to]);
                at += room.len();
            })?;
            if at == VNET_LEN {
                return Some(());
            }
        }
        None
    }
}

//! A front end and a driver in this process, which do what a test says.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use cable::Edge;
use cable::edge::{Burst, NotTaken};
use frames::MAX_FRAME;
use rustix::event::EventfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use shmring::{Bytes, BytesMut};
use vm_memory::{Bytes as _, FileOffset, GuestAddress, GuestMemoryMmap};

use super::super::VhostUser;

/// Where the guest has its memory, where the front end has it, where it is in the file, and how much it is.
/// Around it the file holds [`FOREIGN`] bytes.
pub const GUEST: u64 = 0x10_0000;
pub const USER: u64 = 0x7000_0000_0000;
pub const OFFSET: u64 = 0x4000;
pub const SIZE: u64 = 0x10_0000;
const FILE: u64 = OFFSET + SIZE + 0x4000;
/// What is not the guest's.
pub const FOREIGN: u8 = 0xee;
/// Entries of each ring, and where they begin in the memory.
pub const ENTRIES: u16 = 16;
pub const RINGS: [u64; 2] = [0, 0x4000];
pub const AVAILABLE: u64 = 0x1000;
pub const USED: u64 = 0x2000;
/// Where buffers begin.
pub const BUFFERS: u64 = 0x8000;

/// Flags of a descriptor.
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

pub const ALL: u64 = super::super::device::OFFERED;
pub const MERGED: u64 = 1 << 15;
pub const VERSION_1: u64 = 1 << 32;

pub struct FrontEnd {
    socket: UnixStream,
    pub file: OwnedFd,
    memory: GuestMemoryMmap,
    pub edge: VhostUser,
    pub kicks: [OwnedFd; 2],
    pub calls: [OwnedFd; 2],
}

fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

impl FrontEnd {
    /// Connected, and nothing said.
    pub fn new() -> FrontEnd {
        let (socket, theirs) = UnixStream::pair().unwrap();
        let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, FILE).unwrap();
        let offset = FileOffset::new(std::fs::File::from(file.try_clone().unwrap()), 0);
        let ranges = [(GuestAddress(0), FILE as usize, Some(offset))];
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges).unwrap();
        memory.write_slice(&vec![FOREIGN; OFFSET as usize], GuestAddress(0)).unwrap();
        let behind = vec![FOREIGN; (FILE - OFFSET - SIZE) as usize];
        memory.write_slice(&behind, GuestAddress(OFFSET + SIZE)).unwrap();
        let edge = VhostUser::of_socket("vhost-user:test", theirs.into()).unwrap();
        let [kicks, calls] = [(); 2].map(|()| [eventfd(), eventfd()]);
        FrontEnd { socket, file, memory, edge, kicks, calls }
    }

    /// With both rings in use.
    pub fn with(features: u64) -> FrontEnd {
        let mut front = FrontEnd::new();
        front.boot(features);
        front
    }

    /// What QEMU says when a guest's driver is ready, in QEMU's order.
    pub fn boot(&mut self, features: u64) {
        self.say(1, &[]);
        for ring in 0..2 {
            self.call(ring);
            self.say_words(18, [ring as u32, 1]);
        }
        self.say(2, &features.to_ne_bytes());
        self.share(&[(GUEST, SIZE, USER, OFFSET)]);
        for (ring, at) in RINGS.into_iter().enumerate() {
            self.say_words(8, [ring as u32, ENTRIES.into()]);
            self.say_words(10, [ring as u32, 0]);
            self.place(ring, at);
            self.kick(ring);
        }
    }

    pub fn say_words(&mut self, request: u32, words: [u32; 2]) {
        self.say(request, &words.map(u32::to_ne_bytes).concat());
    }

    pub fn say(&mut self, request: u32, body: &[u8]) {
        self.say_with(request, 1, body, &[]);
    }

    pub fn call(&mut self, ring: usize) {
        let call = self.calls[ring].try_clone().unwrap();
        self.say_with(13, 1, &(ring as u64).to_ne_bytes(), &[call.as_fd()]);
    }

    pub fn kick(&mut self, ring: usize) {
        let kick = self.kicks[ring].try_clone().unwrap();
        self.say_with(12, 1, &(ring as u64).to_ne_bytes(), &[kick.as_fd()]);
    }

    /// Regions: guest, size, user, offset.
    pub fn share(&mut self, regions: &[(u64, u64, u64, u64)]) {
        let mut body = [regions.len() as u32, 0].map(u32::to_ne_bytes).concat();
        for &(guest, size, user, offset) in regions {
            body.extend([guest, size, user, offset].map(u64::to_ne_bytes).concat());
        }
        let file = self.file.try_clone().unwrap();
        self.say_with(5, 1, &body, &vec![file.as_fd(); regions.len()]);
    }

    pub fn place(&mut self, ring: usize, at: u64) {
        let mut body = [ring as u32, 0].map(u32::to_ne_bytes).concat();
        let at = USER + at;
        body.extend([at, at + USED, at + AVAILABLE, 0].map(u64::to_ne_bytes).concat());
        self.say(9, &body);
    }

    /// A message as it is, and the back end's look at it.
    pub fn say_with(&mut self, request: u32, flags: u32, body: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut bytes = [request, flags, body.len() as u32].map(u32::to_ne_bytes).concat();
        bytes.extend_from_slice(body);
        self.say_bytes(&bytes, fds);
    }

    pub fn say_bytes(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut ancillary, flags);
        self.edge.woken();
    }

    /// What the back end answered.
    pub fn answer(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let got = rustix::net::recv(&self.socket, &mut bytes[..], rustix::net::RecvFlags::DONTWAIT);
        bytes.truncate(got.map_or(0, |(count, _)| count));
        bytes
    }

    /// Whether the back end has hung up.
    pub fn is_alone(&self) -> bool {
        self.edge.channel.is_none()
    }

    /// Bytes of the guest's memory, by their place in it.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(OFFSET + at)).unwrap();
    }

    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(OFFSET + at)).unwrap();
        bytes
    }

    pub fn word(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.read(at, 2).try_into().unwrap())
    }

    /// Whether what is not the guest's is as it was.
    pub fn is_intact(&self) -> bool {
        let mut around = vec![0; OFFSET as usize];
        self.memory.read_slice(&mut around, GuestAddress(0)).unwrap();
        let mut behind = vec![0; (FILE - OFFSET - SIZE) as usize];
        self.memory.read_slice(&mut behind, GuestAddress(OFFSET + SIZE)).unwrap();
        around.iter().chain(&behind).all(|byte| *byte == FOREIGN)
    }

    /// Writes a descriptor; `address` is the guest's.
    pub fn describe(&self, table: u64, number: u16, address: u64, len: u32, flags: u16, next: u16) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend([flags, next].map(u16::to_le_bytes).concat());
        self.write(table + 16 * u64::from(number), &bytes);
    }

    /// Offers a chain, as the driver's next one.
    pub fn offer(&self, ring: usize, head: u16) {
        let index = self.word(RINGS[ring] + AVAILABLE + 2);
        let at = RINGS[ring] + AVAILABLE + 4 + 2 * u64::from(index % ENTRIES);
        self.write(at, &head.to_le_bytes());
        self.write(RINGS[ring] + AVAILABLE + 2, &index.wrapping_add(1).to_le_bytes());
    }

    /// How many chains the driver has back.
    pub fn used(&self, ring: usize) -> u16 {
        self.word(RINGS[ring] + USED + 2)
    }

    /// Whether the driver was rung since the last time.
    pub fn was_called(&self, ring: usize) -> bool {
        rustix::io::read(&self.calls[ring], &mut [0; 8]).is_ok()
    }

    /// The next frame that the back end has of the guest.
    pub fn sent(&mut self) -> Option<Vec<u8>> {
        let mut room = vec![0; MAX_FRAME];
        let len =
            self.edge.has_frames().then(|| self.edge.fill(&mut BytesMut::of_slice(&mut room)));
        self.edge.filled(Burst::default());
        room.truncate(len?.ok()?);
        Some(room)
    }

    /// A frame for the guest.
    pub fn give(&mut self, frame: &[u8]) -> Result<(), NotTaken> {
        if !self.edge.has_room() {
            return Err(NotTaken::NotNow);
        }
        let taken = self.edge.take(Bytes::of_slice(frame));
        self.edge.taken();
        taken
    }
}

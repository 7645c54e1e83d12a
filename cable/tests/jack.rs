//! Two edges with memory of their own, joined by a pipe: what one has, the other
//! gets, finished where it takes only complete packets.

use std::collections::VecDeque;

use anyhow::Result;
use cable::edge::{NotNow, NotTaken, Watch};
use cable::{Audience, Cable, CablePlan, Driver, Edge, Fallback, Jack, Switch};
use frames::recorded::{HEAD_START, set_head_start};
use frames::{FEATURES, MAX_FRAME, Packets, VNET_LEN, VnetHeader, push_frame};
use shmring::{Bytes, BytesMut, Offer, PipeEnd, RuntimeDir, Rx, Tx};

/// Takes `window` frames, then none until the next sleep.
struct Memory {
    features: u64,
    frames: VecDeque<Vec<u8>>,
    taken: Vec<Vec<u8>>,
    window: usize,
    room: usize,
    plugged: Vec<u64>,
}

fn memory(features: u64, frames: impl IntoIterator<Item = Vec<u8>>, window: usize) -> Memory {
    let frames = frames.into_iter().collect();
    Memory { features, frames, taken: Vec::new(), window, room: window, plugged: Vec::new() }
}

impl Edge for Memory {
    fn features(&self) -> u64 {
        self.features
    }

    fn plugged(&mut self, features: u64) -> Result<()> {
        self.plugged.push(features);
        Ok(())
    }

    fn unplugged(&mut self) -> Result<()> {
        Ok(())
    }

    fn has_frames(&mut self) -> bool {
        !self.frames.is_empty()
    }

    fn has_room(&mut self) -> bool {
        self.room > 0
    }

    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        let frame = self.frames.pop_front().ok_or(NotNow)?;
        Ok(room.copy_from(0, &frame))
    }

    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken> {
        if self.room == 0 {
            return Err(NotTaken::NotNow);
        }
        if frame.len() < VNET_LEN {
            return Err(NotTaken::Refused);
        }
        self.room -= 1;
        self.taken.push(frame.to_vec());
        Ok(())
    }

    fn arm(&mut self) -> bool {
        let slept = self.room > 0;
        self.room = self.window;
        slept
    }

    fn watch(&self, _: &mut Watch<'_>) -> Result<()> {
        Ok(())
    }

    fn woken(&mut self) {}
}

struct Pair {
    jacks: [Jack<Memory>; 2],
    /// Frames that the right one is to get.
    expected: usize,
}

impl Driver for Pair {
    fn cables(&mut self) -> impl Iterator<Item = &mut Cable> {
        self.jacks.iter_mut().flat_map(|jack| &mut jack.cables)
    }

    fn turn(&mut self) -> Result<bool> {
        Ok(self.jacks.iter_mut().fold(false, |busy, jack| busy | jack.turn()))
    }

    fn arm(&mut self) -> bool {
        self.jacks.iter_mut().all(Jack::arm)
    }

    fn met(&mut self, _: u32, met: Result<()>) -> Result<()> {
        met?;
        self.jacks.iter_mut().try_for_each(|jack| jack.links_came().map(drop))
    }

    fn over(&mut self) -> Option<u8> {
        (self.jacks[1].edge().taken.len() >= self.expected).then_some(0)
    }
}

/// What the right edge got from the left one, and the features it was told.
fn across(left: Memory, right: Memory, expected: usize) -> (Vec<Vec<u8>>, Vec<u64>) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = RuntimeDir::at(&scratch.path().join("run")).unwrap();
    let (read, write) = std::io::pipe().unwrap();
    let jack = |edge, end| {
        let offer = Offer {
            label: "test".into(),
            max_frame: MAX_FRAME,
            features: FEATURES,
            ..Offer::default()
        };
        let (vital, expects_both_ways, fallback) = (true, true, Fallback::Never);
        let plan = CablePlan { end: PipeEnd::into(end), offer, vital, expects_both_ways, fallback };
        Jack::new("test".into(), edge, vec![Cable::new(plan, &dir).unwrap()])
    };
    let right = jack(right, PipeEnd::new(read, "right").unwrap());
    let left = jack(left, PipeEnd::new(write, "left").unwrap());
    let mut pair = Pair { jacks: [left, right], expected };
    Switch::new(dir).unwrap().run(&mut pair).unwrap();
    let edge = pair.jacks[1].edge();
    (edge.taken.clone(), edge.plugged.clone())
}

/// A TSO frame of `len` bytes of payload, as a TAP hands it out.
fn unfinished(len: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
    let builder = builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(5000, 80, 1, 4000);
    builder.write(&mut packet, &payload).unwrap();
    let header = VnetHeader {
        flags: 1,
        gso_type: 1,
        hdr_len: 54,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
        num_buffers: 0,
    };
    [&header.to_bytes()[..], &packet].concat()
}

/// The same as complete packets, each a frame that asks for nothing.
fn finished(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let each = |packet: &[u8]| {
        let mut out = Vec::new();
        push_frame(&mut out, packet);
        all.push(out);
    };
    Packets::default().each(frame, each).unwrap();
    all
}

#[test]
fn frames_cross_as_they_are_where_the_edge_takes_them() {
    let frames: Vec<_> = (1..200).map(|i| unfinished(300 * i)).collect();
    let left = memory(FEATURES, frames.clone(), 9);
    let (taken, plugged) = across(left, memory(FEATURES, [], 7), frames.len());
    assert!(taken == frames, "frames were changed, lost or reordered");
    assert_eq!(plugged, [FEATURES]);
}

#[test]
fn an_edge_without_offloads_gets_complete_packets() {
    let frames: Vec<_> = [100, 60_000, 1448, 5000, 30_000].map(unfinished).into();
    let expected: Vec<_> = frames.iter().flat_map(|frame| finished(frame)).collect();
    assert!(expected.len() > frames.len() + 60);
    // Less room than one frame has segments: the rest waits and nothing overtakes it.
    for window in [1, 7, 1000] {
        let left = memory(FEATURES, frames.clone(), 9);
        let (taken, _) = across(left, memory(0, [], window), expected.len());
        assert!(taken == expected, "window {window}: packets were changed, lost or reordered");
    }
}

#[test]
fn a_frame_that_cannot_be_finished_costs_only_itself() {
    let mut broken = unfinished(3000);
    broken[4..6].copy_from_slice(&[0, 0]); // segments of no bytes
    let whole = unfinished(3000);
    let left = memory(FEATURES, [broken, whole.clone()], 9);
    let expected = finished(&whole);
    let (taken, _) = across(left, memory(0, [], 2), expected.len());
    assert!(taken == expected);
}

/// The neighbour plays a recording while this edge is asked whether it has room: after
/// somebody looked whether a frame is to wait, and before it is taken.
struct Meanwhile {
    neighbour: Tx,
    recording: VecDeque<Vec<u8>>,
    memory: Memory,
}

impl Edge for Meanwhile {
    fn features(&self) -> u64 {
        self.memory.features
    }

    fn plugged(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn unplugged(&mut self) -> Result<()> {
        Ok(())
    }

    fn has_frames(&mut self) -> bool {
        false
    }

    fn has_room(&mut self) -> bool {
        if let Some(frame) = self.recording.pop_front() {
            let put = |room: &mut BytesMut<'_>| Ok::<_, ()>(room.copy_from(0, &frame));
            self.neighbour.put(frame.len(), put).unwrap().unwrap();
            self.neighbour.publish();
        }
        true
    }

    fn fill(&mut self, _: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        Err(NotNow)
    }

    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken> {
        self.memory.take(frame)
    }

    fn watch(&self, _: &mut Watch<'_>) -> Result<()> {
        Ok(())
    }

    fn woken(&mut self) {}
}

/// Turns until the edge has so many frames, or one waits.
struct Played(Jack<Meanwhile>, usize);

impl Driver for Played {
    fn cables(&mut self) -> impl Iterator<Item = &mut Cable> {
        self.0.cables.iter_mut()
    }

    fn turn(&mut self) -> Result<bool> {
        Ok(self.0.turn())
    }

    fn arm(&mut self) -> bool {
        false
    }

    fn over(&mut self) -> Option<u8> {
        (self.0.edge().memory.taken.len() == self.1 || self.0.holds_back()).then_some(0)
    }
}

#[test]
fn no_frame_of_a_recording_comes_before_its_audience() {
    let recorded = |head_start| {
        let mut frame = unfinished(100);
        set_head_start(&mut frame, head_start);
        frame
    };
    let live = recorded(std::time::Duration::ZERO);
    // What is to wait may come after what is not.
    for before in [0, 1, 5] {
        let lives = std::iter::repeat_n(live.clone(), before);
        let recording: VecDeque<_> = lives.chain([recorded(HEAD_START)]).collect();
        let (here, there) = shmring::pair(1 << 20, MAX_FRAME, FEATURES, ["here", "there"]).unwrap();
        let (neighbour, memory) = (there.tx.unwrap(), memory(FEATURES, [], 1000));
        let edge = Meanwhile { neighbour, recording, memory };
        let mut jack = Jack::new("test".into(), edge, vec![Cable::local(here, "test").unwrap()]);
        jack.audience = Audience::Awaited;
        let mut played = Played(jack, before + 1);
        let scratch = tempfile::tempdir().unwrap();
        let dir = RuntimeDir::at(&scratch.path().join("run")).unwrap();
        Switch::new(dir).unwrap().run(&mut played).unwrap();
        let taken = &played.0.edge().memory.taken;
        assert!(taken.iter().all(|frame| *frame == live), "a frame that was to wait was taken");
        assert_eq!(taken.len(), before);
    }
}

/// Has one frame each time it is asked, and counts before it is asked for more what the
/// neighbour has got of all.
struct Singles {
    neighbour: Rx,
    given: usize,
    got: usize,
    on_its_way: Vec<bool>,
}

impl Edge for Singles {
    fn features(&self) -> u64 {
        FEATURES
    }

    fn plugged(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn unplugged(&mut self) -> Result<()> {
        Ok(())
    }

    fn has_frames(&mut self) -> bool {
        true
    }

    fn has_room(&mut self) -> bool {
        true
    }

    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        if self.given == self.on_its_way.len() {
            self.given += 1;
            return Ok(room.copy_from(0, &unfinished(100)));
        }
        while self.neighbour.borrow().is_ok_and(|frame| frame.give(|_| (true, true))) {
            self.got += 1;
        }
        self.on_its_way.push(self.got == self.given);
        Err(NotNow)
    }

    fn take(&mut self, _: Bytes<'_>) -> Result<(), NotTaken> {
        Ok(())
    }

    fn watch(&self, _: &mut Watch<'_>) -> Result<()> {
        Ok(())
    }

    fn woken(&mut self) {}
}

#[test]
fn a_frame_that_comes_alone_is_on_its_way_before_it_is_asked_for_more() {
    let (here, there) = shmring::pair(1 << 20, MAX_FRAME, FEATURES, ["here", "there"]).unwrap();
    let neighbour = there.rx.unwrap();
    let edge = Singles { neighbour, given: 0, got: 0, on_its_way: Vec::new() };
    let mut jack = Jack::new("test".into(), edge, vec![Cable::local(here, "test").unwrap()]);
    jack.cables[0].on_time(&mut |_, _, _, _| Ok(())).unwrap();
    (0..4).for_each(|_| assert!(jack.turn()));
    // The first one is not known yet to be alone.
    assert_eq!(jack.edge().on_its_way, [false, true, true, true]);
}

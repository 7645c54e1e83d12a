//! What is written from where it lies and what is gathered first come out as one stream.

use std::os::unix::net::UnixStream;

use frames::{Framing, Unframer, VNET_LEN, push_frame};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::*;

/// Long and short ones in turn, each with bytes of its own.
fn frame(number: usize) -> Vec<u8> {
    let len = [60, 1500, 60_000, LONG, 300, 65_000][number % 6];
    let mut packet = vec![0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 8, 0];
    packet.extend((packet.len()..len).map(|at| (at * 7 + number) as u8));
    let mut frame = Vec::new();
    push_frame(&mut frame, &packet);
    frame
}

const FRAMES: usize = 300;

/// All frames, to a reader that takes them in pieces, slower than they come.
fn arrive(framing: Framing, output: OwnedFd, reader: OwnedFd) {
    let unused = UnixStream::pair().expect("socketpair").0;
    let coding = Coding::Framed(framing);
    let mut edge = StreamEdge::new("reader", coding, unused.into(), output).expect("an edge");
    let reads = std::thread::spawn(move || {
        let (mut unframer, mut number) = (Unframer::new(framing), 0);
        loop {
            while let Some(came) = unframer.next().expect("frames") {
                let sent = frame(number);
                let skip = if framing.has_vnet() { 0 } else { VNET_LEN };
                assert!(came == &sent[skip..], "frame {number}");
                number += 1;
            }
            let piece = 1 + number * 977 % 9000;
            let room = unframer.room();
            let piece = piece.min(room.len());
            match rustix::io::read(&reader, &mut room[..piece]).expect("read") {
                0 => return number,
                len => unframer.filled(len),
            }
        }
    });
    let wait = |edge: &mut StreamEdge| {
        let guests = edge.guests.as_fd();
        poll(&mut [PollFd::new(&guests, PollFlags::IN)], None).expect("poll");
        edge.woken();
    };
    for number in 0..FRAMES {
        let frame = frame(number);
        while edge.take(Bytes::of_slice(&frame)) == Err(NotTaken::NotNow) {
            wait(&mut edge);
        }
        if number % 5 == 0 {
            edge.taken(); // the end of a batch
        }
    }
    while !edge.close() {
        wait(&mut edge);
    }
    drop(edge);
    assert_eq!(reads.join().expect("the reader"), FRAMES);
}

#[test]
fn long_frames_and_short_ones_arrive_in_order_through_a_pipe() {
    for framing in [Framing::Frames, Framing::Qemu] {
        let (reader, output) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        rustix::io::ioctl_fionbio(&output, true).expect("non-blocking");
        fcntl_setpipe_size(&output, 1 << 16).expect("a small pipe");
        arrive(framing, output, reader);
    }
}

#[test]
fn long_frames_and_short_ones_arrive_in_order_through_a_socket() {
    for framing in [Framing::Frames, Framing::Qemu] {
        let (reader, output) = UnixStream::pair().expect("socketpair");
        arrive(framing, output.into(), reader.into());
    }
}

/// All frames, of a writer that writes them in pieces, so that some are there as a whole.
fn come(framing: Framing, input: OwnedFd, writer: OwnedFd) {
    let unused = UnixStream::pair().expect("socketpair").0;
    let coding = Coding::Framed(framing);
    let mut edge = StreamEdge::new("writer", coding, input, unused.into()).expect("an edge");
    let writes = std::thread::spawn(move || {
        let mut stream = Vec::new();
        for number in 0..FRAMES {
            let frame = &frame(number)[if framing.has_vnet() { 0 } else { VNET_LEN }..];
            stream.extend(&framing.prefix_of(frame.len())[..framing.prefix()]);
            stream.extend(frame);
        }
        let mut rest = &stream[..];
        for piece in [131_072, 65_554, 7, 300_000, 4096].into_iter().cycle() {
            let written = rustix::io::write(&writer, &rest[..piece.min(rest.len())]);
            rest = &rest[written.expect("write")..];
            if rest.is_empty() {
                break;
            }
        }
    });
    let mut memory = vec![0; frames::MAX_FRAME];
    for number in 0..FRAMES {
        let len = loop {
            match edge.fill(&mut BytesMut::of_slice(&mut memory)) {
                Ok(len) => break len,
                Err(NotNow) => {
                    let guests = edge.guests.as_fd();
                    poll(&mut [PollFd::new(&guests, PollFlags::IN)], None).expect("poll");
                    edge.woken();
                }
            }
        };
        assert!(memory[..len] == frame(number), "frame {number}");
    }
    writes.join().expect("the writer");
}

#[test]
fn long_frames_and_short_ones_come_in_order_through_a_pipe() {
    for framing in [Framing::Frames, Framing::Qemu] {
        let (input, writer) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        rustix::io::ioctl_fionbio(&input, true).expect("non-blocking");
        fcntl_setpipe_size(&input, 1 << 20).expect("a large pipe");
        come(framing, input, writer);
    }
}

#[test]
fn long_frames_and_short_ones_come_in_order_through_a_socket() {
    for framing in [Framing::Frames, Framing::Qemu] {
        let (input, writer) = UnixStream::pair().expect("socketpair");
        come(framing, input.into(), writer.into());
    }
}

//! Damaged captures and frames through decoder and segmenter: no panic, no unbounded
//! memory, no endless loop.
//!
//! `STDPKT_MUTATIONS=10000000 cargo test --release -p stdpkt-frames --test mutations` changes
//! so many bytes and makes so many frames; without it, fewer.

use std::time::Duration;

use frames::capture::{Decoder, Encoder, Format};
use frames::{MAX_FRAME, Packets, Pieces, VNET_LEN};

/// How much is damaged unless `STDPKT_MUTATIONS` says.
const USUAL: u64 = 100_000;
/// Bytes of memory that the process may have had at once.
const LIMIT: u64 = 600 << 20;

fn mutations() -> u64 {
    std::env::var("STDPKT_MUTATIONS").ok().and_then(|it| it.parse().ok()).unwrap_or(USUAL)
}

/// xorshift64*: the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

/// A TCP packet over IPv4 or IPv6 with so much payload.
fn packet(six: bool, payload: usize) -> Vec<u8> {
    use etherparse::PacketBuilder;
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut out = Vec::new();
    let bytes = vec![7; payload];
    let built = match six {
        true => link.ipv6([0xfd; 16], [0xfe; 16], 64).tcp(1, 2, 3, 4).write(&mut out, &bytes),
        false => {
            link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1, 2, 3, 4).write(&mut out, &bytes)
        }
    };
    built.expect("a vector takes all");
    out
}

fn seeds() -> Vec<Vec<u8>> {
    use std::io::Write;
    let formats = [
        Format::Pcap,
        Format::Pcapng,
        Format::Hex,
        Format::Hexdump { time: false },
        Format::Hexdump { time: true },
    ];
    let mut all: Vec<Vec<u8>> = formats
        .into_iter()
        .map(|format| {
            let mut out = Vec::new();
            Encoder(format).begin(&mut out);
            for n in 0..8 {
                let packet = packet(n % 2 == 1, n * 30);
                Encoder(format).packet(Duration::from_secs(n as u64), &packet, &mut out);
            }
            out
        })
        .collect();
    let pcap = all[0].clone();
    // Every magic number and link type, by way of the same packets.
    for magic in [0xa1b2_3c4d_u32, 0xa1b2_cd34, 0x1c00_01ac, 0xa1b2_c3d4] {
        for link in [0u32, 9, 50, 101, 113, 192, 239, 240, 274, 276, 285] {
            let mut other = pcap.clone();
            other[..4].copy_from_slice(&magic.to_le_bytes());
            other[20..24].copy_from_slice(&link.to_le_bytes());
            all.push(other);
        }
    }
    let mut framed = Vec::new();
    for n in 0..8 {
        let packet = packet(false, n * 30);
        framed.extend_from_slice(&((packet.len() + VNET_LEN) as u32).to_le_bytes());
        framed.extend_from_slice(&[0; VNET_LEN]);
        framed.extend_from_slice(&packet);
    }
    all.push(framed);
    for format in 0..2 {
        let plain = all[format].clone();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).expect("a vector takes all");
        all.push(gzip.finish().expect("a vector takes all"));
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        all.push(ruzstd::encoding::compress_to_vec(&plain[..], level));
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&plain).expect("a vector takes all");
        all.push(lz4.finish().expect("a vector takes all"));
    }
    all
}

/// The most memory that this process had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("VmHWM");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}

#[test]
fn damaged_captures() {
    let (seeds, mut dice) = (seeds(), Dice(0x5eed));
    let (mut damaged, mut frames, mut errors) = (0, 0u64, 0u64);
    while damaged < mutations() {
        let mut bytes = seeds[dice.roll(seeds.len())].clone();
        let count = 1 + dice.roll(16);
        for _ in 0..count {
            // Mostly in the first bytes, where headers are.
            let within = if dice.roll(3) == 0 { bytes.len() } else { bytes.len().min(160) };
            let at = dice.roll(within);
            bytes[at] = match dice.roll(4) {
                0 => 0,
                1 => 0xff,
                2 => bytes[at] ^ 1 << dice.roll(8),
                _ => dice.roll(256) as u8,
            };
        }
        damaged += count as u64;
        if dice.roll(8) == 0 {
            bytes.truncate(dice.roll(bytes.len()));
        }
        let mut decoder = Decoder::new("x");
        let mut frame = Vec::new();
        let mut here = 0;
        let piece = 1 + dice.roll(bytes.len());
        let mut pieces = bytes.chunks(piece);
        loop {
            match pieces.next() {
                Some(piece) => decoder.push(piece),
                None => decoder.end(),
            }
            let over = pieces.len() == 0 && decoder.is_empty();
            let result = loop {
                match decoder.next(&mut frame) {
                    Ok(true) => here += 1,
                    other => break other,
                }
                assert!(frame.len() <= MAX_FRAME && here < 1 << 20, "no end of {bytes:02x?}");
            };
            errors += u64::from(result.is_err());
            if result.is_err() || over {
                break;
            }
        }
        frames += here;
    }
    assert!(frames > 0 && errors > 0, "{frames} frames, {errors} errors");
    assert!(peak() < LIMIT, "{} bytes", peak());
}

/// Cuts a frame into pieces for so much room: each fits, and in a row their payloads are
/// the end of the frame. Whether it could be cut.
fn cut(frame: &[u8], room: usize) -> bool {
    let copy = |at: usize, out: &mut [u8]| {
        let there = frame.get(at..).unwrap_or_default();
        let n = out.len().min(there.len());
        out[..n].copy_from_slice(&there[..n]);
        n
    };
    let Some(mut pieces) = Pieces::of(frame.len(), copy) else { return false };
    let mut at = None;
    while !pieces.is_done() {
        let piece = pieces.next(room).expect("room for headers and some payload");
        assert!(!piece.payload.is_empty() && piece.headers.len() + piece.payload.len() <= room);
        assert!(at.is_none_or(|at| at == piece.payload.start));
        at = Some(piece.payload.end);
    }
    at.is_none_or(|at| at == frame.len())
}

#[test]
fn damaged_frames() {
    let mut dice = Dice(0xf4a3);
    let mut packets = Packets::default();
    let (mut whole, mut refused, mut in_pieces) = (0u64, 0u64, 0u64);
    let seeds: Vec<Vec<u8>> =
        [(false, 0), (false, 3000), (true, 3000), (false, 60_000), (true, 60_000)]
            .map(|(six, payload)| {
                let mut frame =
                    vec![1, if six { 4 } else { 1 }, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];
                frame.extend(packet(six, payload));
                frame
            })
            .to_vec();
    for n in 0..mutations() {
        // Large ones are slow, and few are enough.
        let seed = if n % 500 == 0 { dice.roll(5) } else { dice.roll(3) };
        let mut frame = seeds[seed].clone();
        for _ in 0..1 + dice.roll(6) {
            let at = dice.roll(frame.len().min(90));
            frame[at] = match dice.roll(3) {
                0 => 0,
                1 => 0xff,
                _ => dice.roll(256) as u8,
            };
        }
        if dice.roll(8) == 0 {
            frame.truncate(dice.roll(frame.len()));
        }
        let mut bytes = 0;
        match packets.each(&frame, |packet| bytes += packet.len()) {
            Ok(()) => whole += 1,
            Err(_) => refused += 1,
        }
        assert!(bytes <= 16 << 20, "{bytes} bytes of {:02x?}", &frame[..90.min(frame.len())]);
        in_pieces += u64::from(cut(&frame, 800 + dice.roll(2000)));
    }
    assert!(whole > 0 && refused > 0 && in_pieces > 0);
    assert!(peak() < LIMIT, "{} bytes", peak());
}

//! Devices between two guests in one process, driven as LKL drives them.

mod double;

use std::time::{Duration, Instant};

use double::{DEPTH, Fifos, Guest, PATIENCE, frame};
use lkl_netdev::{Config, Ends, Netdev};
use shmring::Channel;

const OFFLOAD: u32 = 0x8883;

fn config(channel: Channel) -> Config {
    Config { channel, ..Config::default() }
}

fn device(ifname: &str, config: Config) -> Guest {
    let ends = Ends::open(ifname).unwrap();
    Guest::add(Netdev::new(ends, OFFLOAD, config).unwrap().into_raw(), 4096)
}

fn pair(fifos: &Fifos, channel: Channel) -> (Guest, Guest) {
    let (left, right) = fifos.names();
    (device(&left, config(channel)), device(&right, config(channel)))
}

fn stream(from: &Guest, to: &Guest, numbers: std::ops::Range<u64>) {
    std::thread::scope(|scope| {
        scope.spawn(|| numbers.clone().for_each(|n| from.send(&frame(n))));
        for n in numbers.clone() {
            let got = to.recv();
            assert!(got == frame(n), "frame {n} of {} bytes", got.len());
        }
    });
}

#[test]
fn frames_cross_both_ways_whole_and_in_order() {
    for channel in [Channel::Shm, Channel::Fifo] {
        let fifos = Fifos::new();
        let (left, right) = pair(&fifos, channel);
        std::thread::scope(|scope| {
            scope.spawn(|| stream(&left, &right, 0..20_000));
            stream(&right, &left, 0..20_000);
        });
    }
}

/// LKL leaves anything in a field of the header that, in frames of a recording, says how
/// long they are held back.
#[test]
fn no_frame_of_a_guest_is_one_of_a_recording() {
    let fifos = Fifos::new();
    let (left, right) = pair(&fifos, Channel::Shm);
    let mut sent = frame(1);
    sent[frames::VNET_LEN - 2..frames::VNET_LEN].fill(0xff);
    left.send(&sent);
    let got = right.recv();
    assert_eq!(frames::recorded::head_start(got.first_chunk().unwrap()), Duration::ZERO);
    assert!(got[frames::VNET_LEN..] == frame(1)[frames::VNET_LEN..]);
}

#[test]
fn one_fifo_carries_a_link_both_ways() {
    let fifos = Fifos::new();
    let left = device(&fifos.a, config(Channel::Shm));
    let right = device(&fifos.a, config(Channel::Shm));
    stream(&left, &right, 0..100);
    stream(&right, &left, 0..100);
}

#[test]
fn frames_wait_for_the_neighbour_and_for_its_buffers() {
    let fifos = Fifos::new();
    let (one, other) = fifos.names();
    let left = device(&one, config(Channel::Shm));
    for n in 0..DEPTH as u64 {
        assert!(left.try_send(&frame(n)));
    }
    assert!(!left.try_send(&frame(0)), "nobody is there");
    let right = device(&other, config(Channel::Shm));
    (0..DEPTH as u64).for_each(|n| assert!(right.recv() == frame(n)));
    // A guest that posts no buffers: first the ring fills up, then the queue.
    right.refill(false);
    let mut sent = 0;
    let until = Instant::now() + PATIENCE;
    while left.backlog() < DEPTH {
        assert!(Instant::now() < until);
        sent += u64::from(left.try_send(&frame(sent)));
    }
    right.refill(true);
    (0..sent).for_each(|n| assert!(right.recv() == frame(n), "frame {n}"));
    stream(&left, &right, 0..1000);
}

#[test]
fn an_idle_device_does_not_run() {
    let fifos = Fifos::new();
    let (left, right) = pair(&fifos, Channel::Shm);
    stream(&left, &right, 0..100);
    std::thread::sleep(Duration::from_millis(100));
    let before = left.polls() + right.polls();
    std::thread::sleep(Duration::from_millis(300));
    assert!(left.polls() + right.polls() - before < 4);
}

#[test]
fn a_neighbour_that_left_is_replaced() {
    let fifos = Fifos::new();
    let (one, other) = fifos.names();
    let left = device(&one, config(Channel::Shm));
    for round in 0..20 {
        let right = device(&other, config(Channel::Shm));
        // What was sent before the new neighbour came is lost, as on a cable
        // without a plug; what it gets is in order from there on.
        let until = Instant::now() + PATIENCE;
        let got = loop {
            left.send(&frame(round));
            if let Some(got) = right.recv_for(Duration::from_millis(20)) {
                break got;
            }
            assert!(Instant::now() < until, "round {round}");
        };
        assert!(got == frame(round));
        right.send(&frame(round));
        assert!(left.recv() == frame(round));
        right.remove();
    }
}

#[test]
fn devices_are_removed_under_traffic() {
    for _ in 0..30 {
        let fifos = Fifos::new();
        let (left, right) = pair(&fifos, Channel::Shm);
        left.send(&frame(0));
        right.recv();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    left.try_send(&frame(n));
                    n += 1;
                }
            });
            right.recv();
            right.remove();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        left.remove();
    }
}

#[test]
fn a_flood_keeps_nobody_else_out() {
    let (fifos, apart) = (Fifos::new(), Fifos::new());
    let (left, right) = pair(&fifos, Channel::Shm);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let flood = || {
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            left.try_send(&frame(0));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(flood);
        scope.spawn(flood);
        right.recv();
        let late = device(&format!("{}|{}", apart.a, fifos.b), config(Channel::Shm));
        assert!(late.try_send(&frame(1)));
        let until = Instant::now() + PATIENCE;
        let heard = std::iter::from_fn(|| (Instant::now() < until).then(|| right.recv()))
            .any(|got| got == frame(1));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(heard, "the second writer of the fifo");
    });
}

/// A fork sends, removes and frees in vain: the ring has one producer.
#[test]
fn a_fork_keeps_away_from_the_ring() {
    if std::env::var_os("FORK_CHILD").is_none() {
        // Other tests run in this process at the same time: fork one of our own.
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_fork_keeps_away_from_the_ring", "--nocapture"])
            .env("FORK_CHILD", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches("is a fork").count(), 1, "{said}");
        return;
    }
    let fifos = Fifos::new();
    let (left, right) = pair(&fifos, Channel::Shm);
    stream(&left, &right, 0..100);
    let send_and_end = |guest: &Guest| {
        (0..1000).for_each(|n| guest.send(&frame(n + 5000)));
        guest.end_in_fork();
    };
    double::forked(|| {
        send_and_end(&left);
        send_and_end(&right);
    });
    stream(&left, &right, 100..2000);
    stream(&right, &left, 0..2000);
}

#[test]
fn two_devices_in_one_process_forward() {
    let (west, east) = (Fifos::new(), Fifos::new());
    let (left, inner_left) = pair(&west, Channel::Shm);
    let (right, inner_right) = pair(&east, Channel::Shm);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..5000).for_each(|_| inner_right.send(&inner_left.recv())));
        scope.spawn(|| (0..5000).for_each(|n| left.send(&frame(n))));
        (0..5000).for_each(|n| assert!(right.recv() == frame(n)));
    });
}

#[test]
fn a_tcp_frame_that_cannot_fit_is_cut_and_others_are_dropped() {
    let fifos = Fifos::new();
    let (one, other) = fifos.names();
    let left = device(&one, config(Channel::Shm));
    let ends = Ends::open(&other).unwrap();
    let right = Netdev::new(ends, OFFLOAD, config(Channel::Shm)).unwrap();
    // 19 buffers of 1536 bytes: 29 184 in all.
    let right = Guest::add(right.into_raw(), 1536);
    left.send(&vec![1; 40_000]);
    left.send(&tcp(40_000, 1448));
    left.send(&frame(1));
    let (first, second) = (right.recv(), right.recv());
    assert_eq!(first.len() + second.len(), 40_000 + 2 * TCP_HEADERS);
    assert!(right.recv() == frame(1));
}

#[test]
fn no_frame_in_a_chain_has_more_bytes_than_lkl_counts() {
    let fifos = Fifos::new();
    let (one, other) = fifos.names();
    let offload = OFFLOAD & !(1 << 15);
    let add = |name: &str| {
        let ends = Ends::open(name).unwrap();
        let device = Netdev::new(ends, offload, config(Channel::Shm)).unwrap();
        Guest::add_chained(device.into_raw())
    };
    let (left, right) = (add(&one), add(&other));
    // What Linux sends at an MTU of 65500 while the window is small: two segments of half.
    let tso = tcp(65_480, 32_740);
    assert!(tso.len() > 65_535);
    left.send(&tso);
    left.send(&vec![1; 65_536]);
    left.send(&vec![1; 65_535]);
    left.send(&frame(1));
    let halves = [right.recv().len(), right.recv().len()];
    assert_eq!(halves, [32_740 + TCP_HEADERS; 2]);
    assert_eq!(right.recv().len(), 65_535, "the one before is dropped");
    assert!(right.recv() == frame(1));
}

/// Bytes before the payload.
const TCP_HEADERS: usize = 12 + 14 + 20 + 20;

/// A frame of TCP whose segments are to have so many bytes.
fn tcp(payload: usize, segment: u16) -> Vec<u8> {
    let mut tcp = vec![1, 1, 0, 0];
    tcp.extend(segment.to_le_bytes());
    tcp.extend([0; 6 + 12]);
    tcp.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    tcp.extend([0; 12]);
    tcp.extend([0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    assert_eq!(tcp.len(), TCP_HEADERS);
    tcp.resize(TCP_HEADERS + payload, 7);
    tcp
}

/// The descriptors of a pipe, the reading end first, and the name of one of them.
fn pipe() -> (std::fs::File, std::fs::File, impl Fn(&std::fs::File) -> String) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let name = |end: &std::fs::File| format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(end));
    (read.into(), write.into(), name)
}

/// A complete UDP datagram in a frame, as it leaves a device and comes back.
fn datagram(n: u64) -> Vec<u8> {
    let mut frame = vec![0; frames::VNET_LEN];
    etherparse::PacketBuilder::ethernet2([2; 6], [6; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1, 2)
        .write(&mut frame, &n.to_be_bytes())
        .unwrap();
    frame
}

/// Bytes after the vnet header, which may say that checksums are right.
fn packet(frame: &[u8]) -> &[u8] {
    &frame[frames::VNET_LEN..]
}

#[test]
fn an_unaware_neighbour_gets_and_gives_a_capture() {
    use std::io::{Read, Write};
    let (rx, mut to, name) = pipe();
    let (mut from, tx, _) = pipe();
    let guest = device(&format!("{}|{}", name(&rx), name(&tx)), config(Channel::Shm));
    // Pass the capture on as it comes: what goes out comes back.
    let mut seen: Vec<u8> = Vec::new();
    let mut bytes = [0; 4096];
    for n in 0..100 {
        guest.send(&datagram(n));
        let heard = loop {
            if let Some(heard) = guest.recv_for(Duration::from_millis(1)) {
                break heard;
            }
            if rustix::io::ioctl_fionread(&from).unwrap() > 0 {
                let count = from.read(&mut bytes).unwrap();
                seen.extend(&bytes[..count]);
                to.write_all(&bytes[..count]).unwrap();
            }
        };
        assert_eq!(packet(&heard), packet(&datagram(n)));
    }
    assert_eq!(seen[..4], 0xa1b2_c3d4u32.to_le_bytes(), "no pcap");
    // What is no frame ends the link, and nothing worse.
    to.write_all(&[0xff; 100_000]).unwrap();
    assert!(guest.recv_for(Duration::from_millis(100)).is_none());
}

/// A reader that comes late takes the capture that is in the pipe, then joins by ring.
#[test]
fn a_late_device_takes_what_is_in_the_pipe_and_goes_on_by_ring() {
    let (rx, tx, name) = pipe();
    let (none, back, _) = pipe();
    let early = device(&format!("{}|{}", name(&none), name(&tx)), config(Channel::Shm));
    for n in 0..50 {
        early.send(&datagram(n));
    }
    let until = Instant::now() + PATIENCE;
    while rustix::io::ioctl_fionread(&rx).unwrap() == 0 {
        assert!(Instant::now() < until, "no capture in the pipe");
        std::thread::sleep(Duration::from_millis(10));
    }
    let late = device(&format!("{}|{}", name(&rx), name(&back)), config(Channel::Shm));
    for n in 50..5000 {
        early.send(&datagram(n));
    }
    for n in 0..5000 {
        assert_eq!(packet(&late.recv()), packet(&datagram(n)), "{n}");
    }
}

#[test]
fn a_thousand_devices_leave_nothing_behind() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests run in this process at the same time: look in one of our own.
    if std::env::var_os("LEAK_CHILD").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_thousand_devices_leave_nothing_behind", "--nocapture"])
            .env("LEAK_CHILD", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let fifos = Fifos::new();
    // What a process has once, for `stdpkt ls`.
    drop(pair(&fifos, Channel::Shm));
    let before = count();
    for round in 0..1000 {
        let (left, right) = pair(&fifos, Channel::Shm);
        if round % 10 == 0 {
            left.send(&frame(round));
            assert!(right.recv() == frame(round));
        }
    }
    assert_eq!(count(), before);
}

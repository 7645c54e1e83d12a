//! Devices that begin with the links of another function. One test: a process takes over once.

mod double;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use double::{Guest, PATIENCE, frame};
use lkl_netdev::{Config, Ends, Netdev, up};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use shmring::handover::{Giving, Handed, Outcome, socket_pair};
use shmring::{Link, PipeEnd};

const OFFLOAD: u32 = 0x8883;

/// The next message.
fn heard(socket: &OwnedFd) -> String {
    let until = Timespec::try_from(PATIENCE).unwrap();
    assert_eq!(poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&until)), Ok(1));
    let mut bytes = [0; 256];
    let (_, len) = recv(socket, &mut bytes, RecvFlags::DONTWAIT).unwrap();
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

fn put(link: &mut Link, number: u64) {
    let (tx, frame) = (link.tx.as_mut().unwrap(), frame(number));
    let sent = tx.put(frame.len(), |room| {
        room.copy_from(0, &frame);
        Ok::<_, ()>(frame.len())
    });
    assert!(matches!(sent, Ok(Ok(()))));
    tx.publish();
}

fn get(link: &mut Link) -> Vec<u8> {
    let (rx, until) = (link.rx.as_mut().unwrap(), Instant::now() + PATIENCE);
    loop {
        match rx.take(|bytes| (true, bytes.to_vec())) {
            Ok(frame) => return frame,
            Err(error) => assert_eq!(error, shmring::RecvError::Empty),
        }
        assert!(Instant::now() < until, "no frame came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_devices_go_on_where_another_function_stopped() {
    let (run, theirs) = socket_pair().unwrap();
    let (old, connection) = socket_pair().unwrap();
    let heir = Some([theirs.as_raw_fd(), connection.as_raw_fd()]);
    let (mut guests, mut ours, mut far, mut writers) = (vec![], vec![], vec![], vec![]);
    for label in ["left", "right"] {
        let (here, there) =
            shmring::pair(1 << 20, frames::MAX_FRAME, frames::FEATURES, [label; 2]).unwrap();
        let (read, write) = std::io::pipe().unwrap();
        let end = PipeEnd::new(read, label).unwrap();
        let name = format!("/dev/fd/{}", end.as_fd().as_raw_fd());
        let config = Config { heir, ..Config::default() };
        let device = Netdev::new(Ends::open(&name).unwrap(), OFFLOAD, config).unwrap();
        guests.push(Guest::add(device.into_raw(), 4096));
        ours.push(Handed { link: here, pipe: end.id() });
        far.push(there);
        writers.push((write, end));
    }
    // Frames wait on both sides, of which the old function has taken one.
    for (at, far) in far.iter_mut().enumerate() {
        (0..20).for_each(|n| put(far, n));
        assert!(get(&mut ours[at].link) == frame(0));
        assert!(guests[at].try_send(&frame(100)));
    }
    up();
    assert_eq!(heard(&run), "up");
    assert!(guests.iter().all(|guest| guest.recv_for(Duration::from_millis(50)).is_none()));
    // The order of the links is not that of the devices.
    ours.reverse();
    let Ok(mut giving) = Giving::start(old, ours) else { panic!("it is not possible") };
    send(&run, b"go", SendFlags::empty()).unwrap();
    shutdown(&run, Shutdown::Write).unwrap();
    assert_eq!(heard(&run), "taken");
    let until = Instant::now() + PATIENCE;
    loop {
        giving = match giving.poll() {
            Ok(Outcome::Taken(_)) => break,
            Ok(Outcome::Back(_, why)) => panic!("{why}"),
            Err(giving) => giving,
        };
        assert!(Instant::now() < until);
    }
    assert_eq!([heard(&run), heard(&run)], ["here", "here"]);
    for (guest, far) in guests.iter().zip(&mut far) {
        (1..20).for_each(|n| assert!(guest.recv() == frame(n), "frame {n}"));
        assert!(get(far) == frame(100));
        put(far, 20);
        assert!(guest.recv() == frame(20));
    }
    // The neighbour of one ends, and nobody else is on that pipe.
    drop((far.pop(), writers.pop()));
    assert_eq!(heard(&run), "gone");
}

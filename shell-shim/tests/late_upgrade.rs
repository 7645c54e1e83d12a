//! A reader that knows of rings turns up while the writer already sends a
//! capture through the pipe: every frame arrives once and in order.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use cable::{Cable, CablePlan, Fallback, Sender};
use shell_shim::filters::{Work, offer, run_within};
use shmring::{Channel, Offer, PipeEnd, RecvError, RuntimeDir, SendError};

const FRAMES: u32 = 400;

/// A small generator, so that a failure can be told by its seed.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }

    fn pause(&mut self, micros: u64) {
        std::thread::sleep(Duration::from_micros(self.below(micros)));
    }
}

struct Writer {
    dice: Dice,
    next: u32,
}

impl Work for Writer {
    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool> {
        let mut busy = false;
        for _ in 0..self.dice.below(40) {
            let Some(tx) = cables[0].sender() else { break };
            if self.next == FRAMES {
                break;
            }
            let len = 30 + self.dice.below(3000) as usize;
            let sent = tx.put(len, |room| {
                room.copy_from(0, &vec![0; len]);
                room.copy_from(26, &self.next.to_le_bytes());
                Ok::<_, ()>(len)
            });
            match sent {
                Ok(_) => self.next += 1,
                Err(SendError::Full) => break,
                Err(error) => panic!("frame {}: {error}", self.next),
            }
            busy = true;
        }
        if let Some(tx) = cables[0].sender() {
            tx.publish();
        }
        if self.dice.below(4) == 0 {
            self.dice.pause(300);
        }
        Ok(busy)
    }

    fn arm(&mut self, cables: &mut [Cable]) -> bool {
        self.next == FRAMES || cables[0].sender().is_none_or(Sender::arm)
    }

    fn is_over(&self, _cables: &[Cable]) -> bool {
        self.next == FRAMES
    }
}

struct Reader {
    next: u32,
    over_link: u32,
}

impl Work for Reader {
    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool> {
        let mut busy = false;
        cables[0].retain(|joined| {
            let Some(rx) = &mut joined.rx else { return true };
            loop {
                let stream = rx.as_stream().is_some();
                let received = rx.receive(|bytes| {
                    let mut number = [0; 4];
                    assert_eq!(bytes.copy_to(26, &mut number), 4);
                    (true, u32::from_le_bytes(number))
                });
                match received {
                    Ok(number) => {
                        assert_eq!(number, self.next, "out of order");
                        self.next += 1;
                        self.over_link += u32::from(!stream);
                        busy = true;
                    }
                    Err(RecvError::Empty) => break,
                    Err(_) => {
                        assert_eq!(rx.as_stream().and_then(|stream| stream.error()), None);
                        return false;
                    }
                }
            }
            rx.return_room();
            true
        });
        Ok(busy)
    }

    fn arm(&mut self, cables: &mut [Cable]) -> bool {
        cables[0].links().filter_map(|joined| joined.rx.as_mut()).all(|rx| rx.arm())
    }
}

fn plan(fd: impl Into<OwnedFd>, channel: Channel) -> CablePlan {
    CablePlan {
        end: PipeEnd::new(fd, "a pipe").unwrap().into(),
        offer: Offer { channel, ..offer("test") },
        vital: true,
        expects_both_ways: true,
        fallback: Fallback::AtOnce,
    }
}

/// Returns how many frames came over a link, the others through the pipe.
fn once(seed: u64, channel: Channel) -> u32 {
    let scratch = tempfile::tempdir().unwrap();
    let dir = RuntimeDir::at(&scratch.path().join("run")).unwrap();
    let (read, write) = std::io::pipe().unwrap();
    let mut dice = Dice(seed);
    let writer = {
        let (dir, dice) = (dir.clone(), dice.clone());
        std::thread::spawn(move || {
            let mut writer = Writer { dice, next: 0 };
            run_within(dir, vec![plan(write, channel)], None, &mut writer).unwrap();
        })
    };
    dice.pause(8000);
    let mut reader = Reader { next: 0, over_link: 0 };
    run_within(dir, vec![plan(read, Channel::Shm)], None, &mut reader).unwrap();
    writer.join().unwrap();
    assert_eq!(reader.next, FRAMES, "seed {seed}: frames are missing");
    reader.over_link
}

fn many(channel: Channel) {
    let rounds = std::env::var("STDPKT_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let (mut moved, mut pure) = (0, 0);
    for _ in 0..rounds {
        let seed = RandomState::new().hash_one(0);
        println!("seed {seed}"); // shown when the test fails
        match once(seed, channel) {
            0 => pure += 1,
            n if n < FRAMES => moved += 1,
            _ => {}
        }
    }
    println!("{rounds} rounds: {moved} moved from pipe to link in between, {pure} pipe only");
    assert!(moved > 0, "no round put the move to the test");
}

#[test]
fn a_late_reader_gets_every_frame_once_and_in_order() {
    many(Channel::Shm);
}

#[test]
fn likewise_if_the_link_goes_through_the_same_pipe() {
    many(Channel::Fifo);
}

//! iceoryx2: samples in shared memory, in place; either busy, or an event for
//! each sample on which the receiver sleeps.

use anyhow::{Result, anyhow};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use stdpkt_benches::harness::frames::{Checker, Source};
use stdpkt_benches::harness::{Ends, Far, Kind, Receiver, Sender, Setup};

pub fn kinds() -> [Kind; 2] {
    let kind =
        |name, busy_polls, near, far| Kind { name, busy_polls, max_frame: usize::MAX, near, far };
    [
        kind("iceoryx2 (poll)", true, |setup| near(setup, false), |setup, _| far(setup, false)),
        kind("iceoryx2 (event)", false, |setup| near(setup, true), |setup, _| far(setup, true)),
    ]
}

type Made = (stdpkt_benches::harness::Near, Far);

fn near(setup: &Setup, events: bool) -> Result<Made> {
    let ends = ends(setup, events, "there", "back")?;
    Ok((Box::new(move || Ok(ends)), Far::Process(vec![])))
}

fn far(setup: &Setup, events: bool) -> Result<Ends> {
    ends(setup, events, "back", "there")
}

/// Samples on their way at most.
const BUFFER: usize = 64;

fn ends(setup: &Setup, events: bool, tx: &str, rx: &str) -> Result<Ends> {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<ipc::Service>().map_err(|e| anyhow!("{e:?}"))?;
    let name = |way: &str| format!("{}/{way}", setup.dir.display());
    let samples = |way: &str| {
        node.service_builder(&name(way).as_str().try_into().map_err(|e| anyhow!("{e:?}"))?)
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            .subscriber_max_buffer_size(BUFFER)
            .open_or_create()
            .map_err(|e| anyhow!("{e:?}"))
    };
    let bell = |way: &str| {
        let name = format!("{}/bell", name(way));
        node.service_builder(&name.as_str().try_into().map_err(|e| anyhow!("{e:?}"))?)
            .event()
            .open_or_create()
            .map_err(|e| anyhow!("{e:?}"))
    };
    let publisher = samples(tx)?
        .publisher_builder()
        .initial_max_slice_len(setup.max_frame)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .map_err(|e| anyhow!("{e:?}"))?;
    let subscriber = samples(rx)?.subscriber_builder().create().map_err(|e| anyhow!("{e:?}"))?;
    let (mut notifier, mut listener) = (None, None);
    if events {
        let made = bell(tx)?.notifier_builder().create();
        notifier = Some(made.map_err(|e| anyhow!("{e:?}"))?);
        let made = bell(rx)?.listener_builder().create();
        listener = Some(made.map_err(|e| anyhow!("{e:?}"))?);
    }
    Ok(Ends {
        tx: Box::new(Tx { publisher, notifier, _node: node }),
        rx: Box::new(Rx { subscriber, listener }),
    })
}

struct Tx {
    publisher: Publisher<ipc::Service, [u8], ()>,
    notifier: Option<Notifier<ipc::Service>>,
    _node: Node<ipc::Service>,
}

impl Sender for Tx {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        for _ in 0..count {
            let frame = source.next();
            let room = self.publisher.loan_slice_uninit(frame.len());
            let room = room.map_err(|e| anyhow!("{e:?}"))?;
            room.write_from_slice(frame).send().map_err(|e| anyhow!("{e:?}"))?;
            if let Some(notifier) = &self.notifier {
                notifier.notify().map_err(|e| anyhow!("{e:?}"))?;
            }
        }
        Ok(())
    }
}

struct Rx {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    listener: Option<Listener<ipc::Service>>,
}

impl Receiver for Rx {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        let mut left = count;
        while left > 0 {
            match self.subscriber.receive().map_err(|e| anyhow!("{e:?}"))? {
                Some(sample) => {
                    checker.check(&sample.payload())?;
                    left -= 1;
                }
                None => match &self.listener {
                    Some(listener) => {
                        listener.blocking_wait(|_| ()).map_err(|e| anyhow!("{e:?}"))?;
                    }
                    None => std::hint::spin_loop(),
                },
            }
        }
        Ok(())
    }
}

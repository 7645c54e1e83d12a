//! ipc-channel: messages of bytes over Unix sockets, large ones over shared
//! memory made for each; sleeps.

use anyhow::{Context, Result, anyhow};
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender};
use stdpkt_benches::harness::frames::{Checker, Source};
use stdpkt_benches::harness::{Ends, Far, Kind, Receiver, Sender};

type Halves = (IpcBytesSender, IpcBytesReceiver);

pub fn kind() -> Kind {
    Kind {
        name: "ipc-channel",
        busy_polls: false,
        max_frame: usize::MAX,
        near: |setup| {
            let (server, name) = IpcOneShotServer::<Halves>::new()?;
            std::fs::write(setup.dir.join("name"), name)?;
            let near = move || {
                let (_, (tx, rx)) = server.accept().map_err(|error| anyhow!("{error:?}"))?;
                Ok(ends(tx, rx))
            };
            Ok((Box::new(near), Far::Process(vec![])))
        },
        far: |setup, _| {
            let name = std::fs::read_to_string(setup.dir.join("name")).context("name")?;
            let (near_tx, far_rx) = ipc::bytes_channel()?;
            let (far_tx, near_rx) = ipc::bytes_channel()?;
            let server: IpcSender<Halves> = IpcSender::connect(name)?;
            server.send((near_tx, near_rx)).map_err(|error| anyhow!("{error:?}"))?;
            Ok(ends(far_tx, far_rx))
        },
    }
}

fn ends(tx: IpcBytesSender, rx: IpcBytesReceiver) -> Ends {
    Ends { tx: Box::new(Tx(tx)), rx: Box::new(Rx(rx)) }
}

struct Tx(IpcBytesSender);

impl Sender for Tx {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        for _ in 0..count {
            self.0.send(source.next())?;
        }
        Ok(())
    }
}

struct Rx(IpcBytesReceiver);

impl Receiver for Rx {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        for _ in 0..count {
            let frame = self.0.recv().map_err(|error| anyhow!("{error:?}"))?;
            checker.check(&&frame[..])?;
        }
        Ok(())
    }
}

//! Byte streams before rings: each side's part in the move from one to the other.

use anyhow::Result;
use rustix::io::Errno;
use shmring::{Event, LinkError, PROLOGUE, Rendezvous, Role, StreamOut, Tx};

use super::{Cable, Fallback, Wake};
use crate::half::{Joined, Receiver};
use crate::neighbour::Kind;
use crate::stream_rx::StreamRx;
use crate::stream_tx::StreamTx;

/// What becomes of the byte stream that goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    /// It flows, if there is one.
    Free,
    /// It begins when the reader that was greeted already goes away again.
    Waits(Kind),
    /// A reader came: it stops with the packet that is being written.
    Stops,
    /// The reader was greeted: nothing is written until it answers.
    Stopped,
}

impl Cable {
    /// Something happened on the way to a link.
    pub(super) fn on_event(&mut self, event: Event, wake: &mut Wake<'_>) -> Result<()> {
        match event {
            Event::Link(link) => return self.join(link, wake),
            Event::Trouble(error) => say::note!("{error}"),
            Event::Bytes if self.is_up() => {}
            Event::Bytes => return self.read_bytes(wake),
            Event::WriterStopped(bytes) => {
                if self.stream_in().is_none() && !bytes.is_empty() {
                    self.read_bytes(wake)?;
                }
                if let Some(stream) = self.stream_in() {
                    stream.push(&bytes);
                    stream.hold(true);
                }
            }
            Event::ReaderCame => match self.out {
                Out::Waits(kind) => {
                    if !self.ask()? {
                        return self.begin_stream(kind, wake);
                    }
                }
                _ => self.hold_out(Out::Stops),
            },
            Event::Retracted => {
                if let Out::Waits(kind) = self.out {
                    return self.begin_stream(kind, wake);
                }
                self.hold_out(Out::Free);
                if let Some(stream) = self.stream_in() {
                    stream.hold(false);
                }
            }
        }
        Ok(())
    }

    /// Sends frames as a capture through the pipe itself, until a neighbour
    /// turns up that knows of rings.
    pub(super) fn begin_stream(&mut self, reader: Kind, wake: &mut Wake<'_>) -> Result<()> {
        let Some(rendezvous) = &mut self.rendezvous else { return Ok(()) };
        if !rendezvous.hold() {
            self.out = Out::Waits(reader);
            return Ok(());
        }
        self.out = Out::Free;
        let pipe = match rendezvous.end().reopen_to_write() {
            Ok(pipe) => pipe,
            // The last reader has just gone; the rendezvous will say so.
            Err(LinkError::System { errno: Errno::NXIO, .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let stream = Tx::Stream(Box::new(StreamTx::new(pipe, self.what(), 0)?));
        self.keep_to_rings();
        self.notice.sends_capture(reader);
        self.add(Joined::new(Some(stream), None), wake)
    }

    /// Whether the beginning of a capture went through a socket, and nothing else yet.
    pub(super) fn has_prologue(&self) -> bool {
        let end = self.rendezvous.as_ref().map(Rendezvous::end);
        self.fallback != Fallback::Never
            && self.links.is_empty()
            && end.is_some_and(|end| end.is_socket() && end.role() == Role::Writer)
    }

    /// Sends frames as the rest of that capture. `false` if the reader did not take
    /// the beginning but went away.
    pub(super) fn stream_on(&mut self, wake: &mut Wake<'_>) -> Result<bool> {
        let Some(rendezvous) = self.rendezvous.take() else { return Ok(false) };
        let pipe = rendezvous.end().reopen_to_write()?;
        let stream = StreamTx::new(pipe, self.what(), PROLOGUE.len())?;
        if stream.is_closed() {
            return Ok(false);
        }
        let tx = Some(Tx::Stream(Box::new(stream)));
        self.notice.sends_capture(Kind::Other);
        self.add(Joined::new(tx, None), wake)?;
        Ok(true)
    }

    /// Takes bytes in the pipe for a capture.
    fn read_bytes(&mut self, wake: &mut Wake<'_>) -> Result<()> {
        let Some(rendezvous) = &self.rendezvous else { return Ok(()) };
        let stream = StreamRx::new(rendezvous.end().reopen_to_read()?, self.what());
        self.keep_to_rings();
        self.notice.receives_capture();
        self.add(Joined::new(None, Some(Receiver::capture(stream))), wake)
    }

    /// Ends the byte streams, since there is a link; what came in is still to be taken.
    pub(super) fn end_streams(&mut self) -> Option<Receiver> {
        self.out = Out::Free;
        let mut ended = None;
        self.links.retain_mut(|(_, joined)| {
            joined.tx.take_if(|tx| tx.stream::<StreamTx>().is_some());
            ended = joined.rx.take_if(|rx| rx.is_stream()).or(ended.take());
            joined.is_alive()
        });
        if let Some(stream) = ended.as_mut().and_then(Receiver::as_stream_mut) {
            stream.finish();
        }
        ended
    }

    pub(super) fn stream_out(&mut self) -> Option<&mut StreamTx> {
        self.links().find_map(|joined| joined.tx.as_mut()?.stream_mut())
    }

    fn stream_in(&mut self) -> Option<&mut StreamRx> {
        self.links().find_map(|joined| joined.rx.as_mut()?.as_stream_mut())
    }

    fn hold_out(&mut self, out: Out) {
        self.out = out;
        if let Some(stream) = self.stream_out() {
            stream.hold(out != Out::Free);
        }
    }

    /// Greets the reader that came, if the last packet is written.
    pub(super) fn greet(&mut self) {
        if self.out != Out::Stops || !self.stream_out().is_none_or(StreamTx::flush) {
            return;
        }
        match self.ask() {
            Ok(true) => self.hold_out(Out::Stopped),
            Ok(false) => self.hold_out(Out::Free),
            Err(error) => {
                say::error!("{error}");
                self.rendezvous = None;
                self.hold_out(Out::Free);
            }
        }
    }

    /// Greets the reader; `false` when it went away.
    fn ask(&mut self) -> Result<bool, LinkError> {
        self.rendezvous.as_mut().map_or(Ok(false), Rendezvous::greet)
    }
}

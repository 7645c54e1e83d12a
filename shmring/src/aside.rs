//! Half of a link whose frames cross elsewhere: all that comes of it is the news that the
//! neighbour has ended.

use std::os::fd::{AsFd, BorrowedFd};

use crate::bell::Waiter;
use crate::board::Meter;
use crate::error::{RecvError, SendError};
use crate::slot::{Bytes, BytesMut};
use crate::stream::{ByteStream, StreamIn, StreamOut};

/// Either half of a link of [`Channel::Aside`](crate::Channel::Aside).
pub struct Aside {
    waiter: Waiter,
    max_frame: usize,
    meter: Meter,
}

impl Aside {
    pub(crate) fn new(waiter: Waiter, max_frame: usize) -> Aside {
        Aside { waiter, max_frame, meter: Meter::default() }
    }
}

impl ByteStream for Aside {
    fn arm(&mut self) -> bool {
        !self.waiter.hung_up()
    }

    fn woken(&mut self) -> std::io::Result<()> {
        Ok(self.waiter.clear()?)
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn meter_mut(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn pipe(&self) -> BorrowedFd<'_> {
        self.waiter.fds().socket.as_fd()
    }
}

impl StreamOut for Aside {
    fn reserve(&mut self, _: usize) -> Result<(), SendError> {
        Err(if self.is_closed() { SendError::Closed } else { SendError::Full })
    }

    fn room(&mut self, _: usize) -> BytesMut<'_> {
        BytesMut::of_slice(&mut [])
    }

    fn commit(&mut self, _: usize) {}

    fn is_flushed(&mut self) -> bool {
        true
    }

    fn is_closed(&self) -> bool {
        self.waiter.hung_up()
    }

    fn max_frame(&self) -> usize {
        self.max_frame
    }
}

impl StreamIn for Aside {
    fn next_len(&mut self) -> Result<usize, RecvError> {
        Err(if self.waiter.hung_up() { RecvError::Ended } else { RecvError::Empty })
    }

    fn frame(&self) -> Bytes<'_> {
        Bytes::of_slice(&[])
    }

    fn release(&mut self) {}
}

impl AsFd for Aside {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiter.as_fd()
    }
}

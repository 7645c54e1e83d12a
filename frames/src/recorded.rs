//! Frames of a recording wait for those who are to see them.
//!
//! Who plays a recording writes into each frame how long after the start of a
//! function's CMD it may arrive, and the function holds it back until then. That
//! stands in `num_buffers` of the virtio-net header, which means nothing on a link or a
//! TAP, so filters between pass it on. Others leave anything in that field (a guest's
//! driver what was in its memory), so a bit of the flags that virtio has no use for says
//! whether it counts.

use std::time::Duration;

use crate::VNET_LEN;
use crate::vnet::RECORDED;

/// Long enough for most programs to begin to listen.
pub const HEAD_START: Duration = Duration::from_millis(500);
/// The longest that can be written.
pub const MAX_HEAD_START: Duration = TICK.saturating_mul(u16::MAX as u32);

const TICK: Duration = Duration::from_millis(10);
/// Where it stands in a frame.
const AT: std::ops::Range<usize> = VNET_LEN - 2..VNET_LEN;

/// Writes a head start into a frame, or takes it out if it is zero.
pub fn set_head_start(frame: &mut [u8], head_start: Duration) {
    let ticks = head_start.as_millis().div_ceil(TICK.as_millis());
    let ticks = u16::try_from(ticks).unwrap_or(u16::MAX);
    if let Some(header) = frame.first_chunk_mut::<VNET_LEN>() {
        header[0] &= !RECORDED;
        header[0] |= if ticks > 0 { RECORDED } else { 0 };
        header[AT].copy_from_slice(&ticks.to_le_bytes());
    }
}

/// The head start in a virtio-net header; zero for frames of no recording.
pub fn head_start(header: &[u8; VNET_LEN]) -> Duration {
    if header[0] & RECORDED == 0 {
        return Duration::ZERO;
    }
    TICK * u32::from(u16::from_le_bytes([header[AT.start], header[AT.start + 1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut frame = [0; 40];
        assert_eq!(head_start(frame.first_chunk().unwrap()), Duration::ZERO);
        for wish in [HEAD_START, MAX_HEAD_START, Duration::ZERO, Duration::from_secs(30)] {
            set_head_start(&mut frame, wish);
            assert_eq!(head_start(frame.first_chunk().unwrap()), wish);
        }
        set_head_start(&mut frame, Duration::MAX);
        assert_eq!(head_start(frame.first_chunk().unwrap()), MAX_HEAD_START);
        assert_eq!(frame[VNET_LEN..], [0; 28]);
    }

    #[test]
    fn what_others_leave_in_that_field_is_no_head_start() {
        let mut frame = [0; 40];
        for flags in 0..RECORDED {
            frame[0] = flags;
            frame[AT].fill(0xff);
            assert_eq!(head_start(frame.first_chunk().unwrap()), Duration::ZERO);
            // A frame of theirs that is recorded and played keeps its flags.
            set_head_start(&mut frame, HEAD_START);
            assert_eq!(head_start(frame.first_chunk().unwrap()), HEAD_START);
            set_head_start(&mut frame, Duration::ZERO);
            assert_eq!(frame[0], flags);
        }
    }
}

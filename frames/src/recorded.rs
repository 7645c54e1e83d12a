//! Frames of a recording wait for those who are to see them.
//!
//! Who plays a recording writes into each frame how long after the start of a
//! function's CMD it may arrive, and the function holds it back until then. That
//! stands in `num_buffers` of the virtio-net header, which means nothing on a link or a
//! TAP, so filters between pass it on.

use std::time::Duration;

use crate::VNET_LEN;

/// Long enough for most programs to begin to listen.
pub const HEAD_START: Duration = Duration::from_millis(500);
/// The longest that can be written.
pub const MAX_HEAD_START: Duration = TICK.saturating_mul(u16::MAX as u32);

const TICK: Duration = Duration::from_millis(10);
/// Where it stands in a frame.
pub const AT: std::ops::Range<usize> = VNET_LEN - 2..VNET_LEN;

/// Writes a head start into a frame.
pub fn set_head_start(frame: &mut [u8], head_start: Duration) {
    let ticks = head_start.as_millis().div_ceil(TICK.as_millis());
    let ticks = u16::try_from(ticks).unwrap_or(u16::MAX);
    if let Some(place) = frame.get_mut(AT) {
        place.copy_from_slice(&ticks.to_le_bytes());
    }
}

/// The head start in a virtio-net header; zero for frames of no recording.
pub fn head_start(header: &[u8; VNET_LEN]) -> Duration {
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
}

//! How large a ring is where nobody said.

use std::fs;
use std::sync::OnceLock;

use crate::layout::record_len;

/// Where Linux tells how large the second-level cache of a processor is, as `2048K`.
const CACHE: &str = "/sys/devices/system/cpu/cpu0/cache/index2/size";

/// So many rings has a function between two neighbours.
const RINGS: usize = 4;

/// So many of the longest frames fit at least: with fewer the two sides take turns, since
/// each works on a part of the ring.
const FRAMES: usize = 4;

/// At most, however large the cache.
const MOST: usize = 1 << 20;

/// Bytes of ring for frames of up to `max_frame` bytes, before they are rounded up: the rings of a
/// function fit in the cache next to its processor, from where a frame that
/// has just been written is read for the least.
pub(crate) fn suited(max_frame: usize) -> usize {
    static CACHED: OnceLock<usize> = OnceLock::new();
    let cache = *CACHED.get_or_init(|| {
        fs::read_to_string(CACHE).ok().and_then(|text| bytes(&text)).unwrap_or_default()
    });
    for_cache(cache, max_frame)
}

fn for_cache(cache: usize, max_frame: usize) -> usize {
    (cache / RINGS).min(MOST).max(FRAMES * record_len(max_frame))
}

/// Of the text in [`CACHE`].
fn bytes(text: &str) -> Option<usize> {
    text.trim().strip_suffix('K')?.parse::<usize>().ok()?.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::fit_capacity;

    #[test]
    fn the_rings_of_a_function_fit_in_the_cache_and_four_frames_in_a_ring() {
        let ring = |cache| fit_capacity(for_cache(cache, 65_600), 65_600) >> 10;
        assert_eq!(ring(0), 512);
        assert_eq!(ring(512 << 10), 512);
        assert_eq!(ring(1280 << 10), 512);
        assert_eq!(ring(2 << 20), 512);
        assert_eq!(ring(4 << 20), 1024);
        assert_eq!(ring(64 << 20), 1024);
    }

    #[test]
    fn the_kernels_text_is_understood() {
        assert_eq!(bytes("2048K\n"), Some(2 << 20));
        for none in ["", "K", "2048", "2M\n", "99999999999999999999K"] {
            assert_eq!(bytes(none), None, "{none:?}");
        }
    }
}

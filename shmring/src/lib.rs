//! A lock-free ring of frames.

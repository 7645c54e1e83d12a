//! Any bytes as what a neighbour writes between our steps.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shmring::fuzz::neighbour(bytes));

//! Any bytes as a message of the handshake.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shmring::fuzz::greeting(bytes));

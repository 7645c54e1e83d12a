//! Any bytes as the header page of a ring's memory.
#![no_main]

use std::sync::LazyLock;

static HEADER: LazyLock<shmring::fuzz::Header> = LazyLock::new(Default::default);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| HEADER.attach(bytes));

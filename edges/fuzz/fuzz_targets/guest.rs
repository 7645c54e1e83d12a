//! Any bytes as what a front end and its guest do while frames flow.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edges::vhost_user::fuzz::guest(bytes));

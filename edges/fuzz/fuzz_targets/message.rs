//! Any bytes as a message of a vhost-user front end.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edges::vhost_user::fuzz::message(bytes));

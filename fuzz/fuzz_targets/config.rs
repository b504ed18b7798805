//! See `brindle_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brindle_fuzz::config(bytes));

//! See `brindle_fuzz::operations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brindle_fuzz::operations(bytes));

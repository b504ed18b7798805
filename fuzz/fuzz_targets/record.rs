//! See `brindle_fuzz::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brindle_fuzz::record(bytes));

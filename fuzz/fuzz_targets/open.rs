//! See `brindle_fuzz::open`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brindle_fuzz::open(bytes));

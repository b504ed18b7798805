//! See `brindle_fuzz::import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brindle_fuzz::import(bytes));

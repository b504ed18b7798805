//! See `brindle_fuzz::inspector`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brindle_fuzz::inspector(bytes));

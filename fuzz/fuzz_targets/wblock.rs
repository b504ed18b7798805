//! See `brindle_fuzz::wblock`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brindle_fuzz::wblock(bytes));

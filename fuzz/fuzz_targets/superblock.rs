//! See `brindle_fuzz::superblock`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brindle_fuzz::superblock(bytes));

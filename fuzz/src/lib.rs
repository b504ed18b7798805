//! Hostile input: one entry for each kind of bytes that Brindle reads from somebody else.
//!
//! An entry takes any bytes and must return: within bounds that depend on the bytes alone, without
//! a panic, and with what it found in order. Bytes that only pass a checksum are not found by
//! chance, so most entries read theirs as a script: what to write, in the right format and with the
//! right checksums, and then which bytes to change.
//!
//! The entries run under libFuzzer (`fuzz/run.sh`), and on a stable compiler over the same seeds
//! and random changes of them (`tools/tests/hostile.rs`).
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a panic is how an entry says what it found"
)]

mod files;
mod formats;
mod operations;
mod script;
mod texts;

pub use files::{inspector, open};
pub use formats::{record, superblock, wblock};
pub use operations::operations;
pub use script::{Random, mutated, seeds};
pub use texts::{config, import};

/// An entry.
pub type Entry = fn(&[u8]);

/// Every entry, by the name of its target.
pub const TARGETS: [(&str, Entry); 8] = [
    ("superblock", superblock),
    ("wblock", wblock),
    ("record", record),
    ("config", config),
    ("import", import),
    ("operations", operations),
    ("open", open),
    ("inspector", inspector),
];

/// What may not reach a terminal raw: control characters, and those that turn the direction of
/// writing or take no room.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

//! The ghost: fingerprints of keys that were evicted lately. A key that is put again while its
//! fingerprint is there was evicted too early, and starts as one that was read.
//!
//! Lines of eight 16-bit fingerprints, the latest first; a new one pushes the oldest of its line
//! out. One fingerprint for each record that the store held when it first evicted.
//!
//! Threads may push and take at once, and lose or double a fingerprint: it is a hint. Nothing
//! hangs on it but the share of hits.
//! Source: the ghost queue of J. Yang et al., "FIFO queues are all you need for cache eviction"
//! (S3-FIFO), 2023.
#![forbid(unsafe_code)]

use crate::index::Hash;
use crate::sync::{AtomicU64, Relaxed};

/// Bits of a fingerprint.
const BITS: u32 = 16;
const MASK: u64 = (1 << BITS) - 1;
/// Fingerprints in half a line, one word.
const HALF: u32 = u64::BITS / BITS;
/// Fingerprints in a line.
const LINE: u64 = 8;

/// One line, the latest fingerprints in the low bits of the first word.
#[derive(Debug, Default)]
#[repr(align(16))]
struct Line([AtomicU64; 2]);

/// Fingerprints of evicted keys.
#[derive(Debug)]
pub struct Ghost {
    lines: Box<[Line]>,
}

impl Ghost {
    /// Room for `records` fingerprints.
    pub fn new(records: u64) -> Self {
        let lines = records.div_ceil(LINE).max(1);
        Self { lines: (0..lines).map(|_| Line::default()).collect() }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.lines.len() as u64 * size_of::<Line>() as u64
    }

    /// The line and the fingerprint of a key: bits that do not choose one another.
    #[expect(clippy::cast_possible_truncation, reason = "below the number of lines")]
    fn place(&self, hash: Hash) -> (Option<&Line>, u64) {
        let mixed = hash.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let line = (u128::from(mixed) * self.lines.len() as u128) >> u64::BITS;
        let fingerprint = (hash.0 >> 24) & MASK;
        (self.lines.get(line as usize), fingerprint.max(1))
    }

    /// Notes that the key was evicted.
    pub fn push(&self, hash: Hash) {
        let (Some(Line([first, second])), fingerprint) = self.place(hash) else { return };
        // ORDERING: Relaxed, all of them. A hint.
        let (one, two) = (first.load(Relaxed), second.load(Relaxed));
        // ORDERING: as above.
        first.store(one << BITS | fingerprint, Relaxed);
        // ORDERING: as above.
        second.store(two << BITS | one >> (u64::BITS - BITS), Relaxed);
    }

    /// True if the key was evicted lately; it is forgotten.
    pub fn take(&self, hash: Hash) -> bool {
        let (Some(Line([first, second])), fingerprint) = self.place(hash) else { return false };
        // ORDERING: Relaxed, all of them. A hint.
        let (one, two) = (first.load(Relaxed), second.load(Relaxed));
        if let Some(at) = position(one, fingerprint) {
            // ORDERING: as above.
            first.store(without(one, at) | two << (u64::BITS - BITS), Relaxed);
            // ORDERING: as above.
            second.store(two >> BITS, Relaxed);
            return true;
        }
        let Some(at) = position(two, fingerprint) else { return false };
        // ORDERING: as above.
        second.store(without(two, at), Relaxed);
        true
    }
}

/// Where `fingerprint` stands in half a line.
fn position(half: u64, fingerprint: u64) -> Option<u32> {
    (0..HALF).find(|at| half >> (at * BITS) & MASK == fingerprint)
}

/// Half a line without the fingerprint at `at`, the older ones moved up.
fn without(half: u64, at: u32) -> u64 {
    let younger = half & ((1 << (at * BITS)) - 1);
    // In two steps: the last one is shifted out by all of its bits.
    let older = half >> (at * BITS) >> BITS << (at * BITS);
    younger | older
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_eight_of_a_line_are_known_once() {
        let ghost = Ghost::new(8);
        let hashes: Vec<Hash> = (1..=10).map(|number| Hash(number << 24)).collect();
        for hash in &hashes {
            ghost.push(*hash);
        }
        // One at the end, one in the middle, one at the boundary of the words, the latest.
        for number in [3, 7, 5, 10] {
            assert!(ghost.take(hashes[number - 1]), "{number}");
            assert!(!ghost.take(hashes[number - 1]), "{number} again");
        }
        for number in [1, 2] {
            assert!(!ghost.take(hashes[number - 1]), "{number} was pushed out");
        }
        for number in [4, 6, 8, 9] {
            assert!(ghost.take(hashes[number - 1]), "{number}");
        }
        assert_eq!(ghost.bytes(), 16);
    }
}

//! The commit word: the first 8 bytes of a record or padding, stored last.
//!
//! | bits   | field      | unit, range                                             |
//! |--------|------------|---------------------------------------------------------|
//! | 63..21 | `sequence` | of the wblock's life, xor the low 43 bits of `StoreKey` |
//! | 20     | `padding`  | 1: no record, but filling                               |
//! | 19..0  | `length`   | rblocks, 1..=2^19, this word included                   |
//!
//! Whoever walks a wblock takes a word of another sequence for "nothing here yet". The mask makes
//! that safe against bytes of a user: memory that was a value in the wblock's previous life shows
//! up where a commit word is looked for, and would otherwise need only a guess of the sequence.
//!
//! Invariants
//! - C1  No word that is ever written is zero: its length is at least 1, whatever the mask.
#![forbid(unsafe_code)]

use std::num::NonZeroU32;

use super::key::StoreKey;
use crate::unit::{RBLOCK_BYTES, Sequence, WBLOCK_BYTES_MAX};

/// Width of a sequence: at 100,000 wblocks a second they last for two and a half years of nothing
/// but that; at the 1,000 that memory bandwidth allows (8 GiB/s), for 278 years.
pub const SEQUENCE_BITS: u32 = 43;
/// Most rblocks of one record or padding: a whole wblock of the largest size.
pub const RECORD_RBLOCKS_MAX: u32 = 1 << 19;

const LENGTH_BITS: u32 = 20;
const PADDING: u64 = 1 << LENGTH_BITS;
const LENGTH_MASK: u64 = PADDING - 1;
const SEQUENCE_SHIFT: u32 = LENGTH_BITS + 1;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;

const _: () = assert!(SEQUENCE_BITS + 1 + LENGTH_BITS == u64::BITS);
const _: () = assert!(RECORD_RBLOCKS_MAX == WBLOCK_BYTES_MAX / RBLOCK_BYTES);
const _: () = assert!(RECORD_RBLOCKS_MAX as u64 <= LENGTH_MASK, "a full wblock has a length");

/// The first word of a record or padding; see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct CommitWord(u64);

impl CommitWord {
    /// The word for `rblocks` (1..=2^19) written in the life `sequence` (below 2^43).
    #[inline]
    pub const fn new(store_key: StoreKey, sequence: Sequence, rblocks: u32, padding: bool) -> Self {
        debug_assert!(rblocks >= 1 && rblocks <= RECORD_RBLOCKS_MAX, "length out of range");
        debug_assert!(sequence.0 <= SEQUENCE_MASK, "sequence out of range");
        let masked = (sequence.0 ^ store_key.raw()) & SEQUENCE_MASK;
        Self((masked << SEQUENCE_SHIFT) | ((padding as u64) << LENGTH_BITS) | rblocks as u64)
    }

    /// The word that was read as `raw`: any number.
    #[inline]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The word as it is stored, little endian.
    #[inline]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The word was stored in the life `sequence` of its wblock. Says nothing of the length.
    #[inline]
    pub const fn is_of(self, store_key: StoreKey, sequence: Sequence) -> bool {
        self.sequence(store_key).0 == sequence.0
    }

    /// The life of the wblock that this word belongs to, if it is a commit word of this store.
    #[inline]
    pub const fn sequence(self, store_key: StoreKey) -> Sequence {
        Sequence((self.0 >> SEQUENCE_SHIFT) ^ (store_key.raw() & SEQUENCE_MASK))
    }

    /// Length of the record or padding in rblocks; `None` if it is none that is ever written.
    #[inline]
    pub const fn rblocks(self) -> Option<NonZeroU32> {
        let rblocks = (self.0 & LENGTH_MASK) as u32;
        if rblocks <= RECORD_RBLOCKS_MAX { NonZeroU32::new(rblocks) } else { None }
    }

    /// No record follows, but filling.
    #[inline]
    pub const fn is_padding(self) -> bool {
        self.0 & PADDING != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::StoreId;

    #[test]
    fn fields_come_back() {
        let key = StoreKey::of(&StoreId([7; 16]));
        let lengths = [1, 2, RECORD_RBLOCKS_MAX].map(|rblocks| [(rblocks, false), (rblocks, true)]);
        for sequence in [1, 2, SEQUENCE_MASK].map(Sequence) {
            for (rblocks, padding) in lengths.into_iter().flatten() {
                let word = CommitWord::new(key, sequence, rblocks, padding);
                assert_eq!(word.sequence(key), sequence);
                assert_eq!(word.rblocks().map(NonZeroU32::get), Some(rblocks));
                assert_eq!(word.is_padding(), padding);
                assert!(word.is_of(key, sequence));
                assert!(!word.is_of(key, Sequence(sequence.0 ^ 1)));
            }
        }
    }

    #[test]
    fn lengths_that_are_never_written_are_none() {
        assert_eq!(CommitWord::from_raw(0).rblocks(), None);
        assert_eq!(CommitWord::from_raw(u64::from(RECORD_RBLOCKS_MAX) + 1).rblocks(), None);
        assert_eq!(CommitWord::from_raw(u64::MAX).rblocks(), None);
    }
}

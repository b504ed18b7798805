//! Whose bytes these are, and where they belong: the store's id and the seeds drawn from it.
//!
//! A checksum that depends on the bytes alone would accept a record image that a user stored as a
//! value, or a block that a device wrote to the wrong place. So each checksum of a record starts
//! from a [`Seed`] of the store, the location and the commit word (which holds the sequence).
//!
//! Invariants
//! - K1  For fixed other arguments, distinct values of one argument give distinct seeds (`mix` is
//!   a bijection in each): one changed bit of place, sequence or length always changes the seed.
#![forbid(unsafe_code)]

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::commit::CommitWord;
use crate::unit::Location;

/// Identity of a store: 16 random bytes, drawn when it is created, the same in all its shadows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Display for StoreId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// The constant of a store that seeds its checksums and masks its commit words. It never leaves
/// the shadow, so that nobody who only chooses keys and values can imitate either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct StoreKey(u64);

impl StoreKey {
    /// The key of the store `id`.
    pub fn of(id: &StoreId) -> Self {
        Self(xxh3_64(&id.0))
    }

    /// The key as a number, for seeding and masking.
    #[inline]
    pub const fn raw(self) -> u64 {
        self.0
    }
}

/// What ties the checksums of one record or padding to its store, place and life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Seed(u64);

impl Seed {
    /// The seed of what lies at `location` under the commit word `commit`.
    #[inline]
    pub const fn new(store_key: StoreKey, location: Location, commit: CommitWord) -> Self {
        Self(mix(mix(store_key.0, location.0), commit.raw()))
    }

    /// Checksum of `bytes`: the low half of the digest.
    #[inline]
    pub fn check(self, bytes: &[u8]) -> u32 {
        low(xxh3_64_with_seed(bytes, self.0))
    }

    /// The seed that also depends on `word`.
    #[inline]
    #[must_use]
    pub const fn with(self, word: u64) -> Self {
        Self(mix(self.0, word))
    }

    /// The seed as a number, for a digest that is fed in parts.
    #[inline]
    pub(super) const fn raw(self) -> u64 {
        self.0
    }
}

/// The half of a digest that is stored.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "32 bits are what a record stores")]
pub(super) const fn low(digest: u64) -> u32 {
    digest as u32
}

/// A bijection in `left` for each `right`, and in `right` for each `left`: xor with an odd
/// multiple, then the finalizer of `SplitMix64`, which spreads each bit over all 64.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[inline]
const fn mix(left: u64, right: u64) -> u64 {
    let mut word = left ^ right.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_bit_changes_half_of_the_seed() {
        let base = mix(0x0123_4567_89ab_cdef, 0x0fed_cba9_8765_4321);
        for bit in 0..64 {
            for other in [
                mix(0x0123_4567_89ab_cdef ^ (1 << bit), 0x0fed_cba9_8765_4321),
                mix(0x0123_4567_89ab_cdef, 0x0fed_cba9_8765_4321 ^ (1 << bit)),
            ] {
                let changed = (base ^ other).count_ones();
                assert!((12..=52).contains(&changed), "bit {bit} changed {changed} bits");
            }
        }
    }

    #[test]
    fn a_store_id_is_shown_in_hex() {
        assert_eq!(StoreId([0xa5; 16]).to_string(), "a5".repeat(16));
    }
}

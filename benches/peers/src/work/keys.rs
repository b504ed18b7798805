//! Which records a work is about: numbers, their keys, and how they are drawn.

use crate::engine::{KEY_BYTES, Key};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Zipf};

/// The key of a record, as in the benches of the engine alone: as good as random.
pub fn key(number: u64) -> Key {
    let mut key = [0; KEY_BYTES];
    let (low, high) = key.split_at_mut(8);
    low.copy_from_slice(&mix(number).to_le_bytes());
    high.copy_from_slice(&mix(!number).to_le_bytes());
    key
}

/// The finalizer of `SplitMix64`.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
pub fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A number below `bound`, as good as drawn at random, by `step` alone.
pub fn below(step: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(mix(step)) * u128::from(bound)) >> 64).unwrap_or(0)
}

/// How numbers are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// All alike.
    Uniform,
    /// Zipf 0.99, the frequent ones spread over all numbers.
    Zipf,
    /// Zipf 0.99, the newest most frequent: YCSB D.
    Latest,
}

/// Draws numbers of records. The same seed draws the same.
pub struct Draw {
    pattern: Pattern,
    records: u64,
    zipf: Zipf<f64>,
    random: SmallRng,
    step: u64,
}

impl Draw {
    /// The exponent of YCSB.
    const EXPONENT: f64 = 0.99;

    /// Numbers below `records`.
    pub fn new(pattern: Pattern, records: u64, seed: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let zipf = Zipf::new(records.max(1) as f64, Self::EXPONENT).expect("one record at least");
        let random = SmallRng::seed_from_u64(seed);
        Self { pattern, records: records.max(1), zipf, random, step: mix(seed) }
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.step = self.step.wrapping_add(1);
        match self.pattern {
            Pattern::Uniform => below(self.step, self.records),
            Pattern::Zipf => spread(self.rank(), self.records),
            Pattern::Latest => self.records - 1 - self.rank(),
        }
    }

    fn rank(&mut self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank from 1 to the number of records"
        )]
        let rank = self.zipf.sample(&mut self.random) as u64;
        rank.clamp(1, self.records) - 1
    }
}

/// Maps ranks below `records` one to one to numbers below it, so that frequent records are not
/// neighbours in memory: a bijection of the next power of two, walked until it falls below.
fn spread(rank: u64, records: u64) -> u64 {
    let bits = 64 - (records - 1).leading_zeros();
    if bits == 0 {
        return 0;
    }
    let mask = u64::MAX >> (64 - bits);
    let mut number = rank;
    loop {
        number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
        number ^= number >> (bits / 2 + 1);
        number = number.wrapping_mul(0xbf58_476d_1ce4_e5b9) & mask;
        if number < records {
            return number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Draw, Pattern, key, spread};
    use std::collections::HashSet;

    #[test]
    fn spread_is_one_to_one() {
        for records in [1, 2, 3, 1000, 1024, 1025] {
            let numbers: HashSet<u64> = (0..records).map(|rank| spread(rank, records)).collect();
            assert_eq!(numbers.len() as u64, records);
            assert!(numbers.iter().all(|number| *number < records));
        }
    }

    #[test]
    fn every_pattern_stays_below_the_records() {
        for pattern in [Pattern::Uniform, Pattern::Zipf, Pattern::Latest] {
            let mut draw = Draw::new(pattern, 777, 1);
            assert!((0..10_000).all(|_| draw.next() < 777), "{pattern:?}");
        }
    }

    #[test]
    fn keys_differ() {
        let keys: HashSet<_> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
    }
}

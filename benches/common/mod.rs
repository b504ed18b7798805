//! What the benches share: how many records, their keys and values, and stores to put them in.
//!
//! Nothing is random: a number becomes a key, and a step a number, by fixed mixing, so that every
//! run does the same work. A store holds a million records unless `BRINDLE_BENCH_RECORDS` says
//! otherwise: several times the cache, and built in a second.
//!
//! What writes does so in a store with room for it, and in a fresh one when that is used up, so
//! that no bench but `reclaim` pays for getting space back: see [`Supply`].

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each bench is a crate of its own and uses a part of this file"
)]

use brindle::{Config, Store};
use std::env;
use std::time::{Duration, Instant};

/// Bytes of every key.
pub const KEY_BYTES: usize = 16;
/// Bytes of a value where the question is not about its size.
pub const VALUE_BYTES: usize = 100;

/// Room that a store has beyond its records: the wblocks that are open, and then some.
const SPARE_BYTES: u64 = 64 << 20;

/// Records of a store.
pub fn records() -> u64 {
    number("BRINDLE_BENCH_RECORDS", 1_000_000)
}

/// The number in the variable `name`, or `otherwise`.
pub fn number(name: &str, otherwise: u64) -> u64 {
    let text = env::var(name).unwrap_or_default();
    text.replace('_', "").parse().unwrap_or(otherwise)
}

/// The key of a record. Records that are in a store have numbers below [`records`].
pub fn key(number: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let (low, high) = key.split_at_mut(8);
    low.copy_from_slice(&mix(number).to_le_bytes());
    high.copy_from_slice(&mix(!number).to_le_bytes());
    key
}

/// The number of a record below `records`, as good as drawn at random, by `step` alone.
pub fn uniform(step: u64, records: u64) -> u64 {
    let product = u128::from(mix(step)) * u128::from(records);
    u64::try_from(product >> 64).unwrap_or(0)
}

/// The finalizer of `SplitMix64`.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A value of `bytes` bytes.
pub fn value(bytes: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(bytes).collect()
}

/// Reads a byte of every line of `value`: a bench that only looks at its length would not pay for
/// them. One function for all, out of line: a mispredicted end of an inlined loop over the bytes
/// undoes what the processor has begun of the next look-up, and was found to cost 85 ns a get in
/// one place and nothing in another.
#[inline(never)]
pub fn read(value: &[u8]) -> u64 {
    let lines = value.iter().step_by(64).fold(0, |sum, byte| sum + u64::from(*byte));
    lines + value.last().map_or(0, |byte| u64::from(*byte))
}

/// Memory for `records` records with values of `value_bytes`, each written `copies` times.
pub fn data_size(records: u64, value_bytes: usize, copies: u64) -> u64 {
    let record = brindle::RECORD_HEADER_BYTES_MAX + KEY_BYTES + value_bytes;
    records * copies * record.next_multiple_of(16) as u64 + SPARE_BYTES
}

/// A memory-only store with room for `records` records, each written `copies` times.
pub fn open(records: u64, value_bytes: usize, copies: u64) -> Store {
    let config = Config::new()
        .data_size(data_size(records, value_bytes, copies))
        .expected_records(records)
        .stop_writes_used_pct(0)
        .stop_writes_avail_pct(0);
    Store::open(config).expect("there is memory for the store")
}

/// Such a store with all its records in.
pub fn filled(records: u64, value_bytes: usize, copies: u64) -> Store {
    let store = open(records, value_bytes, copies);
    fill(&store, records, value_bytes);
    store
}

/// Puts every record once.
pub fn fill(store: &Store, records: u64, value_bytes: usize) {
    let value = value(value_bytes);
    for number in 0..records {
        store.put(key(number), &value).expect("there is room");
    }
}

/// Stores for a bench that uses them up: each serves `budget` steps.
pub struct Supply<F> {
    make: F,
    budget: u64,
    left: u64,
    store: Option<Store>,
}

impl<F: FnMut() -> Store> Supply<F> {
    /// Stores that `make` makes; none is made before it is needed.
    pub fn new(budget: u64, make: F) -> Self {
        Self { make, budget, left: 0, store: None }
    }

    /// Does `steps` steps and returns the time that they alone took. A step is told its store and
    /// how many the store has served before.
    pub fn time(&mut self, steps: u64, mut step: impl FnMut(&Store, u64)) -> Duration {
        self.time_batches(steps, |store, batch| {
            let start = Instant::now();
            batch.for_each(|number| step(store, number));
            start.elapsed()
        })
    }

    /// As [`time`](Self::time), with the steps in batches that one store serves; `batch` returns
    /// what counts as its time.
    pub fn time_batches(
        &mut self,
        steps: u64,
        mut batch: impl FnMut(&Store, std::ops::Range<u64>) -> Duration,
    ) -> Duration {
        let (mut elapsed, mut steps) = (Duration::ZERO, steps);
        while steps > 0 {
            if self.left == 0 {
                self.store = None; // before the next is made: one at a time
                self.left = self.budget;
            }
            let store = self.store.get_or_insert_with(&mut self.make);
            let (served, count) = (self.budget - self.left, steps.min(self.left));
            elapsed += batch(store, served..served + count);
            (self.left, steps) = (self.left - count, steps - count);
        }
        elapsed
    }
}

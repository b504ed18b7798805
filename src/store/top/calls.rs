//! Measured calls of one kind: how many, and how long they took.
//!
//! Eight buckets for each doubling, so that a bucket is at most an eighth wide: what a percentile
//! is told from is known that exactly. Kept since the store was opened, so that a reader with two
//! snapshots has the calls between them.
#![forbid(unsafe_code)]

use crate::sync::{AtomicU64, Relaxed};
use std::time::Duration;

/// Buckets of each doubling, and as many of 1 ns at the start.
const STEPS: u64 = 8;
const STEPS_LOG2: u32 = STEPS.ilog2();
/// What takes longer goes into the last bucket: 2^36 ns are 68 s.
const LOG2_MAX: u32 = 36;
const BUCKETS: usize = ((LOG2_MAX - STEPS_LOG2 + 1) << STEPS_LOG2) as usize;

/// Measured calls of one kind.
#[derive(Debug)]
pub(in crate::store) struct Calls {
    /// Estimated: what each measured one stands for.
    count: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Calls {
    fn default() -> Self {
        Self { count: AtomicU64::new(0), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl Calls {
    /// Enters a call that stands for `one_of`.
    pub(in crate::store) fn record(&self, elapsed: Duration, one_of: u32) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        // ORDERING: Relaxed, both. Statistics.
        self.count.fetch_add(one_of.into(), Relaxed);
        if let Some(bucket) = self.buckets.get(bucket_of(nanos)) {
            // ORDERING: Relaxed, as above.
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// Calls, estimated.
    pub(super) fn count(&self) -> u64 {
        // ORDERING: Relaxed, as in `record`.
        self.count.load(Relaxed)
    }

    /// The buckets that are not empty: the longest time that falls into each, in nanoseconds, and
    /// the measured calls.
    pub(super) fn buckets(&self) -> Vec<(u64, u64)> {
        // ORDERING: Relaxed, as in `record`.
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        (0..).map(longest_in).zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

/// The bucket of a time: below [`STEPS`] itself, then its highest bits.
#[expect(clippy::cast_possible_truncation, reason = "below BUCKETS")]
fn bucket_of(nanos: u64) -> usize {
    let nanos = nanos.min((1 << LOG2_MAX) - 1);
    let shift = nanos.max(STEPS).ilog2() - STEPS_LOG2;
    // The highest bit is in the part that the shift leaves, and so counts one doubling itself.
    (u64::from(shift) * STEPS + (nanos >> shift)) as usize
}

/// The longest time that falls into `bucket`. Unit: nanoseconds.
fn longest_in(bucket: u64) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    let first = (bucket - shift * STEPS) << shift;
    first + (1 << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_at_most_an_eighth_below_the_end_of_its_bucket() {
        let powers = (0..LOG2_MAX).map(|log2| 1_u64 << log2);
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power * 3 / 2]);
        for nanos in around.filter(|nanos| *nanos < 1 << LOG2_MAX) {
            let longest = longest_in(bucket_of(nanos) as u64);
            assert!(nanos <= longest && longest - nanos <= nanos / 8, "{nanos}: {longest}");
        }
    }

    #[test]
    fn buckets_meet_and_the_last_one_takes_the_rest() {
        for bucket in 1..BUCKETS as u64 {
            let first = longest_in(bucket - 1) + 1;
            assert_eq!(bucket_of(first) as u64, bucket);
            assert_eq!(bucket_of(longest_in(bucket)) as u64, bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_is_recorded_is_there() {
        let calls = Calls::default();
        calls.record(Duration::from_nanos(5), 10);
        calls.record(Duration::from_nanos(5), 10);
        calls.record(Duration::from_secs(3_600), 1);
        assert_eq!((calls.count(), calls.buckets()), (21, vec![(5, 2), ((1 << 36) - 1, 1)]));
    }
}

//! What `bench` asks of a store: which operation, on which key; and what it cost.
//!
//! The workloads are those of YCSB by their letters. Keys are numbers that are spread before use,
//! so that those asked for most do not lie side by side.
//!
//! Source: Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", `SoCC` 2010; the Zipf
//! distribution by rejection-inversion after Hörmann and Derflinger, "Rejection-inversion to
//! generate variates from monotone discrete distributions", ACM TOMACS 6(3), 1996.

use crate::args::{Distribution, WorkloadName};
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// Exponent of the Zipf distribution, as in YCSB.
const EXPONENT: f64 = 0.99;
const KEY_BYTES: usize = 20;

/// One operation on a record number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Get(u64),
    Put(u64),
    Update(u64),
    /// Puts the next new record.
    Insert,
}

/// Draws the operations of one thread.
#[derive(Debug)]
pub(crate) struct Draw {
    name: WorkloadName,
    random: Random,
    zipf: Option<Zipf>,
    records: u64,
}

impl Draw {
    /// Operations on `records` records that are loaded; `seed` differs by thread.
    pub(crate) fn new(
        name: WorkloadName,
        distribution: Distribution,
        records: u64,
        seed: u64,
    ) -> Self {
        let is_zipf = distribution == Distribution::Zipf || name == WorkloadName::D;
        let zipf = is_zipf.then(|| Zipf::new(records));
        Self { name, random: Random(seed), zipf, records }
    }

    /// The next operation. `newest`: records that there are now.
    pub(crate) fn next(&mut self, newest: u64) -> Op {
        let share = self.random.next() % 100;
        match self.name {
            WorkloadName::A if share < 50 => Op::Put(self.number()),
            WorkloadName::B if share < 5 => Op::Put(self.number()),
            WorkloadName::D if share < 5 => Op::Insert,
            WorkloadName::F if share < 50 => Op::Update(self.number()),
            WorkloadName::D => Op::Get(newest.saturating_sub(self.rank())),
            WorkloadName::A | WorkloadName::B | WorkloadName::C | WorkloadName::F => {
                Op::Get(self.number())
            }
        }
    }

    /// A record that is loaded.
    fn number(&mut self) -> u64 {
        if self.zipf.is_some() {
            spread(self.rank()) % self.records
        } else {
            self.random.next() % self.records
        }
    }

    /// 1 is the most frequent.
    fn rank(&mut self) -> u64 {
        self.zipf.as_ref().map_or(1, |zipf| zipf.draw(&mut self.random))
    }
}

/// The key of record `number`.
pub(crate) fn key_of(number: u64) -> [u8; KEY_BYTES] {
    let mut key = *b"user0000000000000000";
    let mut rest = spread(number);
    for digit in key.iter_mut().rev().take(16) {
        *digit = b"0123456789abcdef".get((rest & 15) as usize).copied().unwrap_or(b'0');
        rest >>= 4;
    }
    key
}

/// Bytes that a record of these values takes.
pub(crate) const fn record_bytes(value_bytes: u64) -> u64 {
    (28 + KEY_BYTES as u64 + value_bytes).next_multiple_of(16)
}

/// A bijection: distinct numbers stay distinct. The finalizer of `SplitMix64`.
const fn spread(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// `SplitMix64`: the same seed draws the same operations.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        spread(self.0)
    }

    /// In `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks `1..=n`, rank `k` with a probability proportional to `k^-EXPONENT`, in constant time and
/// without a table.
#[derive(Debug)]
struct Zipf {
    n: f64,
    integral_low: f64,
    integral_high: f64,
    sure: f64,
}

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
    fn new(n: u64) -> Self {
        let n = n.max(1) as f64;
        Self {
            n,
            integral_low: integral(1.5) - 1.0,
            integral_high: integral(n + 0.5),
            sure: 2.0 - inverse(integral(2.5) - density(2.0)),
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 1..=n")]
    fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let area =
                self.integral_high + random.unit() * (self.integral_low - self.integral_high);
            let x = inverse(area);
            let rank = x.round().clamp(1.0, self.n);
            if rank - x <= self.sure || area >= integral(rank + 0.5) - density(rank) {
                return rank as u64;
            }
        }
    }
}

fn density(x: f64) -> f64 {
    x.powf(-EXPONENT)
}

fn integral(x: f64) -> f64 {
    (x.powf(1.0 - EXPONENT) - 1.0) / (1.0 - EXPONENT)
}

fn inverse(area: f64) -> f64 {
    (1.0 + area * (1.0 - EXPONENT)).powf(1.0 / (1.0 - EXPONENT))
}

/// Kinds of operations that are told apart in the results.
pub(crate) const KINDS: [&str; 4] = ["load", "get", "put", "update"];

/// Times of one thread, by the place of their kind in [`KINDS`].
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    times: Vec<Histogram<u64>>,
    /// Gets that found nothing.
    pub(crate) misses: u64,
}

impl Tally {
    /// No times yet. `None` if the histograms cannot be made.
    pub(crate) fn new() -> Option<Self> {
        // 1 ns to 60 s, to three digits.
        let one = || Histogram::new_with_bounds(1, 60_000_000_000, 3).ok();
        let times = KINDS.iter().map(|_| one()).collect::<Option<Vec<_>>>()?;
        Some(Self { times, misses: 0 })
    }

    /// Notes that an operation took `time`.
    pub(crate) fn note(&mut self, kind: usize, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(times) = self.times.get_mut(kind) {
            times.saturating_record(nanos);
        }
    }

    /// Takes in what another thread noted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.times.iter_mut().zip(&other.times) {
            // The bounds are the same, so nothing is out of range.
            let _ = ours.add(theirs);
        }
        self.misses += other.misses;
    }

    /// Operations noted.
    pub(crate) fn operations(&self) -> u64 {
        self.times.iter().map(Histogram::len).sum()
    }

    /// The percentiles of each kind that occurred.
    pub(crate) fn latencies(&self) -> Vec<Latency> {
        let seen = KINDS.iter().zip(&self.times).filter(|(_, times)| !times.is_empty());
        seen.map(|(kind, times)| Latency {
            operation: kind,
            count: times.len(),
            p50_ns: times.value_at_quantile(0.5),
            p90_ns: times.value_at_quantile(0.9),
            p99_ns: times.value_at_quantile(0.99),
            p99_9_ns: times.value_at_quantile(0.999),
            max_ns: times.max(),
            curve: curve(times),
        })
        .collect()
    }
}

/// Shares at which a curve has a point: each nine has four.
const SHARES: [f64; 4] = [0.0, 0.437_658_674_809, 0.683_772_233_983, 0.822_172_058_997];

/// Points from 0 up to 99.999%, as far as there are operations to tell them apart.
fn curve(times: &Histogram<u64>) -> Vec<(f64, u64)> {
    let mut points = Vec::new();
    let mut rest = 1.0_f64;
    for _ in 0..5 {
        for share in SHARES {
            let quantile = 1.0 - rest * (1.0 - share);
            #[expect(clippy::cast_precision_loss, reason = "whether it is below one")]
            let beyond = times.len() as f64 * (1.0 - quantile);
            if beyond < 1.0 {
                return points;
            }
            let rounded = (quantile * 1e8).round() / 1e8;
            points.push((rounded, times.value_at_quantile(quantile)));
        }
        rest /= 10.0;
    }
    points
}

/// How long one kind of operation took.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Latency {
    /// `load`, `get`, `put` or `update`.
    pub(crate) operation: &'static str,
    pub(crate) count: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p90_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p99_9_ns: u64,
    pub(crate) max_ns: u64,
    /// Shares of the operations, and the nanoseconds within which they were done.
    pub(crate) curve: Vec<(f64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_their_density() {
        const DRAWS: u32 = 200_000;
        let (zipf, mut random) = (Zipf::new(1_000), Random(7));
        let mut counts = vec![0_u32; 1_001];
        for _ in 0..DRAWS {
            counts[usize::try_from(zipf.draw(&mut random)).unwrap()] += 1;
        }
        let sum: f64 = (1..=1_000_u32).map(|rank| density(rank.into())).sum();
        assert_eq!(counts[0], 0);
        for rank in [1_u32, 2, 3, 10, 100] {
            let expected = f64::from(DRAWS) * density(rank.into()) / sum;
            let drawn = f64::from(counts[rank as usize]);
            let deviation = (drawn - expected).abs() / expected.sqrt();
            assert!(deviation < 5.0, "rank {rank}: {drawn} for {expected}");
        }
        assert_eq!((0..100).map(|_| Zipf::new(1).draw(&mut random)).max(), Some(1));
    }

    #[test]
    fn keys_differ() {
        let keys: std::collections::HashSet<_> = (0..10_000).map(key_of).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().all(|key| key.starts_with(b"user")));
    }

    #[test]
    fn mixes_have_their_shares() {
        let mut draw = Draw::new(WorkloadName::B, Distribution::Uniform, 100, 1);
        let puts = (0..10_000).filter(|_| matches!(draw.next(100), Op::Put(0..100))).count();
        assert!((400..600).contains(&puts), "{puts}");
        let mut latest = Draw::new(WorkloadName::D, Distribution::Uniform, 100, 1);
        assert!((0..1_000).all(|_| match latest.next(500) {
            Op::Get(number) => (400..500).contains(&number),
            Op::Insert => true,
            Op::Put(_) | Op::Update(_) => false,
        }));
    }
}

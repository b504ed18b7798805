//! Streams of accesses, the same for every cache.
//!
//! Keys are dense numbers: those that come again from 0, those of scans behind them.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// What is accessed, and with how much room.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Which keys, in which order.
    pub kind: Kind,
    /// Room, in percent of the keys.
    pub capacity_pct: u32,
}

/// Which keys are accessed, in which order.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Zipf-distributed, with this exponent.
    Zipf(f64),
    /// The same, but this share of the accesses, in percent, reads on in a scan, whose keys never
    /// come again.
    ZipfAndScan(f64, u32),
    /// A tenth of the keys in turn, for ever.
    Loop,
    /// Zipf-distributed; at each tenth of the way half of the ranks' keys are new ones.
    Shift(f64),
    /// Zipf-distributed for half of the way, then other keys, half as many as fit in, in turn.
    LoopAfterZipf(f64),
}

/// All that are run.
pub fn all() -> Vec<Workload> {
    let zipf = [0.8, 0.99, 1.1].map(|exponent| (Kind::Zipf(exponent), [1, 10, 25].as_slice()));
    let others: [(Kind, &[u32]); 4] = [
        (Kind::ZipfAndScan(0.99, 20), &[1, 10]),
        (Kind::Loop, &[80, 50]),
        (Kind::Shift(0.99), &[10]),
        (Kind::LoopAfterZipf(0.99), &[10]),
    ];
    let kinds = zipf.into_iter().chain(others);
    let sized = |(kind, sizes): (Kind, &'static [u32])| {
        sizes.iter().map(move |&capacity_pct| Workload { kind, capacity_pct })
    };
    kinds.flat_map(sized).collect()
}

/// Those of [`all`] whose name has one of `filters` in it; all of them without a filter.
pub fn matching(filters: &[String]) -> Vec<Workload> {
    let mut all = all();
    all.retain(|w| filters.is_empty() || filters.iter().any(|part| w.name().contains(part)));
    all
}

impl Workload {
    /// What it is called in tables.
    pub fn name(&self) -> String {
        let pct = self.capacity_pct;
        match self.kind {
            Kind::Zipf(exponent) => format!("zipf {exponent}, {pct}%"),
            Kind::ZipfAndScan(exponent, scan) => format!("zipf {exponent} + {scan}% scan, {pct}%"),
            Kind::Loop => format!("loop of {}x", 100.0 / f64::from(pct)),
            Kind::Shift(exponent) => format!("shifting zipf {exponent}, {pct}%"),
            Kind::LoopAfterZipf(exponent) => format!("loop of 0.5x after zipf {exponent}, {pct}%"),
        }
    }

    /// Records that fit in, where there are `keys`.
    pub fn capacity(&self, keys: u32) -> u32 {
        self.keys(keys) / 100 * self.capacity_pct
    }

    fn keys(&self, keys: u32) -> u32 {
        if matches!(self.kind, Kind::Loop) { keys / 10 } else { keys }
    }

    /// `count` accesses. The same seed gives the same ones.
    pub fn accesses(&self, keys: u32, count: u32, seed: u64) -> Vec<u32> {
        let looped = self.keys(keys);
        let fitting = (self.capacity(keys) / 2).max(1);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut scanned = keys;
        let next = |at: u32| match self.kind {
            Kind::Loop => at % looped,
            Kind::ZipfAndScan(_, pct) if random.random_range(0..100) < pct => {
                scanned += 1;
                scanned
            }
            Kind::Zipf(exponent) | Kind::ZipfAndScan(exponent, _) => {
                draw(&mut random, keys, exponent)
            }
            Kind::Shift(exponent) => {
                let tenths = at / count.div_ceil(10);
                // Every other rank keeps its key.
                let rank = draw(&mut random, keys, exponent);
                if rank.is_multiple_of(2) { rank } else { rank + tenths * keys }
            }
            Kind::LoopAfterZipf(exponent) if at < count / 2 => draw(&mut random, keys, exponent),
            Kind::LoopAfterZipf(_) => keys + at % fitting,
        };
        (0..count).map(next).collect()
    }
}

/// A key from 0, the most frequent first.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to `keys`")]
fn draw(random: &mut Xoshiro256PlusPlus, keys: u32, exponent: f64) -> u32 {
    let zipf = Zipf::new(f64::from(keys), exponent);
    zipf.map_or(0, |zipf| zipf.sample(random) as u32 - 1)
}

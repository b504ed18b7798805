//! Question: what does it cost to get space back, by how full the store is?
//!
//! One thread overwrites a store that is 50, 75 or 90% live, uniformly or by Zipf's law, with
//! values of 100 to 4,096 B. After five times the store's size the last pass is measured:
//!
//! - **write amplification**: bytes put and moved, over bytes put;
//! - **rate**: puts a second, over those of a store that has never been full;
//! - the latency of puts and gets in an open loop at half of that rate, from the intended start.
//!   A busy machine stops for milliseconds now and then, and then no high percentile of one run
//!   means anything: of many short runs the least of each percentile counts. Beside it, in turns, a
//!   store that reclaims nothing, and the machine's own stops: the same loop around nothing.
//!
//! `BRINDLE_BENCH_MIB=4096` for a store of 4 GiB; 512 MiB, in smaller wblocks, is the default.
//! `BRINDLE_BENCH_ONLY=75` runs one share; `BRINDLE_BENCH_SHADOW=dir` with a shadow in a directory
//! of its own within `dir`, which is removed at the end.

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares and rates to three digits"
)]
#![expect(clippy::print_stdout, reason = "the table is what this prints")]

mod common;

use brindle::{Config, Store};
use common::{key, number, uniform};
use hdrhistogram::Histogram;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const VALUE_BYTES_MIN: u64 = 100;
const VALUE_BYTES_MAX: u64 = 4_096;
/// Wblocks of the store, up to 4 GiB: how many there are matters more than how large they are.
const WBLOCKS: u64 = 512;
/// How often the store's size is written before the measured pass.
const PASSES: u64 = 5;
/// Open-loop runs, and how long each takes.
const RUNS: usize = 120;
const RUN: Duration = Duration::from_millis(50);

fn main() {
    let bytes = number("BRINDLE_BENCH_MIB", 512) << 20;
    let only = number("BRINDLE_BENCH_ONLY", 0);
    println!("{} MiB, values of {VALUE_BYTES_MIN} to {VALUE_BYTES_MAX} B", bytes >> 20);
    println!("{:>5} {:8} {:>9} {:>9} {:>6}", "live", "keys", "write amp", "puts/s", "rate");
    let mut empty_rate = None;
    for live_pct in [50, 75, 90] {
        if only != 0 && only != live_pct {
            continue;
        }
        for is_zipf in [false, true] {
            let mut load = Load::new(bytes, live_pct, is_zipf);
            let rate = load.fill();
            let empty_rate = *empty_rate.get_or_insert(rate);
            load.overwrite(PASSES * bytes);
            let before = load.store.stats().reclaim.moved_bytes;
            let (puts, put_bytes, elapsed) = load.overwrite(bytes);
            let moved = load.store.stats().reclaim.moved_bytes - before;
            let rate = puts as f64 / elapsed.as_secs_f64();
            println!(
                "{live_pct:>4}% {:8} {:>9.2} {:>9.0} {:>5.0}%",
                if is_zipf { "zipf" } else { "uniform" },
                1.0 + moved as f64 / put_bytes as f64,
                rate,
                100.0 * rate / empty_rate
            );
            if live_pct == 75 && !is_zipf {
                load.latencies(rate / 2.0);
            }
        }
    }
}

/// A store and what is done to it.
struct Load {
    store: Store,
    /// Dropped after the store.
    _shadow: Option<TempDir>,
    keys: u64,
    step: u64,
    zipf: Option<Zipf>,
    value: Vec<u8>,
    /// The share of the store that a fill leaves for the first overwrites.
    spare_bytes: u64,
}

impl Load {
    fn new(bytes: u64, live_pct: u64, is_zipf: bool) -> Self {
        let record = |number| record_bytes(value_bytes(number));
        let sample = 100_000;
        let mean = (0..sample).map(record).sum::<u64>() / sample;
        let keys = bytes * live_pct / 100 / mean;
        let mut config = Config::new()
            .data_size(bytes)
            .wblock_size((bytes / WBLOCKS).next_power_of_two().clamp(64 << 10, 8 << 20))
            .stop_writes_avail_pct(1)
            .expected_records(keys)
            .stop_writes_used_pct(0)
            .overload_wait(Duration::from_secs(10));
        let shadow = std::env::var("BRINDLE_BENCH_SHADOW").ok();
        let shadow = shadow.map(|dir| TempDir::new_in(dir).expect("there is such a directory"));
        if let Some(dir) = &shadow {
            config = config.shadow_dir(dir.path());
        }
        Self {
            _shadow: shadow,
            store: Store::open(config).expect("there is memory for the store"),
            keys,
            step: 0,
            zipf: is_zipf.then(|| Zipf::new(keys, 0.99)),
            value: common::value(VALUE_BYTES_MAX as usize),
            spare_bytes: bytes * (90 - live_pct.min(85)) / 100,
        }
    }

    /// Puts every key once; returns the rate of overwrites while nothing has to be reclaimed.
    fn fill(&mut self) -> f64 {
        for number in 0..self.keys {
            self.put(number);
        }
        let (puts, _, elapsed) = self.overwrite(self.spare_bytes / 2);
        puts as f64 / elapsed.as_secs_f64()
    }

    /// Overwrites keys until `bytes` are put; returns how many puts, their bytes, and how long.
    fn overwrite(&mut self, bytes: u64) -> (u64, u64, Duration) {
        let began = Instant::now();
        let (mut puts, mut put_bytes) = (0, 0);
        while put_bytes < bytes {
            let number = self.next_key();
            put_bytes += self.put(number);
            puts += 1;
        }
        (puts, put_bytes, began.elapsed())
    }

    fn next_key(&mut self) -> u64 {
        self.step += 1;
        match &self.zipf {
            Some(zipf) => zipf.sample(uniform(self.step, u64::MAX)),
            None => uniform(self.step, self.keys),
        }
    }

    fn put(&self, number: u64) -> u64 {
        let bytes = value_bytes(number);
        let value = self.value.get(..bytes as usize).expect("a value of at most this length");
        self.store.put(key(number), value).expect("there is room");
        record_bytes(bytes)
    }

    /// Latencies of an open loop of half gets, half puts; the least of several runs.
    fn latencies(&mut self, rate: f64) {
        let mut quiet = Load::new(256 << 20, 10, false);
        quiet.fill();
        println!(
            "\n  open loop at {rate:.0}/s, half of them puts; microseconds, least of {RUNS} runs"
        );
        println!("  {:24} {:>8} {:>8} {:>8}", "", "p50", "p99.9", "p99.99");
        let mut least: Vec<(&str, [f64; 3])> = Vec::new();
        let moved_before = self.store.stats().reclaim.moved_bytes;
        for _ in 0..RUNS {
            let reclaiming = open_loop(rate, |at| self.call(at));
            let resting = open_loop(rate, |at| quiet.call(at));
            let [idle, _] = open_loop(rate, |_| ());
            let names =
                ["put, reclaiming", "get, reclaiming", "put, at rest", "get, at rest", "nothing"];
            let histograms = reclaiming.iter().chain(&resting).chain([&idle]);
            for (name, histogram) in names.into_iter().zip(histograms) {
                let percentile = |at| histogram.value_at_percentile(at) as f64 / 1000.0;
                let found = [50.0, 99.9, 99.99].map(percentile);
                match least.iter_mut().find(|(other, _)| *other == name) {
                    None => least.push((name, found)),
                    Some((_, least)) => {
                        least
                            .iter_mut()
                            .zip(found)
                            .for_each(|(least, now)| *least = least.min(now));
                    }
                }
            }
        }
        for (name, [p50, p999, p9999]) in least {
            println!("  {name:24} {p50:>8.2} {p999:>8.2} {p9999:>8.2}");
        }
        let moved = self.store.stats().reclaim.moved_bytes - moved_before;
        let run_ms = RUN.as_millis() as u64;
        println!("  moved meanwhile: {} MiB a run of {run_ms} ms\n", (moved >> 20) / RUNS as u64);
    }

    /// A put, or every second time a get.
    fn call(&mut self, at: u64) {
        let number = self.next_key();
        if at % 2 == 1 {
            let record = self.store.get(key(number));
            black_box(record.map(|record| common::read(&record)));
        } else {
            self.put(number);
        }
    }
}

fn value_bytes(number: u64) -> u64 {
    VALUE_BYTES_MIN + uniform(!number, VALUE_BYTES_MAX - VALUE_BYTES_MIN)
}

/// Bytes that a record takes, with its header of 28 B.
fn record_bytes(value_bytes: u64) -> u64 {
    (28 + common::KEY_BYTES as u64 + value_bytes).next_multiple_of(16)
}

/// Numbers by Zipf's law, the frequent ones spread over all.
///
/// Source: J. Gray et al., "Quickly generating billion-record synthetic databases", 1994.
struct Zipf {
    count: u64,
    theta: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    fn new(count: u64, theta: f64) -> Self {
        let zeta: f64 = (1..=count).map(|rank| (rank as f64).powf(-theta)).sum();
        let zeta_2 = 1.0 + 2_f64.powf(-theta);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - theta)) / (1.0 - zeta_2 / zeta);
        Self { count, theta, zeta, eta }
    }

    fn sample(&self, random: u64) -> u64 {
        let u = random as f64 / u64::MAX as f64;
        let rank = if u * self.zeta < 1.0 {
            0
        } else if u * self.zeta < 1.0 + 0.5_f64.powf(self.theta) {
            1
        } else {
            let power = (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - self.theta));
            (self.count as f64 * power) as u64
        };
        uniform(rank.min(self.count - 1), self.count)
    }
}

/// Latencies of puts and of gets, from their intended starts.
fn open_loop(rate: f64, mut call: impl FnMut(u64)) -> [Histogram<u64>; 2] {
    let new = || Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("good bounds");
    let mut histograms = [new(), new()];
    let began = Instant::now();
    for at in 0_u64.. {
        let intended = Duration::from_secs_f64(at as f64 / rate);
        if intended > RUN {
            break;
        }
        while began.elapsed() < intended {
            std::hint::spin_loop();
        }
        call(at);
        let late = began.elapsed().saturating_sub(intended);
        if let Some(histogram) = histograms.get_mut((at % 2) as usize) {
            histogram.saturating_record(late.as_nanos() as u64);
        }
    }
    histograms
}

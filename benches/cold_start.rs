//! Question: how long does a store take to open, by the bytes that its shadow holds?
//!
//! A shadow of 1 GiB (`BRINDLE_BENCH_SHADOW_BYTES`), full of small or of larger records, is written
//! once and opened again and again; it is warm in the system's cache, so what is measured is the
//! engine: reading, checking and indexing. The directory is temporary (`TMPDIR` moves it).

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]

mod common;

use brindle::{Config, Error, Store};
use common::{key, value};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::path::Path;
use std::time::{Duration, Instant};

fn cold_start(c: &mut Criterion) {
    let bytes = common::number("BRINDLE_BENCH_SHADOW_BYTES", 1 << 30);
    let mut group = c.benchmark_group("cold_start");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(bytes));
    for value_bytes in [100, 1024] {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let records = write(folder.path(), bytes, value_bytes);
        group.bench_function(BenchmarkId::from_parameter(value_bytes), |b| {
            b.iter_custom(|opens| (0..opens).map(|_| open(folder.path(), records)).sum());
        });
    }
    group.finish();
}

/// Fills a shadow, and returns how many records that took.
fn write(folder: &Path, bytes: u64, value_bytes: usize) -> u64 {
    let config = Config::new().data_size(bytes).shadow_dir(folder);
    let config = config.stop_writes_used_pct(0).stop_writes_avail_pct(0);
    let store = Store::open(config).expect("there is room for the shadow");
    let value = value(value_bytes);
    let mut records = 0;
    loop {
        match store.put(key(records), &value) {
            Ok(_) => records += 1,
            Err(Error::OutOfSpace) => break,
            Err(other) => panic!("put: {other}"),
        }
    }
    store.close().expect("the shadow takes it all");
    records
}

fn open(folder: &Path, records: u64) -> Duration {
    let start = Instant::now();
    let store = Store::open(Config::new().shadow_dir(folder)).expect("the shadow is whole");
    let elapsed = start.elapsed();
    assert_eq!(store.len() as u64, records, "every record is back");
    store.close().expect("nothing is left to write");
    elapsed
}

criterion_group!(benches, cold_start);
criterion_main!(benches);

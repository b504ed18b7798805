//! Question: how much does a group of gets save over as many single ones, by value size?
//!
//! Throughput is in records: compare with `get/hit`, or with `pinned`, single gets under one pin.

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]

mod common;

use common::{filled, key, read, uniform};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Keys asked for at once.
const KEYS: usize = 128;

fn get_many(c: &mut Criterion) {
    let mut group = c.benchmark_group("get/many");
    group.throughput(Throughput::Elements(KEYS as u64));
    for value_bytes in [16, 100, 1024, 4096] {
        // As many records of the largest size would not fit a small machine.
        let records = if value_bytes < 4096 { common::records() } else { common::records() / 4 };
        let store = filled(records, value_bytes, 1);
        let mut step = 0;
        let mut next = || {
            step += 1;
            key(uniform(step, records))
        };
        group.bench_function(BenchmarkId::from_parameter(value_bytes), |b| {
            b.iter(|| {
                let keys: [_; KEYS] = std::array::from_fn(|_| next());
                let records = store.get_many(&keys);
                let found = records.iter().map(|record| record.as_deref().map_or(0, read));
                black_box(found.fold(0, |sum, word| sum ^ word))
            });
        });
        group.bench_function(BenchmarkId::new("pinned", value_bytes), |b| {
            b.iter(|| {
                let keys: [_; KEYS] = std::array::from_fn(|_| next());
                let pin = store.pin();
                let found = keys.iter().map(|key| pin.get(key).as_deref().map_or(0, read));
                black_box(found.fold(0, |sum, word| sum ^ word))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, get_many);
criterion_main!(benches);

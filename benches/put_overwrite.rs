//! Question: what does one put over an older record cost, by value size?
//!
//! Uniform over all records. It reads the record that it replaces: one miss more than a new key.

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]

mod common;

use brindle::Store;
use common::{Supply, filled, key, uniform, value};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn put_overwrite(c: &mut Criterion) {
    let records = common::records();
    let mut group = c.benchmark_group("put/overwrite");
    group.throughput(Throughput::Elements(1));
    for value_bytes in [16, 100, 1024] {
        let value = value(value_bytes);
        let mut stores = Supply::new(2 * records, || filled(records, value_bytes, 3));
        let mut put = |store: &Store, step| {
            let key = key(uniform(step, records));
            black_box(store.put(key, &value).expect("there is room"));
        };
        group.bench_function(BenchmarkId::from_parameter(value_bytes), |b| {
            b.iter_custom(|steps| stores.time(steps, &mut put));
        });
    }
    group.finish();
}

criterion_group!(benches, put_overwrite);
criterion_main!(benches);

//! Question: what does one put of a new key cost, by value size, while a store fills?
//!
//! The index is sized beforehand, or (`growing`) starts small and splits all the way.

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]

mod common;

use brindle::{Config, Store};
use common::{Supply, VALUE_BYTES, data_size, key, open, value};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn put_new(c: &mut Criterion) {
    let records = common::records();
    let mut group = c.benchmark_group("put/new");
    group.throughput(Throughput::Elements(1));
    for value_bytes in [16, 100, 1024] {
        let value = value(value_bytes);
        let mut stores = Supply::new(records, || open(records, value_bytes, 1));
        group.bench_function(BenchmarkId::from_parameter(value_bytes), |b| {
            b.iter_custom(|steps| stores.time(steps, |store, number| put(store, number, &value)));
        });
    }
    let value = value(VALUE_BYTES);
    let mut stores = Supply::new(records, || {
        Store::open(Config::new().data_size(data_size(records, VALUE_BYTES, 1)))
            .expect("there is memory for the store")
    });
    group.bench_function(BenchmarkId::new("growing", VALUE_BYTES), |b| {
        b.iter_custom(|steps| stores.time(steps, |store, number| put(store, number, &value)));
    });
    group.finish();
}

fn put(store: &Store, number: u64, value: &[u8]) {
    black_box(store.put(key(number), value).expect("there is room"));
}

criterion_group!(benches, put_new);
criterion_main!(benches);

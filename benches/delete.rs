//! Question: what does one delete cost, of a key that is there and of one that is not?
//!
//! In memory only, where a delete takes the entry out of the index and writes nothing.

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]

mod common;

use common::{Supply, VALUE_BYTES, filled, key, uniform};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn delete(c: &mut Criterion) {
    let records = common::records();
    let mut group = c.benchmark_group("delete");
    group.throughput(Throughput::Elements(1));
    let mut stores = Supply::new(records, || filled(records, VALUE_BYTES, 1));
    group.bench_function("present", |b| {
        b.iter_custom(|steps| {
            stores.time(steps, |store, number| {
                assert!(black_box(store.delete(key(number)).expect("it is open")));
            })
        });
    });
    drop(stores);
    let store = filled(records, VALUE_BYTES, 1);
    let mut step = 0;
    let mut next = || {
        step += 1;
        key(records + uniform(step, records))
    };
    group.bench_function("absent", |b| {
        b.iter(|| black_box(store.delete(next()).expect("it is open")));
    });
    group.finish();
}

criterion_group!(benches, delete);
criterion_main!(benches);

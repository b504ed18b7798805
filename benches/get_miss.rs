//! Question: what does one get of a key that is not there cost?
//!
//! One bucket as a rule, and no record: an entry that resembles the key's is rare.

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]

mod common;

use common::{VALUE_BYTES, filled, key, uniform};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn get_miss(c: &mut Criterion) {
    let records = common::records();
    let store = filled(records, VALUE_BYTES, 1);
    let mut step = 0;
    let mut next = || {
        step += 1;
        key(records + uniform(step, records))
    };
    let mut group = c.benchmark_group("get/miss");
    group.throughput(Throughput::Elements(1));
    group.bench_function("absent", |b| b.iter(|| black_box(store.get(next()).is_none())));
    group.finish();
}

criterion_group!(benches, get_miss);
criterion_main!(benches);

//! Question: what does one get of a key that is there cost, by value size, with no writer running?
//!
//! Uniform over all records, every line of the value read. Each size has as many records: the
//! larger ones differ in the lines of a value alone, not in the index.

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]

mod common;

use common::{filled, key, read, uniform};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn get_hit(c: &mut Criterion) {
    let records = common::records();
    let mut group = c.benchmark_group("get/hit");
    for value_bytes in [16, 100, 1024] {
        let store = filled(records, value_bytes, 1);
        let mut step = 0;
        let mut next = || {
            step += 1;
            key(uniform(step, records))
        };
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(value_bytes), |b| {
            b.iter(|| black_box(read(&store.get(next()).expect("it is there"))));
        });
    }
    group.finish();
}

criterion_group!(benches, get_hit);
criterion_main!(benches);

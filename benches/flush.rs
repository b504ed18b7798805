//! Question: what does durability cost: a flush by the bytes that wait for it, and a durable put,
//! alone and among other writers?
//!
//! Nothing is flushed by time here, so that a flush finds just what was put since the last one.
//! `durable` counts the puts of all its writers: a flush that they share is paid once. The disk
//! of a virtual machine is partly its host's cache: compare within a run.

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]

mod common;

use brindle::{Config, PutOptions, Store};
use common::{Supply, key, value};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Bytes of a store: it is replaced when they are used up.
const STORE_BYTES: u64 = 512 << 20;
/// What one record takes of them, in round numbers.
const RECORD_BYTES: u64 = 1024;
const VALUE_BYTES: usize = 960;
/// What a flush of little takes: its padding, and the share of the wblocks' ends.
const FLUSH_BYTES: u64 = 8 << 10;

fn flush(c: &mut Criterion) {
    let mut group = c.benchmark_group("flush");
    group.sample_size(20);
    for pending_bytes in [1_u64 << 10, 64 << 10, 1 << 20, 16 << 20] {
        let records = pending_bytes / RECORD_BYTES;
        let budget = STORE_BYTES / 2 / (pending_bytes + FLUSH_BYTES);
        let (value, folder) = (value(VALUE_BYTES), folder());
        let mut stores = Supply::new(budget, || open(&folder));
        group.throughput(Throughput::Bytes(pending_bytes));
        let mut time = |store: &Store, flushes: Range<u64>| {
            flushes.map(|number| flush_one(store, number * records, records, &value)).sum()
        };
        group.bench_function(BenchmarkId::from_parameter(pending_bytes), |b| {
            b.iter_custom(|flushes| stores.time_batches(flushes, &mut time));
        });
    }
    group.finish();
}

/// Puts `records` records, and returns how long their flush takes.
fn flush_one(store: &Store, first: u64, records: u64, value: &[u8]) -> Duration {
    for number in first..first + records {
        store.put(key(number), value).expect("there is room");
    }
    let start = Instant::now();
    store.flush().expect("the shadow takes it");
    start.elapsed()
}

fn durable(c: &mut Criterion) {
    let mut group = c.benchmark_group("put/durable");
    group.sample_size(20);
    for writers in [1, 4, 16, 64] {
        let budget = STORE_BYTES / 2 / (RECORD_BYTES + FLUSH_BYTES) / writers;
        let folder = folder();
        let mut stores = Supply::new(budget, || open(&folder));
        group.throughput(Throughput::Elements(writers));
        group.bench_function(BenchmarkId::from_parameter(writers), |b| {
            b.iter_custom(|puts| {
                stores.time_batches(puts, |store, puts| put_durably(store, writers, &puts))
            });
        });
    }
    group.finish();
}

/// Each writer does all of `puts`, with keys of its own; the time until the last is done.
fn put_durably(store: &Store, writers: u64, puts: &Range<u64>) -> Duration {
    let (value, durable) = (value(VALUE_BYTES), PutOptions::new().durable(true));
    let write = |writer| {
        for number in puts.clone() {
            let key = key(number * writers + writer);
            black_box(store.put_with(key, &value, &durable).expect("the shadow takes it"));
        }
    };
    let write = &write;
    let start = Instant::now();
    thread::scope(|scope| {
        for writer in 0..writers {
            scope.spawn(move || write(writer));
        }
    });
    start.elapsed()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("there is a place for temporary files")
}

/// A store whose shadow is new; that of the one before it is gone.
fn open(folder: &TempDir) -> Store {
    let path = folder.path().join("shadow");
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("the shadow is ours");
    }
    let config = Config::new().data_size(STORE_BYTES).shadow_dir(path).flush_max_ms(0);
    let config = config.stop_writes_used_pct(0).stop_writes_avail_pct(0);
    Store::open(config).expect("there is room for the shadow")
}

criterion_group!(benches, flush, durable);
criterion_main!(benches);

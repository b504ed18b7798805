//! Question: what do readers and writers together get through, on two threads?
//!
//! Each thread does reads and overwrites in turn, uniform over all records; `95` and `50` are the
//! reads in a hundred. Throughput counts the operations of all threads (`BRINDLE_BENCH_THREADS`).

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]

mod common;

use brindle::Store;
use common::{Supply, VALUE_BYTES, filled, key, read, uniform, value};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Operations of each thread in what criterion counts as one: threads start seldom.
const ROUND: u64 = 1_000;

fn mixed(c: &mut Criterion) {
    let records = common::records();
    let threads = common::number("BRINDLE_BENCH_THREADS", 2);
    let mut group = c.benchmark_group("mixed");
    group.throughput(Throughput::Elements(threads * ROUND));
    for reads_pct in [95, 50] {
        // Every thread writes half of the time, at most.
        let rounds = (2 * records / ROUND).max(1);
        let copies = 1 + threads * rounds * ROUND / 2 / records;
        let mut stores = Supply::new(rounds, || filled(records, VALUE_BYTES, copies + 1));
        let mut time = |store: &Store, rounds: Range<u64>| {
            let steps = rounds.start * ROUND..rounds.end * ROUND;
            run(threads, |thread| work(store, thread, threads, reads_pct, steps.clone()))
        };
        group.bench_function(BenchmarkId::from_parameter(reads_pct), |b| {
            b.iter_custom(|rounds| stores.time_batches(rounds, &mut time));
        });
    }
    group.finish();
}

/// The time from the start of all threads to the end of the last.
fn run(threads: u64, work: impl Fn(u64) + Sync) -> Duration {
    let start = Barrier::new(usize::try_from(threads).unwrap_or(0) + 1);
    let (start, work) = (&start, &work);
    let started = thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                start.wait();
                work(thread);
            });
        }
        start.wait();
        Instant::now()
    });
    started.elapsed()
}

/// What one thread does.
fn work(store: &Store, thread: u64, threads: u64, reads_pct: u64, steps: Range<u64>) {
    let (value, records) = (value(VALUE_BYTES), common::records());
    for step in steps {
        let key = key(uniform(step * threads + thread, records));
        if step % 100 < reads_pct {
            black_box(read(&store.get(key).expect("it is there")));
        } else {
            black_box(store.put(key, &value).expect("there is room"));
        }
    }
}

criterion_group!(benches, mixed);
criterion_main!(benches);

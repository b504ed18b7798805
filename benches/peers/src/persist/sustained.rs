//! Puts of one size, as fast as they go, for some seconds: how steady, and what opens again after.

use super::{disk_bytes, percentiles, reopen};
use crate::engine::{Setup, Target, forget, open};
use crate::latency::histogram;
use crate::machine::{pin, process_cpu, thread_cpu};
use crate::stats::median;
use crate::work::{below, key};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One engine.
#[derive(Clone, Debug, Serialize)]
pub struct Sustained {
    /// Name of the engine.
    pub engine: String,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Puts a second, over all.
    pub puts: f64,
    /// Puts in the median second, in the slowest, in the fastest.
    pub seconds: [f64; 3],
    /// Puts in each second.
    pub series: Vec<f64>,
    /// p50, p99, p99.9, p99.99, max of a put, from the call. Unit: microseconds.
    pub put_us: [f64; 5],
    /// CPU time of others than the putting threads, in percent of one core.
    pub background_pct: f64,
    /// Bytes on disk at the end.
    pub disk_bytes: u64,
    /// Seconds from opening to the first record read.
    pub reopen_seconds: f64,
}

/// Puts into `engine` for `length` from `threads` threads, uniform over the records of `setup`.
pub fn measure_sustained(
    engine: &str,
    setup: &Setup,
    threads: usize,
    length: Duration,
) -> Sustained {
    forget(engine, &setup.dir);
    let target: Arc<dyn Target> = open(engine, setup).into();
    let slots = usize::try_from(length.as_secs()).unwrap_or(0) + 1;
    let seconds: Vec<AtomicU64> = (0..slots).map(|_| AtomicU64::new(0)).collect();
    let (done, before, start) = (AtomicBool::new(false), process_cpu(), Instant::now());
    let (all, cpu) = thread::scope(|scope| {
        let (target, seconds, done) = (&*target, &seconds[..], &done);
        scope.spawn(move || sync_now_and_then(target, done));
        let put = |thread: usize| {
            move || {
                pin(thread);
                put_for(target, setup, start, length, (thread as u64, seconds))
            }
        };
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(put(thread))).collect();
        let mut all = histogram();
        let mut cpu = Duration::ZERO;
        for worker in workers {
            let (one, used) = worker.join().expect("the thread ended well");
            all.add(one).expect("they have the same bounds");
            cpu += used;
        }
        // ORDERING: Relaxed. A flag, nothing goes with it.
        done.store(true, Ordering::Relaxed);
        (all, cpu)
    });
    let elapsed = start.elapsed().as_secs_f64();
    let background = process_cpu().saturating_sub(before).saturating_sub(cpu).as_secs_f64();
    drop(target); // closes it
    let folder = setup.dir.join(engine);
    let disk_bytes = disk_bytes(&folder);
    let reopened = reopen(engine, setup);
    forget(engine, &setup.dir);
    let series: Vec<f64> =
        seconds[..slots - 1].iter().map(|count| float(count.load(Ordering::Relaxed))).collect();
    let edge = |pick: fn(f64, f64) -> f64| series.iter().copied().reduce(pick).unwrap_or(0.0);
    Sustained {
        engine: engine.into(),
        value_bytes: setup.value_bytes,
        puts: float(all.len()) / elapsed,
        seconds: [median(&series), edge(f64::min), edge(f64::max)],
        put_us: percentiles(&all),
        background_pct: 100.0 * background / elapsed,
        disk_bytes,
        reopen_seconds: reopened.seconds,
        series,
    }
}

fn put_for(
    target: &dyn Target,
    setup: &Setup,
    start: Instant,
    length: Duration,
    (thread, seconds): (u64, &[AtomicU64]),
) -> (Histogram<u64>, Duration) {
    let before = thread_cpu();
    let mut latencies = histogram();
    let mut value: Vec<u8> = vec![0; setup.value_bytes];
    let mut step = thread << 48;
    let mut last = start.elapsed();
    while last < length {
        step += 1;
        // Not all alike, so that no engine gains by compressing.
        let at = usize::try_from(below(step, setup.value_bytes.max(9) as u64 - 8)).unwrap_or(0);
        value.iter_mut().skip(at).zip(step.to_le_bytes()).for_each(|(byte, new)| *byte = new);
        target.put(&key(below(!step, setup.records)), &value);
        let now = start.elapsed();
        let took = now.saturating_sub(last).as_nanos();
        latencies.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        last = now;
        if let Some(second) = usize::try_from(now.as_secs()).ok().and_then(|at| seconds.get(at)) {
            second.fetch_add(1, Ordering::Relaxed); // a count
        }
    }
    (latencies, thread_cpu().saturating_sub(before))
}

/// Once a second, until it is done.
fn sync_now_and_then(target: &dyn Target, done: &AtomicBool) {
    let mut tick: u32 = 0;
    while !done.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
        tick += 1;
        if tick.is_multiple_of(20) {
            target.sync();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

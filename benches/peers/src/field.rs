//! A workload from the field: a datastore of large records. Writers put a record each millisecond,
//! readers read one every two, all by the clock, and what is put has to be persisted.
//!
//! Latency from the call, and from the tick that it was due at. The run ends when the last record
//! is put; `settled` counts until all of it is handed to the disk.

use crate::engine::{Setup, Target, forget, open};
use crate::latency::histogram;
use crate::persist::percentiles;
use crate::work::{below, key};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a record's value.
pub const VALUE_BYTES: usize = 102_800;

/// What is asked for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shape {
    /// Threads that put.
    pub writers: u64,
    /// Threads that read.
    pub readers: u64,
    /// Puts, of all writers.
    pub puts: u64,
    /// Time between two puts of all writers.
    pub put_every: Duration,
    /// Time between two reads of one reader.
    pub get_every: Duration,
}

/// One engine.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the engine.
    pub engine: String,
    /// Until the last put returned.
    pub seconds: f64,
    /// Until all was settled, too.
    pub settled_seconds: f64,
    /// Mean of a put, from the call. Unit: microseconds.
    pub put_mean_us: f64,
    /// p50, p99, p99.9, p99.99 and the maximum of a put, from the call.
    pub put_us: [f64; 5],
    /// The same, from the tick that it was due at.
    pub put_due_us: [f64; 5],
    /// Puts that began a tick late or later.
    pub late: u64,
    /// Mean of a get that found its record, from the call.
    pub get_mean_us: f64,
    /// p50, p99, p99.9, p99.99 and the maximum of such a get.
    pub get_us: [f64; 5],
    /// Gets that found their record.
    pub gets: u64,
}

struct Puts {
    call: Histogram<u64>,
    due: Histogram<u64>,
    late: u64,
}

/// Runs the workload on `engine`.
pub fn measure(engine: &str, setup: &Setup, shape: Shape) -> Row {
    forget(engine, &setup.dir);
    let target: Arc<dyn Target> = open(engine, setup).into();
    let (target_ref, written, done) = (&*target, AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now() + Duration::from_millis(20); // all threads are there by then
    let (puts, gets, seconds) = thread::scope(|scope| {
        let (written, done) = (&written, &done);
        let put = |writer| move || write(target_ref, shape, writer, start, written);
        let get = |reader| move || read(target_ref, shape, reader, start, (written, done));
        let writers: Vec<_> = (0..shape.writers).map(|one| scope.spawn(put(one))).collect();
        let readers: Vec<_> = (0..shape.readers).map(|one| scope.spawn(get(one))).collect();
        let mut puts = Puts { call: histogram(), due: histogram(), late: 0 };
        for one in writers {
            let one = one.join().expect("the thread ended well");
            puts.call.add(one.call).expect("they have the same bounds");
            puts.due.add(one.due).expect("they have the same bounds");
            puts.late += one.late;
        }
        let seconds = start.elapsed().as_secs_f64();
        // ORDERING: Relaxed. A flag, nothing goes with it.
        done.store(true, Ordering::Relaxed);
        let mut gets = histogram();
        for one in readers {
            gets.add(one.join().expect("the thread ended well")).expect("the same bounds");
        }
        (puts, gets, seconds)
    });
    target.settle();
    target.sync();
    let settled_seconds = start.elapsed().as_secs_f64();
    drop(target);
    forget(engine, &setup.dir);
    Row {
        engine: engine.into(),
        seconds,
        settled_seconds,
        put_mean_us: puts.call.mean() / 1e3,
        put_us: percentiles(&puts.call),
        put_due_us: percentiles(&puts.due),
        late: puts.late,
        get_mean_us: gets.mean() / 1e3,
        get_us: percentiles(&gets),
        gets: gets.len(),
    }
}

/// The puts of one writer: every so many of all are its own.
fn write(
    target: &dyn Target,
    shape: Shape,
    writer: u64,
    start: Instant,
    written: &AtomicU64,
) -> Puts {
    let mut puts = Puts { call: histogram(), due: histogram(), late: 0 };
    let mut value: Vec<u8> =
        (0..VALUE_BYTES as u64).map(|at| below(at, 256).to_le_bytes()[0]).collect();
    let mut number = writer;
    while number < shape.puts {
        let due = start + shape.put_every * u32::try_from(number).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        value[..8].copy_from_slice(&number.to_le_bytes());
        let call = Instant::now();
        target.put(&key(number), &value);
        let end = Instant::now();
        puts.call.saturating_record(nanoseconds(end - call));
        puts.due.saturating_record(nanoseconds(end.saturating_duration_since(due)));
        puts.late += u64::from(call.saturating_duration_since(due) >= Duration::from_millis(1));
        // ORDERING: Relaxed. Readers take it for a hint: a record may not be there.
        written.fetch_max(number + 1, Ordering::Relaxed);
        number += shape.writers;
    }
    puts
}

/// The gets of one reader, of records that are mostly there.
fn read(
    target: &dyn Target,
    shape: Shape,
    reader: u64,
    start: Instant,
    (written, done): (&AtomicU64, &AtomicBool),
) -> Histogram<u64> {
    let mut latencies = histogram();
    let mut tick: u32 = 0;
    while !done.load(Ordering::Relaxed) {
        let due = start + shape.get_every * tick;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        tick += 1;
        let written = written.load(Ordering::Relaxed);
        let key = key(below(reader << 32 | u64::from(tick), written.max(1)));
        let call = Instant::now();
        if black_box(target.get(&key)).is_some() {
            latencies.saturating_record(nanoseconds(call.elapsed()));
        }
    }
    latencies
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

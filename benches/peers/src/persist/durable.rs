//! Puts that return only when they are durable, from many writers.

use super::percentiles;
use crate::engine::{Setup, Target, forget, open};
use crate::latency::histogram;
use crate::work::{below, key};
use serde::Serialize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// One engine.
#[derive(Clone, Debug, Serialize)]
pub struct Durable {
    /// Name of the engine, or of what the device itself gives.
    pub engine: String,
    /// Writers.
    pub writers: usize,
    /// Durable puts a second, of all writers.
    pub puts: f64,
    /// p50, p99, p99.9, p99.99, max of a put. Unit: microseconds.
    pub put_us: [f64; 5],
}

/// Durable puts of `writers` threads for `length`.
pub fn measure_durable(engine: &str, setup: &Setup, writers: usize, length: Duration) -> Durable {
    forget(engine, &setup.dir);
    let target: Arc<dyn Target> = open(engine, &Setup { durable: true, ..setup.clone() }).into();
    let start = Instant::now();
    let value = vec![0x5a; setup.value_bytes];
    let put = |writer: u64| {
        let (target, value) = (&*target, &value[..]);
        move || {
            let mut latencies = histogram();
            let mut step = writer << 48;
            let mut last = start.elapsed();
            while last < length {
                step += 1;
                target.put(&key(below(step, setup.records)), value);
                let now = start.elapsed();
                let took = u64::try_from(now.saturating_sub(last).as_nanos()).unwrap_or(u64::MAX);
                latencies.saturating_record(took);
                last = now;
            }
            latencies
        }
    };
    let mut all = histogram();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..writers as u64).map(|writer| scope.spawn(put(writer))).collect();
        for one in threads {
            all.add(one.join().expect("the thread ended well")).expect("they have the same bounds");
        }
    });
    let elapsed = start.elapsed().as_secs_f64();
    drop(target);
    forget(engine, &setup.dir);
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let puts = all.len() as f64 / elapsed;
    Durable { engine: engine.into(), writers, puts, put_us: percentiles(&all) }
}

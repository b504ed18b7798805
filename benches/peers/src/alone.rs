//! What an engine does alone, in a process of its own: how much memory it takes, and how long its
//! worst insert is while it grows. In one process the next engine would find the last one's memory.

use crate::engine::{KEY_BYTES, Setup, Target, forget, open};
use crate::machine::{memory, pin};
use crate::work::{key, load};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// An insert that is told of in [`Growth::stalls`].
const STALL: Duration = Duration::from_micros(50);

/// Memory that an engine takes, all included.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes a record over its key and value. What is reserved and free for more does not count.
    pub over: f64,
    /// Share of it in huge pages, in percent.
    pub huge_pct: f64,
}

/// Fills `engine`, opened with its capacity reserved, and looks at the process.
#[expect(clippy::cast_precision_loss, reason = "bytes to three digits")]
pub fn measure_memory(engine: &str, setup: &Setup) -> Memory {
    let before = memory();
    let target = open(engine, setup);
    let value: Arc<[u8]> = vec![7; setup.value_bytes].into();
    fill(setup, &value, &*target);
    target.settle();
    let after = memory();
    let spare = target.spare_bytes();
    drop(target);
    forget(engine, &setup.dir);
    let taken = after.resident.saturating_sub(before.resident + spare) as f64;
    let records = setup.records as f64;
    Memory {
        over: taken / records - (KEY_BYTES + setup.value_bytes) as f64,
        huge_pct: 100.0 * after.huge.saturating_sub(before.huge) as f64 / (taken + spare as f64),
    }
}

/// Puts all records, by plans so small that they do not count.
fn fill(setup: &Setup, value: &Arc<[u8]>, target: &dyn Target) {
    const BATCH: u64 = 10_000;
    let mut first = 0;
    while first < setup.records {
        let numbers = first..(first + BATCH).min(setup.records);
        first = numbers.end;
        for plan in load(&numbers, 1, value) {
            target.run(&plan);
        }
    }
}

/// How an engine grows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Growth {
    /// The worst insert. Unit: microseconds.
    pub worst_us: f64,
    /// The longest that the machine stopped a thread that only looked at the clock meanwhile.
    pub hiccup_us: f64,
    /// Seconds for all inserts.
    pub seconds: f64,
    /// Records before, and microseconds of, each insert of more than [`STALL`].
    pub stalls: Vec<(u64, f64)>,
}

/// Inserts all records, one thread, nothing reserved, each insert timed.
pub fn measure_growth(engine: &str, setup: &Setup) -> Growth {
    let target = open(engine, &Setup { presize: false, ..setup.clone() });
    let value = vec![7; setup.value_bytes];
    let hiccups = Hiccups::start(1);
    pin(0);
    let mut stalls = Vec::new();
    let mut worst = Duration::ZERO;
    let start = Instant::now();
    let mut last = start;
    for number in 0..setup.records {
        target.put(&key(number), &value);
        let now = Instant::now();
        let took = now - last;
        last = now;
        worst = worst.max(took);
        if took > STALL {
            stalls.push((number, took.as_secs_f64() * 1e6));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let hiccup_us = hiccups.stop().as_secs_f64() * 1e6;
    drop(target);
    forget(engine, &setup.dir);
    Growth { worst_us: worst.as_secs_f64() * 1e6, hiccup_us, seconds, stalls }
}

/// A thread that only looks at the clock: what it misses, the machine took.
pub struct Hiccups {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Hiccups {
    /// On core `core`, which should have nothing else to do.
    pub fn start(core: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            pin(core);
            let mut worst = Duration::ZERO;
            let mut last = Instant::now();
            // ORDERING: Relaxed. A flag, nothing goes with it.
            while !stopped.load(Ordering::Relaxed) {
                let now = Instant::now();
                worst = worst.max(now - last);
                last = now;
            }
            worst
        });
        Self { stop, thread }
    }

    /// The longest time between two looks.
    pub fn stop(self) -> Duration {
        // ORDERING: Relaxed. As above.
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

//! How long an engine takes to open what it persisted, with nothing of it in the page cache.

use super::{disk_bytes, evict};
use crate::engine::{Setup, Target, forget, open};
use crate::machine::process_cpu;
use crate::work::{Form, Plan, key, load};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// Keys of one batch of the load.
const BATCH: usize = 1000;

/// One engine.
#[derive(Clone, Debug, Serialize)]
pub struct Reopen {
    /// Name of the engine.
    pub engine: String,
    /// Records in it.
    pub records: u64,
    /// From opening to the first record read.
    pub seconds: f64,
    /// CPU time of the process meanwhile.
    pub cpu_seconds: f64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// Loads all records into `engine`, closes it, and opens it again.
pub fn measure_reopen(engine: &str, setup: &Setup) -> Reopen {
    forget(engine, &setup.dir);
    let target = open(engine, setup);
    fill(&*target, setup);
    target.settle();
    target.sync();
    drop(target);
    let reopened = reopen(engine, setup);
    forget(engine, &setup.dir);
    reopened
}

fn fill(target: &dyn Target, setup: &Setup) {
    let value: Arc<[u8]> = vec![0x5a; setup.value_bytes].into();
    for plan in load(&(0..setup.records), 1, &value) {
        target.run(&Plan { form: Form::PutMany(BATCH), ..plan });
    }
}

/// Opens what `engine` left behind, and reads a record.
pub fn reopen(engine: &str, setup: &Setup) -> Reopen {
    let folder = setup.dir.join(engine);
    let disk_bytes = disk_bytes(&folder);
    evict(&folder);
    let (start, cpu) = (Instant::now(), process_cpu());
    let target = open(engine, setup);
    // What a put may have drawn: the first few that are there.
    assert!((0..10_000).any(|number| target.get(&key(number)).is_some()), "it came back");
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = process_cpu().saturating_sub(cpu).as_secs_f64();
    drop(target);
    let engine = engine.into();
    Reopen { engine, records: setup.records, seconds, cpu_seconds, disk_bytes }
}

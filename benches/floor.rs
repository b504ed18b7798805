//! Question: how far is the engine from what its data path must cost?
//!
//! The engine and a bare sketch of its path (`floor/sketch.rs`) do the same work in one run, slice
//! by slice in turns, so that whatever else the machine does meets both: one thread, the same keys,
//! values and hash. Each slice of operations is timed as a whole; the table shows the median slice,
//! the quartiles of the engine's, and the median of the ratios of neighbouring slices.
//!
//! - `put new`: the second half of the records, into a region and an index that were touched.
//! - `get`: uniform, every key there, every line of the value read; `pinned`: under one pin.
//! - `overwrite`: uniform, half as many as there are records.
//! - `get_many`, `put_many`: uniform, in groups of 32 and of 16.
//!
//! The target is 1.6 for a get and 2 for a put, at 10 million records
//! (`BRINDLE_BENCH_RECORDS=10000000`; 7 GB of memory).

#![expect(clippy::expect_used, reason = "a bench ends at the first thing that goes wrong")]
#![expect(clippy::cast_precision_loss, reason = "nanoseconds to three digits")]
#![expect(clippy::print_stdout, reason = "the table is what this prints")]

mod common;
#[path = "floor/sketch.rs"]
mod sketch;

use brindle::Store;
use common::{KEY_BYTES, VALUE_BYTES, key, read, uniform};
use sketch::Sketch;
use std::hint::black_box;
use std::time::Instant;

/// Operations that are timed together: a few milliseconds.
const SLICE: u64 = 50_000;
/// Slices at least: small stores are asked more than once for each record.
const SLICES_MIN: u64 = 40;

/// Both, with the same records in them.
struct Bench {
    engine: Store,
    floor: Sketch,
    value: Vec<u8>,
    records: u64,
}

/// One line of the table. Unit: nanoseconds an operation, for each slice.
struct Row {
    name: &'static str,
    engine: Vec<f64>,
    floor: Vec<f64>,
}

fn main() {
    if let Some(core) = core_affinity::get_core_ids().and_then(|cores| cores.first().copied()) {
        core_affinity::set_for_current(core);
    }
    let records = common::records().max(4 * SLICE);
    let log_bytes =
        usize::try_from(records).unwrap_or(0) * 5 / 2 * (8 + KEY_BYTES + VALUE_BYTES + 16);
    let mut bench = Bench {
        engine: common::open(records, VALUE_BYTES, 2),
        floor: Sketch::new(usize::try_from(records).unwrap_or(0), log_bytes),
        value: common::value(VALUE_BYTES),
        records,
    };
    for number in 0..records / 2 {
        bench.engine.put(key(number), &bench.value).expect("there is room");
        assert!(!bench.floor.put(&key(number), &bench.value), "every key is new");
    }
    println!("{records} records, {KEY_BYTES} B keys, {VALUE_BYTES} B values; ns an operation");
    println!("{:12} {:>7} {:>15} {:>7} {:>6}", "", "engine", "quartiles", "floor", "ratio");
    let slices = (records / 2 / SLICE).max(1);
    let reads = slices.max(SLICES_MIN);
    bench.put("put new", slices, |step, records| records / 2 + step);
    bench.get(reads);
    bench.get_pinned(reads);
    bench.put("overwrite", slices, uniform);
    bench.get(reads);
    bench.get_many(reads);
    bench.put_many(slices);
}

impl Bench {
    /// Puts `slices` slices into both; `number` tells the record of a step.
    fn put(&mut self, name: &'static str, slices: u64, number: fn(u64, u64) -> u64) {
        let mut row = Row::new(name);
        for slice in 0..slices {
            let keys = keys(slice, |step| number(step, self.records));
            row.engine.push(time(&keys, keys.len(), |key| {
                black_box(self.engine.put(key, &self.value).expect("there is room"));
            }));
            row.floor.push(time(&keys, keys.len(), |key| {
                black_box(self.floor.put(key, &self.value));
            }));
        }
        row.print();
    }

    fn get(&self, slices: u64) {
        let mut row = Row::new("get");
        for slice in 0..slices {
            let keys = self.keys_to_read(slice);
            row.engine.push(time(&keys, keys.len(), |key| {
                black_box(read(self.engine.get(key).expect("every key is there").value()));
            }));
            row.floor.push(self.time_floor(&keys));
        }
        row.print();
    }

    fn get_pinned(&self, slices: u64) {
        let mut row = Row::new("get, pinned");
        for slice in 0..slices {
            let keys = self.keys_to_read(slice);
            let pin = self.engine.pin();
            row.engine.push(time(&keys, keys.len(), |key| {
                black_box(read(pin.get(key).expect("every key is there").value()));
            }));
            row.floor.push(self.time_floor(&keys));
        }
        row.print();
    }

    #[inline(never)]
    fn get_many(&self, slices: u64) {
        let mut row = Row::new("get_many");
        for slice in 0..slices {
            let keys = self.keys_to_read(slice);
            let groups: Vec<&[[u8; KEY_BYTES]]> = keys.chunks(32).collect();
            row.engine.push(time(&groups, keys.len(), |group| {
                for record in self.engine.get_many(group) {
                    black_box(read(record.expect("every key is there").value()));
                }
            }));
            row.floor.push(time(&groups, keys.len(), |group| {
                self.floor.ask_for(group, 2);
                for key in *group {
                    black_box(read(self.floor.get(key).expect("every key is there")));
                }
            }));
        }
        row.print();
    }

    #[inline(never)]
    fn put_many(&mut self, slices: u64) {
        let mut row = Row::new("put_many");
        for slice in 0..slices {
            let keys = keys(slice, |step| uniform(step ^ 0x5555, self.records));
            let groups: Vec<&[[u8; KEY_BYTES]]> = keys.chunks(16).collect();
            row.engine.push(time(&groups, keys.len(), |group| {
                let pairs = group.iter().map(|key| (key, &self.value));
                black_box(self.engine.put_many(pairs).expect("there is room"));
            }));
            row.floor.push(time(&groups, keys.len(), |group| {
                self.floor.ask_for(group, 1);
                for key in *group {
                    black_box(self.floor.put(key, &self.value));
                }
            }));
        }
        row.print();
    }

    fn keys_to_read(&self, slice: u64) -> Vec<[u8; KEY_BYTES]> {
        keys(slice, |step| uniform(!step, self.records))
    }

    fn time_floor(&self, keys: &[[u8; KEY_BYTES]]) -> f64 {
        time(keys, keys.len(), |key| {
            black_box(read(self.floor.get(key).expect("every key is there")));
        })
    }
}

/// The keys of one slice, made before it is timed.
fn keys(slice: u64, number: impl Fn(u64) -> u64) -> Vec<[u8; KEY_BYTES]> {
    (slice * SLICE..(slice + 1) * SLICE).map(|step| key(number(step))).collect()
}

/// Nanoseconds that `operate` takes for each of `operations`, `inputs` being all it is called with.
fn time<T>(inputs: &[T], operations: usize, operate: impl FnMut(&T)) -> f64 {
    let start = Instant::now();
    inputs.iter().for_each(operate);
    start.elapsed().as_secs_f64() * 1e9 / operations as f64
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self { name, engine: Vec::new(), floor: Vec::new() }
    }

    fn print(&self) {
        let ratios = self.engine.iter().zip(&self.floor).map(|(engine, floor)| engine / floor);
        let quartiles =
            format!("{:.1}..{:.1}", quantile(&self.engine, 1), quantile(&self.engine, 3));
        println!(
            "{:12} {:7.1} {:>15} {:7.1} {:6.2}",
            self.name,
            quantile(&self.engine, 2),
            quartiles,
            quantile(&self.floor, 2),
            quantile(&ratios.collect::<Vec<_>>(), 2),
        );
    }
}

/// The value that `quarters` quarters of `values` are below of.
fn quantile(values: &[f64], quarters: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() * quarters / 4).copied().unwrap_or(f64::NAN)
}

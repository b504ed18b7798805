//! `bench`: throughput and latency of a store on this machine.
//!
//! Each workload gets a new store, so that none pays for the one before. A time is taken around
//! each call, two readings of the clock included (some 50 ns). A workload for which the store has
//! no space any more ends there, and says so.

use crate::args::{BenchArgs, WorkloadName};
use crate::error::{Failure, Outcome};
use crate::output::write_document;
use crate::plot::{Curve, Panel, latencies};
use crate::progress::Progress;
use crate::text::Size;
use crate::workload::{Draw, KINDS, Latency, Op, Tally, key_of, record_bytes};
use brindle::{Config, Error, Store};
use schemars::JsonSchema;
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const DATA_BYTES_MIN: u64 = 1 << 30;

const LOAD: usize = 0;
const GET: usize = 1;
const PUT: usize = 2;
const UPDATE: usize = 3;
const _: () = assert!(KINDS.len() == UPDATE + 1);

/// What one workload measured.
#[derive(Debug, Serialize, JsonSchema)]
struct Measured {
    workload: String,
    operations: u64,
    seconds: f64,
    operations_per_second: f64,
    /// Gets that found nothing.
    misses: u64,
    /// Why it ended before its time.
    ended_early: Option<String>,
    latency: Vec<Latency>,
}

/// `brindle-bench/1`: throughput and latencies.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// Records that are loaded.
    records: u64,
    value_bytes: u64,
    threads: u16,
    /// `uniform` or `zipf`.
    distribution: String,
    data_size_bytes: u64,
    /// Else the store is in memory alone.
    has_shadow: bool,
    /// In the order that they ran; each loads its records first.
    workloads: Vec<Measured>,
}

/// `brindle bench`.
pub(crate) fn run(
    args: &BenchArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = args.threads.unwrap_or_else(|| u16::try_from(cores).unwrap_or(u16::MAX));
    let loaded = args.records.saturating_mul(record_bytes(args.value_size.0));
    let chosen = loaded.saturating_mul(4).max(DATA_BYTES_MIN);
    let data_size_bytes = args.data_size.map_or(chosen, |size| size.0);
    let mut report = Report {
        records: args.records,
        value_bytes: args.value_size.0,
        threads,
        distribution: format!("{:?}", args.distribution).to_lowercase(),
        data_size_bytes,
        has_shadow: args.shadow_dir.is_some(),
        workloads: Vec::new(),
    };
    if !is_json {
        write_head(out, &report).map_err(Failure::Output)?;
    }
    for name in &args.workloads {
        let bench = Bench { args, name: *name, threads, data_size_bytes };
        for measured in bench.measure()? {
            if !is_json {
                write_measured(out, &measured).map_err(Failure::Output)?;
            }
            report.workloads.push(measured);
        }
    }
    if let Some(path) = &args.svg {
        let failed = |source| Failure::File { op: "write", path: path.clone(), source };
        fs::write(path, plot(&report)).map_err(failed)?;
    }
    if is_json {
        write_document(out, "brindle-bench/1", &report)?;
    }
    Ok(Outcome::Good)
}

/// The latencies of the workloads, without those of loading.
fn plot(report: &Report) -> String {
    let is_run = |one: &&Measured| !one.workload.starts_with("load");
    let panels = report.workloads.iter().filter(is_run).map(|one| {
        let curves = one.latency.iter().map(|latency| Curve {
            name: latency.operation,
            color: KINDS.iter().position(|kind| *kind == latency.operation).unwrap_or_default(),
            points: latency.curve.clone(),
        });
        let rate = one.operations_per_second;
        let title = format!("workload {}: {rate:.0} operations a second", one.workload);
        Panel { title, curves: curves.collect() }
    });
    latencies(&panels.collect::<Vec<_>>(), &conditions(report))
}

/// What was measured on, in a line.
fn conditions(report: &Report) -> String {
    let Report { records, threads, distribution, .. } = report;
    let (value, data) = (Size(report.value_bytes), Size(report.data_size_bytes));
    let shadow = if report.has_shadow { "with a shadow" } else { "memory only" };
    format!(
        "{records} records of {value}, {threads} threads, {distribution}, data size {data}, \
         {shadow}"
    )
}

/// One workload.
struct Bench<'a> {
    args: &'a BenchArgs,
    name: WorkloadName,
    threads: u16,
    data_size_bytes: u64,
}

/// What the threads of a workload share.
struct Shared<'a> {
    store: &'a Store,
    value: Vec<u8>,
    /// Records that there are.
    newest: AtomicU64,
    is_over: AtomicBool,
}

impl Bench<'_> {
    /// Loads a new store, runs the workload on it, and removes what it left.
    fn measure(&self) -> Result<Vec<Measured>, Failure> {
        let room = 128_u64.saturating_add(self.args.value_size.0);
        let mut config =
            Config::new().data_size(self.data_size_bytes).max_record_size(room.max(1 << 20));
        let dir = self.args.shadow_dir.as_ref().map(|dir| self.scratch(dir)).transpose()?;
        if let Some(Scratch(dir)) = &dir {
            config = config.shadow_dir(dir);
        }
        let store = Store::open(config).map_err(failed("open a store"))?;
        let value = vec![b'x'; usize::try_from(self.args.value_size.0).unwrap_or(usize::MAX)];
        let newest = AtomicU64::new(self.args.records);
        let shared = Shared { store: &store, value, newest, is_over: AtomicBool::new(false) };
        let loaded = self.run_threads(&format!("load {:?}", self.name), |thread, tally| {
            self.load(&shared, thread, tally)
        })?;
        let mut measured = vec![loaded];
        if measured.iter().all(|loaded| loaded.ended_early.is_none()) {
            let end = Instant::now() + Duration::from_secs(self.args.seconds);
            measured.push(self.run_threads(&format!("{:?}", self.name), |thread, tally| {
                self.work(&shared, thread, end, tally)
            })?);
        }
        store.close().map_err(failed("close the store"))?;
        Ok(measured)
    }

    /// A directory that is this workload's alone.
    fn scratch(&self, dir: &Path) -> Result<Scratch, Failure> {
        let own = dir.join(format!("workload-{:?}", self.name).to_lowercase());
        let failed = |source| Failure::File { op: "create", path: own.clone(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        fs::create_dir(&own).map_err(failed)?;
        Ok(Scratch(own))
    }

    /// Runs `job` on every thread, and puts together what they noted.
    fn run_threads(
        &self,
        workload: &str,
        job: impl Fn(u16, &mut Tally) -> Result<(), Error> + Sync,
    ) -> Result<Measured, Failure> {
        let no_memory = || Failure::Usage("there is no memory for histograms".to_owned());
        let mut sum = Tally::new().ok_or_else(no_memory)?;
        let progress = Progress::ticking(workload);
        let started = Instant::now();
        let noted: Vec<_> = thread::scope(|scope| {
            let spawn = |thread| {
                let (mut tally, job) = (sum.clone(), &job);
                scope.spawn(move || (job(thread, &mut tally), tally))
            };
            let threads: Vec<_> = (0..self.threads).map(spawn).collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        let seconds = started.elapsed().as_secs_f64();
        drop(progress);
        let mut ended_early = None;
        for one in noted {
            let Ok((done, tally)) = one else {
                return Err(Failure::Usage("a thread of the bench panicked".to_owned()));
            };
            sum.add(&tally);
            match done {
                Err(error) if is_full(&error) => ended_early = Some(error.to_string()),
                done => done.map_err(failed("write to the store"))?,
            }
        }
        let operations = sum.operations();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let operations_per_second = operations as f64 / seconds;
        let (misses, latency) = (sum.misses, sum.latencies());
        let workload = workload.to_owned();
        Ok(Measured {
            workload,
            operations,
            seconds,
            operations_per_second,
            misses,
            ended_early,
            latency,
        })
    }

    /// Puts this thread's share of the records.
    fn load(&self, shared: &Shared<'_>, thread: u16, tally: &mut Tally) -> Result<(), Error> {
        for number in (u64::from(thread)..self.args.records).step_by(self.threads.into()) {
            let key = key_of(number);
            let started = Instant::now();
            shared.store.put(key, &shared.value)?;
            tally.note(LOAD, started.elapsed());
        }
        Ok(())
    }

    /// Draws and does operations until the time is over, or the store is full.
    fn work(
        &self,
        shared: &Shared<'_>,
        thread: u16,
        end: Instant,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let Self { args, name, .. } = self;
        let mut draw = Draw::new(*name, args.distribution, args.records, u64::from(thread) << 32);
        // ORDERING: Relaxed. A wish to stop, and a number that two threads only must not share.
        while !shared.is_over.load(Ordering::Relaxed) {
            let op = draw.next(shared.newest.load(Ordering::Relaxed));
            let (kind, done, started, now) = perform(shared, op, tally);
            if let Err(error) = done {
                shared.is_over.store(true, Ordering::Relaxed);
                return Err(error);
            }
            tally.note(kind, now - started);
            if now >= end {
                break;
            }
        }
        Ok(())
    }
}

/// Does one operation, and says what it was, how it went, when it began and when it ended.
fn perform(
    shared: &Shared<'_>,
    op: Op,
    tally: &mut Tally,
) -> (usize, Result<(), Error>, Instant, Instant) {
    let store = shared.store;
    let number = match op {
        Op::Get(number) | Op::Put(number) | Op::Update(number) => number,
        // ORDERING: Relaxed, as in `work`.
        Op::Insert => shared.newest.fetch_add(1, Ordering::Relaxed),
    };
    let key = key_of(number);
    let started = Instant::now();
    let (kind, done) = match op {
        Op::Get(_) => {
            let is_found = store.get_with(key, |record| record.len() == shared.value.len());
            tally.misses += u64::from(is_found != Some(true));
            (GET, Ok(()))
        }
        Op::Put(_) | Op::Insert => (PUT, store.put(key, &shared.value).map(|_| ())),
        Op::Update(_) => {
            let change = |old: Option<&[u8]>| {
                let mut value = old.unwrap_or(&shared.value).to_vec();
                if let Some(first) = value.first_mut() {
                    *first = first.wrapping_add(1);
                }
                Some(value)
            };
            (UPDATE, store.update(key, change).map(|_| ()))
        }
    };
    (kind, done, started, Instant::now())
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::OutOfSpace | Error::StopWrites { .. } | Error::Overloaded)
}

fn failed(op: &'static str) -> impl Fn(Error) -> Failure {
    move |error| Failure::Engine { op, source: Box::new(error) }
}

/// A directory that the bench made, removed with the shadows in it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: what stays is named in the help.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write_head(out: &mut dyn Write, report: &Report) -> std::io::Result<()> {
    writeln!(out, "{}", conditions(report))?;
    writeln!(
        out,
        "{:<8} {:<7} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9}  (us)",
        "workload", "", "per second", "p50", "p90", "p99", "p99.9", "max"
    )?;
    out.flush()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn write_measured(out: &mut dyn Write, measured: &Measured) -> std::io::Result<()> {
    for latency in &measured.latency {
        let us = |nanos: u64| nanos as f64 / 1_000.0;
        writeln!(
            out,
            "{:<8} {:<7} {:>12.0} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.1}",
            measured.workload,
            latency.operation,
            latency.count as f64 / measured.seconds,
            us(latency.p50_ns),
            us(latency.p90_ns),
            us(latency.p99_ns),
            us(latency.p99_9_ns),
            us(latency.max_ns)
        )?;
    }
    if let Some(why) = &measured.ended_early {
        writeln!(out, "{:<8} ended after {:.2} s: {why}", measured.workload, measured.seconds)?;
    }
    out.flush()
}

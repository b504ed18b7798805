//! The program `scale`: gets, puts, reclamation, memory, cold start of Brindle, from ten thousand
//! records to as many as fit into memory, with one thread and with more.

use crate::crew::Crew;
use crate::engine::{SUBJECT, SUBJECT_IN_MEMORY, Setup, Target, forget, open};
use crate::machine::{self, Machine};
use crate::persist::measure_reopen;
use crate::plot::{Axis, Plot, Series};
use crate::stats::median;
use crate::work::{Maker, Plan, load, matching};
use crate::{alone, output};
use clap::Parser;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The command line.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(about = "What Brindle costs as it grows")]
pub struct Arguments {
    /// Records of each step [default: 10 thousand to 50 million, as far as they fit into memory]
    #[arg(long, value_delimiter = ',')]
    records: Vec<u64>,
    /// Load threads of each step [default: 1 to all cores]
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Bytes of a value
    #[arg(long, default_value_t = 100)]
    value: usize,
    /// Slices of each measurement
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Operations of a thread in a slice
    #[arg(long, default_value_t = 200_000)]
    operations: usize,
    /// Where the shadow is [default: the system's temporary folder]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write all figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write plots into this folder
    #[arg(long)]
    plots: Option<PathBuf>,
}

/// One number of records, one number of threads.
#[derive(Clone, Debug, Serialize)]
struct Row {
    records: u64,
    threads: usize,
    /// Million operations a second of all threads: gets, gets of 32, updates with spare room left.
    get: f64,
    get_many: f64,
    put: f64,
    /// Updates with reclamation going on, half of the memory live; bytes moved for each byte put.
    sustained: f64,
    moved: f64,
    /// Bytes a record over key and value.
    memory: f64,
    /// Cold start: seconds, and of CPU.
    cold: f64,
    cold_cpu: f64,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    machine: Machine,
    arguments: &'a Arguments,
    rows: Vec<Row>,
}

/// Runs what `arguments` ask for.
///
/// # Errors
///
/// If a file cannot be written.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    machine::prepare()?;
    let machine = Machine::here();
    output::heading(&machine);
    let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::tempdir_in(parent)?;
    let threads = match &arguments.threads[..] {
        [] => (1..=machine.cores).collect(),
        given => given.to_vec(),
    };
    println!(
        "\n{} B values; million operations a second, memory in bytes a record, seconds\n\
         {:>10} {:>7} {:>8} {:>8} {:>8} {:>9} {:>6} {:>7} {:>8} {:>8}",
        arguments.value,
        "records",
        "threads",
        "get",
        "get_many",
        "put",
        "sustained",
        "moved",
        "memory",
        "cold",
        "its CPU"
    );
    let mut rows = Vec::new();
    for records in arguments.records() {
        rows.extend(arguments.step(records, &threads, scratch.path()));
    }
    if let Some(folder) = &arguments.plots {
        plots(&rows, folder).map_err(|error| io::Error::other(error.to_string()))?;
    }
    let schema = "brindle-peers/scale/1";
    if let Some(path) = &arguments.json {
        let mut file = File::create(path)?;
        serde_json::to_writer_pretty(&mut file, &Document { schema, machine, arguments, rows })?;
        writeln!(file)?;
    }
    Ok(())
}

impl Arguments {
    fn records(&self) -> Vec<u64> {
        let thousands = [10, 30, 100, 300, 1_000, 3_000, 10_000, 25_000, 50_000];
        // Twice the record, for the room that reclamation wants, and the index.
        let record = (self.value as u64 + 64) * 2 + 16;
        let most = machine::available() / 10 * 8 / record;
        let fits = thousands.iter().map(|one| one * 1000).filter(|records| *records <= most);
        if self.records.is_empty() { fits.collect() } else { self.records.clone() }
    }

    fn step(&self, records: u64, threads: &[usize], dir: &Path) -> Vec<Row> {
        let setup = Setup {
            records,
            value_bytes: self.value,
            room: 2.0,
            presize: false,
            in_place: false,
            direct: false,
            durable: false,
            dir: dir.to_owned(),
        };
        let lean = Setup { room: 1.1, ..setup.clone() };
        let memory = alone::measure_memory(SUBJECT_IN_MEMORY, &lean);
        let cold = measure_reopen(SUBJECT, &lean);
        let mut rows = Vec::new();
        for &threads in threads {
            forget(SUBJECT, dir);
            let engine: Arc<dyn Target> = open(SUBJECT, &setup).into();
            let crew = Crew::new(threads);
            let plans = load(&(0..records), threads, &self.value());
            crew.run(&engine, &arcs(plans));
            let measure = |work| self.measure(&engine, &crew, (records, threads), work).0;
            let [get, get_many] = ["get-uniform", "get_many-uniform"].map(measure);
            let put = measure("update-uniform");
            let (sustained, moved) =
                self.measure(&engine, &crew, (records, threads), "sustained-uniform");
            drop(engine);
            forget(SUBJECT, dir);
            let row = Row {
                records,
                threads,
                get,
                get_many,
                put,
                sustained,
                moved,
                memory: memory.over,
                cold: cold.seconds,
                cold_cpu: cold.cpu_seconds,
            };
            println!(
                "{records:>10} {threads:>7} {get:>8.2} {get_many:>8.2} {put:>8.2} {sustained:>9.2} \
                 {moved:>6.2} {:>7.1} {:>8.3} {:>8.3}",
                row.memory, row.cold, row.cold_cpu
            );
            rows.push(row);
        }
        rows
    }

    /// The median rate of `work`, and the bytes moved for each byte put.
    fn measure(
        &self,
        engine: &Arc<dyn Target>,
        crew: &Crew,
        (records, threads): (u64, usize),
        work: &str,
    ) -> (f64, f64) {
        let mut maker =
            Maker::new(matching(&[work.to_owned()])[0], 0..records, self.value(), records);
        let mut slice = || {
            let plans: Vec<Plan> = (0..threads).map(|_| maker.next(self.operations)).collect();
            crew.run(engine, &arcs(plans))
        };
        if work.starts_with("sustained") {
            let share = (threads * self.operations) as u64;
            (0..(2 * records).div_ceil(share)).for_each(|_| {
                slice();
            });
        }
        let before = engine.moved_bytes();
        let slices: Vec<_> = (0..self.rounds).map(|_| slice()).collect();
        #[expect(clippy::cast_precision_loss, reason = "bytes to three digits")]
        let moved = {
            let put: u64 = slices.iter().map(|slice| slice.operations).sum::<u64>() * 9 / 8;
            let record = (self.value + 44).next_multiple_of(16) as u64;
            (engine.moved_bytes() - before) as f64 / (put * record) as f64
        };
        let rates: Vec<f64> = slices.iter().map(crate::crew::Slice::rate).collect();
        (median(&rates), moved)
    }

    fn value(&self) -> Arc<[u8]> {
        (0..=u8::MAX).cycle().take(self.value).collect()
    }
}

fn arcs(plans: Vec<Plan>) -> Vec<Arc<Plan>> {
    plans.into_iter().map(Arc::new).collect()
}

/// Nanoseconds a thread for each operation, memory, and cold start, over the number of records.
fn plots(rows: &[Row], folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder)?;
    let write = |name: &str, title: &str, y: Axis, mut series: Vec<Series>| {
        series.iter_mut().enumerate().for_each(|(at, one)| one.color = at);
        let x = Axis { label: "records", logarithmic: true };
        let plot = Plot { title: title.into(), x, y, lines: true, series };
        plot.write(&folder.join(name))
    };
    let mut threads: Vec<usize> = rows.iter().map(|row| row.threads).collect();
    threads.sort_unstable();
    threads.dedup();
    let line = |name: &str, threads: usize, y: fn(&Row) -> f64| Series {
        name: format!("{name}, {threads} threads"),
        color: 0,
        points: points(rows, threads, y),
    };
    let mut operations = Vec::new();
    for &threads in &threads {
        operations.push(line("get", threads, |row| ns(row.get, row.threads)));
        operations.push(line("get_many", threads, |row| ns(row.get_many, row.threads)));
        operations.push(line("put", threads, |row| ns(row.put, row.threads)));
        operations.push(line("sustained", threads, |row| ns(row.sustained, row.threads)));
    }
    let straight = |label| Axis { label, logarithmic: false };
    write("scale-operations.svg", "One operation", straight("ns of a thread"), operations)?;
    let one = threads.first().copied().unwrap_or(1);
    let memory = vec![line("over key and value", one, |row| row.memory)];
    write("scale-memory.svg", "Memory", straight("bytes a record"), memory)?;
    let cold =
        vec![line("cold start", one, |row| row.cold), line("its CPU", one, |row| row.cold_cpu)];
    let seconds = Axis { label: "seconds", logarithmic: true };
    write("scale-cold.svg", "Cold start, nothing in the page cache", seconds, cold)
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn points(rows: &[Row], threads: usize, y: fn(&Row) -> f64) -> Vec<(f64, f64)> {
    let rows = rows.iter().filter(|row| row.threads == threads);
    rows.map(|row| (row.records as f64, y(row))).collect()
}

/// Nanoseconds that one of `threads` threads takes for an operation.
#[expect(clippy::cast_precision_loss, reason = "some threads")]
fn ns(rate: f64, threads: usize) -> f64 {
    1e3 * threads as f64 / rate
}

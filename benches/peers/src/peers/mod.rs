//! The program `peers`: sections, one after the other, and what comes of them.

mod arguments;
mod children;

pub use arguments::Arguments;

use crate::crew::Crew;
use crate::engine::{IN_MEMORY, PERSISTENT, SUBJECT, SUBJECT_IN_MEMORY, Setup};
use crate::machine::{self, Machine};
use crate::output::{self, Document};
use crate::persist::{Durable, append_rate, group_commit_rate};
use crate::throughput::Measure;
use crate::{field, latency, persist, work};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs what `arguments` ask for.
///
/// # Errors
///
/// If a file cannot be written, or a process does not start.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    machine::prepare()?;
    let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::tempdir_in(parent)?;
    let dir = scratch.path();
    if arguments.alone.is_some() {
        return children::be(arguments, dir);
    }
    let start = Instant::now();
    let machine = Machine::here();
    output::heading(&machine);
    let mut document = Document::new(machine, arguments);
    for section in arguments.sections() {
        let document = &mut document;
        match section.as_str() {
            "throughput" => throughput(arguments, dir, document),
            "latency" => latency(arguments, dir, document),
            "memory" => children::memory(arguments, document)?,
            "growth" => children::growth(arguments, document)?,
            "persist" => sustained(arguments, dir, document),
            "durable" => durable(arguments, dir, document),
            "reopen" => reopen(arguments, dir, document),
            "field" => field(arguments, dir, document),
            other => return Err(io::Error::other(format!("no section `{other}`"))),
        }
    }
    println!("\n{:.0} s in all", start.elapsed().as_secs_f64());
    document.write(arguments)
}

fn throughput(arguments: &Arguments, dir: &Path, document: &mut Document) {
    for &threads in &arguments.threads() {
        let crew = Crew::new(threads);
        for &records in &arguments.records() {
            for &value_bytes in &arguments.values() {
                let measure = Measure {
                    setup: setup(arguments, dir, records, value_bytes),
                    subject: arguments.subject.clone(),
                    peers: arguments.peers(&IN_MEMORY),
                    works: work::matching(&arguments.works()),
                    threads,
                    rounds: arguments.rounds(),
                    operations: arguments.operations(),
                    load_runs: arguments.loads(),
                    together: arguments.together,
                    crew: &crew,
                };
                output::throughput_head(&measure);
                document.throughput.extend(measure.run(output::throughput_line));
            }
        }
    }
}

fn latency(arguments: &Arguments, dir: &Path, document: &mut Document) {
    let records = arguments.records()[0];
    let value_bytes = arguments.values()[0];
    let measure = latency::Measure {
        setup: setup(arguments, dir, records, value_bytes),
        engines: with_subject(SUBJECT, arguments.peers(&IN_MEMORY)),
        threads: 2,
        rate: arguments.rate,
        length: Duration::from_millis(500),
        runs: arguments.runs(),
    };
    println!(
        "\nlatency: open loop, {} gets and puts a second, {records} records, {value_bytes} B; us \
         from when due, of {} runs: p50 p90 p99 p99.9 p99.99 max",
        measure.rate, measure.runs
    );
    document.latency.extend(measure.run(output::latency));
}

fn sustained(arguments: &Arguments, dir: &Path, document: &mut Document) {
    let length = arguments.seconds();
    for &value_bytes in &arguments.persisted_values() {
        let records = arguments.persisted_records(value_bytes);
        let setup = setup(arguments, dir, records, value_bytes);
        println!(
            "\npersisted puts of {value_bytes} B, 2 threads, {records} records, {length:?}; \
             p50 p99 p99.9 p99.99 max"
        );
        for engine in with_subject(SUBJECT, arguments.peers(PERSISTENT)) {
            let row = persist::measure_sustained(&engine, &setup, 2, length);
            output::sustained(&row);
            document.sustained.push(row);
        }
    }
    document.device_bytes_a_second = append_rate(dir, length.min(Duration::from_secs(5)));
    println!("the device: {:.2} GB/s", document.device_bytes_a_second / 1e9);
}

fn durable(arguments: &Arguments, dir: &Path, document: &mut Document) {
    const WRITERS: usize = 16;
    const VALUE_BYTES: usize = 1024;
    let length = arguments.durable_seconds();
    let setup = setup(arguments, dir, 100_000, VALUE_BYTES);
    println!("\ndurable puts of {VALUE_BYTES} B, {length:?}; p50 p99 p99.9 p99.99 max");
    // What all writers put in the time of one commit goes with the next: a record each, padded.
    for (name, writers) in [("device, 16", WRITERS), ("device, 1", 1)] {
        let commits = group_commit_rate(dir, writers * (VALUE_BYTES + 64), length);
        let writers_f64 = if writers == 1 { 1.0 } else { 16.0 };
        let us = [1e6 / commits; 5];
        let row = Durable { engine: name.into(), writers, puts: commits * writers_f64, put_us: us };
        output::durable(&row);
        document.durable.push(row);
    }
    for engine in with_subject(SUBJECT, arguments.peers(PERSISTENT)) {
        let row = persist::measure_durable(&engine, &setup, WRITERS, length);
        output::durable(&row);
        document.durable.push(row);
    }
}

fn reopen(arguments: &Arguments, dir: &Path, document: &mut Document) {
    let records = if arguments.quick { 200_000 } else { arguments.records()[0] };
    let value_bytes = arguments.values()[0];
    println!("\nreopening, nothing in the page cache");
    for engine in with_subject(SUBJECT, arguments.peers(PERSISTENT)) {
        let mut setup = setup(arguments, dir, records, value_bytes);
        setup.room = 1.1;
        let row = persist::measure_reopen(&engine, &setup);
        output::reopen(&row);
        document.reopen.push(row);
    }
}

fn field(arguments: &Arguments, dir: &Path, document: &mut Document) {
    let shape = arguments.field();
    println!(
        "\nfrom the field: {} records of {} B, one each {:?}; p50 p99 p99.9 p99.99 max",
        shape.puts,
        field::VALUE_BYTES,
        shape.put_every
    );
    let mut setup = setup(arguments, dir, shape.puts, field::VALUE_BYTES);
    setup.room = 1.2;
    let mut peers = arguments.peers(&["dashmap", "papaya", "moka", "foyer"]);
    peers.extend(arguments.peers(PERSISTENT));
    for engine in with_subject(SUBJECT, peers) {
        let row = field::measure(&engine, &setup, shape);
        output::field(&row);
        document.field.push(row);
    }
}

fn with_subject(subject: &str, peers: Vec<String>) -> Vec<String> {
    [subject.to_owned()].into_iter().chain(peers).collect()
}

/// Both forms of Brindle, and the peers in memory.
fn all_in_memory(arguments: &Arguments) -> Vec<String> {
    let peers = with_subject(SUBJECT_IN_MEMORY, arguments.peers(&IN_MEMORY));
    with_subject(SUBJECT, peers)
}

fn setup(arguments: &Arguments, dir: &Path, records: u64, value_bytes: usize) -> Setup {
    Setup {
        records,
        value_bytes,
        room: arguments.room,
        presize: true,
        in_place: arguments.in_place,
        direct: arguments.direct,
        durable: false,
        dir: dir.to_owned(),
    }
}

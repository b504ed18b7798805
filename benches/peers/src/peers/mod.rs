//! The program `peers`: sections, one after the other, and what comes of them.

mod arguments;

pub use arguments::Arguments;

use crate::crew::Crew;
use crate::engine::{self, Setup};
use crate::machine::{self, Machine};
use crate::output::{self, Document};
use crate::throughput::Measure;
use crate::work;
use std::io;
use std::path::Path;
use std::time::Instant;

/// Runs what `arguments` ask for.
///
/// # Errors
///
/// If a file cannot be written.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    machine::prepare()?;
    let start = Instant::now();
    let machine = Machine::here();
    output::heading(&machine);
    let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::tempdir_in(parent)?;
    let mut document = Document::new(machine, arguments);
    for section in arguments.sections() {
        match section.as_str() {
            "throughput" => throughput(arguments, scratch.path(), &mut document),
            other => return Err(io::Error::other(format!("no section `{other}`"))),
        }
    }
    println!("\n{:.0} s in all", start.elapsed().as_secs_f64());
    document.write(arguments)
}

fn throughput(arguments: &Arguments, dir: &Path, document: &mut Document) {
    for &threads in &arguments.threads {
        let crew = Crew::new(threads);
        for &records in &arguments.records() {
            for &value_bytes in &arguments.values() {
                let measure = Measure {
                    setup: setup(arguments, dir, records, value_bytes),
                    subject: arguments.subject.clone(),
                    peers: arguments.peers(&engine::IN_MEMORY),
                    works: work::matching(&arguments.works()),
                    threads,
                    rounds: arguments.rounds(),
                    operations: arguments.operations,
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

fn setup(arguments: &Arguments, dir: &Path, records: u64, value_bytes: usize) -> Setup {
    Setup {
        records,
        value_bytes,
        room: arguments.room,
        presize: true,
        in_place: arguments.in_place,
        durable: false,
        dir: dir.to_owned(),
    }
}

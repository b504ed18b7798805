//! What is measured in a process of its own: the program starts itself for it.

use super::{Arguments, all_in_memory, setup};
use crate::alone::{Growth, Memory, measure_growth, measure_memory};
use crate::output::{self, Document, GrowthRow, MemoryRow};
use serde::de::DeserializeOwned;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Is such a process: measures, and prints one line of JSON.
pub fn be(arguments: &Arguments, dir: &Path) -> io::Result<()> {
    let mut setup = setup(arguments, dir, arguments.records()[0], arguments.values()[0]);
    setup.room = 1.1;
    let engine = arguments.first_engine()?;
    let line = match arguments.alone.as_deref() {
        Some("memory") => {
            // The index of Brindle grows: it takes what it takes.
            setup.presize = !engine.starts_with("brindle");
            serde_json::to_string(&measure_memory(engine, &setup))?
        }
        _ => serde_json::to_string(&measure_growth(engine, &setup))?,
    };
    println!("{line}");
    Ok(())
}

/// Memory of every engine.
pub fn memory(arguments: &Arguments, document: &mut Document) -> io::Result<()> {
    println!("\nmemory, resident, capacity reserved for the records");
    for records in arguments.records() {
        for value_bytes in arguments.values() {
            for engine in all_in_memory(arguments) {
                let memory: Memory = child(arguments, "memory", &engine, (records, value_bytes))?;
                let row = MemoryRow { engine, records, value_bytes, memory };
                output::memory(&row);
                document.memory.push(row);
            }
        }
    }
    Ok(())
}

/// Growth of every engine, the runs of all in turns.
pub fn growth(arguments: &Arguments, document: &mut Document) -> io::Result<()> {
    println!("\ngrowth: inserts from empty, nothing reserved, one thread");
    for records in arguments.records() {
        let engines = all_in_memory(arguments);
        let mut runs: Vec<Vec<Growth>> = engines.iter().map(|_| Vec::new()).collect();
        for _ in 0..arguments.growth_runs() {
            for (engine, runs) in engines.iter().zip(&mut runs) {
                runs.push(child(arguments, "growth", engine, (records, arguments.values()[0]))?);
            }
        }
        for (engine, runs) in engines.into_iter().zip(runs) {
            let worst_us: Vec<f64> = runs.iter().map(|run| run.worst_us).collect();
            let best =
                runs.into_iter().min_by(|one, other| one.worst_us.total_cmp(&other.worst_us));
            let Some(best) = best else { continue };
            let least_worst_us = best.worst_us;
            let row = GrowthRow { engine, records, least_worst_us, worst_us, best };
            output::growth(&row);
            document.growth.push(row);
        }
    }
    Ok(())
}

/// Starts this program for one measurement, and reads what it says.
fn child<T: DeserializeOwned>(
    arguments: &Arguments,
    what: &str,
    engine: &str,
    (records, value_bytes): (u64, usize),
) -> io::Result<T> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--alone", what, "--engines", engine]);
    command.args(["--records", &records.to_string(), "--values", &value_bytes.to_string()]);
    if let Some(dir) = &arguments.dir {
        command.arg("--dir").arg(dir);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{what} of {engine}: {}", output.status)));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

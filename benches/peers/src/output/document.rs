//! All figures of a run, for programs.

use super::plots;
use crate::alone::{Growth, Memory};
use crate::machine::Machine;
use crate::peers::Arguments;
use crate::{field, latency, persist, throughput};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// All figures.
#[derive(Debug, Serialize)]
pub struct Document {
    schema: &'static str,
    machine: Machine,
    arguments: Arguments,
    /// Of each work and engine.
    pub throughput: Vec<throughput::Row>,
    /// Of gets and puts of each engine.
    pub latency: Vec<latency::Row>,
    /// Of each engine alone.
    pub memory: Vec<MemoryRow>,
    /// Of each engine alone.
    pub growth: Vec<GrowthRow>,
    /// Of each engine that persists.
    pub sustained: Vec<persist::Sustained>,
    /// Bytes a second that the device takes, written directly; 0 if it was not measured.
    pub device_bytes_a_second: f64,
    /// Of each engine that persists, and of the device itself.
    pub durable: Vec<persist::Durable>,
    /// Of each engine that persists.
    pub reopen: Vec<persist::Reopen>,
    /// Of each engine.
    pub field: Vec<field::Row>,
}

/// Memory of one engine.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryRow {
    /// Name of the engine.
    pub engine: String,
    /// Records in it.
    pub records: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// What it takes.
    #[serde(flatten)]
    pub memory: Memory,
}

/// Growth of one engine.
#[derive(Clone, Debug, Serialize)]
pub struct GrowthRow {
    /// Name of the engine.
    pub engine: String,
    /// Records at the end.
    pub records: u64,
    /// The worst insert of a run: the least over all runs. Unit: microseconds.
    pub least_worst_us: f64,
    /// The same of each run.
    pub worst_us: Vec<f64>,
    /// The run with the least.
    pub best: Growth,
}

impl Document {
    /// With nothing measured.
    pub fn new(machine: Machine, arguments: &Arguments) -> Self {
        Self {
            schema: "brindle-peers/peers/1",
            machine,
            arguments: arguments.clone(),
            throughput: Vec::new(),
            latency: Vec::new(),
            memory: Vec::new(),
            growth: Vec::new(),
            sustained: Vec::new(),
            device_bytes_a_second: 0.0,
            durable: Vec::new(),
            reopen: Vec::new(),
            field: Vec::new(),
        }
    }

    /// Writes what the arguments ask for.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn write(&self, arguments: &Arguments) -> io::Result<()> {
        if let Some(path) = &arguments.json {
            let mut file = BufWriter::new(File::create(path)?);
            serde_json::to_writer_pretty(&mut file, self)?;
            writeln!(file)?;
            file.flush()?;
        }
        if let Some(folder) = &arguments.plots {
            plots::write(self, folder).map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(())
    }
}

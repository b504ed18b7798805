//! All figures of a run, for programs.

use crate::machine::Machine;
use crate::peers::Arguments;
use crate::throughput;
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// All figures.
#[derive(Debug, Serialize)]
pub struct Document {
    schema: &'static str,
    machine: Machine,
    arguments: Arguments,
    /// See [`throughput`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throughput: Vec<throughput::Row>,
}

impl Document {
    /// With nothing measured.
    pub fn new(machine: Machine, arguments: &Arguments) -> Self {
        let arguments = arguments.clone();
        Self { schema: "brindle-peers/peers/1", machine, arguments, throughput: Vec::new() }
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
        Ok(())
    }
}

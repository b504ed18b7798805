//! What the program is told.

use crate::field::Shape;
use clap::Parser;
use serde::Serialize;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Sections, in the order in which they run.
const SECTIONS: [&str; 8] =
    ["throughput", "latency", "memory", "growth", "persist", "durable", "reopen", "field"];

/// The command line.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(about = "Brindle beside its peers")]
#[expect(clippy::struct_excessive_bools, reason = "what a command line asks for")]
pub struct Arguments {
    /// All sections, little of each: ends within three minutes
    #[arg(long)]
    pub quick: bool,
    /// Only these sections: throughput, latency, memory, growth, persist, durable, reopen, field
    #[arg(long = "section", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these workloads: names, or how they start
    #[arg(long = "work", value_delimiter = ',')]
    works: Vec<String>,
    /// Only these peers
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// What the peers are compared with: brindle has its shadow on, brindle-mem none
    #[arg(long, default_value = crate::engine::SUBJECT)]
    pub subject: String,
    /// Records [default: 1000000, quick: 300000]
    #[arg(long, value_delimiter = ',')]
    records: Vec<u64>,
    /// Bytes of a value [default: 100]
    #[arg(long, value_delimiter = ',')]
    values: Vec<usize>,
    /// Load threads [default: 1,2, quick: 2]
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Slices of each peer [default: 15, quick: 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// Operations of a thread in a slice; four times as many in batches [default: 200000, quick:
    /// 50000]
    #[arg(long)]
    operations: Option<usize>,
    /// Loads from empty [default: 5, quick: 1]
    #[arg(long)]
    loads: Option<usize>,
    /// Peers in memory at the same time [default: as many as fit]
    #[arg(long)]
    pub together: Option<usize>,
    /// Brindle's memory, as a multiple of what the records take
    #[arg(long, default_value_t = 2.0)]
    pub room: f64,
    /// Maps that lend out a `&mut` overwrite values in place
    #[arg(long)]
    pub in_place: bool,
    /// Brindle's shadow goes past the page cache (`direct_files`)
    #[arg(long)]
    pub direct: bool,
    /// Operations a second of the open loop
    #[arg(long, default_value_t = 1_000_000)]
    pub rate: u64,
    /// Runs of the open loop, half a second each [default: 20, quick: 2]
    #[arg(long)]
    runs: Option<usize>,
    /// Runs of growth [default: 5, quick: 1]
    #[arg(long)]
    growth_runs: Option<usize>,
    /// Seconds of sustained puts [default: 20, quick: 3]
    #[arg(long)]
    seconds: Option<u64>,
    /// Bytes of a value that is persisted [default: 1024,4096, quick: 1024]
    #[arg(long, value_delimiter = ',')]
    persisted_values: Vec<usize>,
    /// Records of the workload from the field
    #[arg(long, default_value_t = 2400)]
    field_puts: u64,
    /// Each of its writers puts as many, one a millisecond: 40 times the load, 10 GB of memory
    #[arg(long)]
    field_each: bool,
    /// Where engines that persist keep their files [default: the system's temporary folder]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Write all figures to this file
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write plots into this folder
    #[arg(long)]
    pub plots: Option<PathBuf>,
    /// Measure one engine in this process, and print a line of JSON
    #[arg(long, hide = true)]
    pub alone: Option<String>,
}

impl Arguments {
    /// Sections to run.
    pub fn sections(&self) -> Vec<String> {
        if self.only.is_empty() { SECTIONS.map(String::from).into() } else { self.only.clone() }
    }

    /// Starts of the names of workloads; none means all.
    pub fn works(&self) -> Vec<String> {
        let quick = ["get", "update", "put_many", "half", "ycsb-a", "mixed95", "load"];
        if self.works.is_empty() && self.quick {
            return quick.map(String::from).into();
        }
        self.works.clone()
    }

    /// Peers: those that were asked for, of `all`.
    pub fn peers(&self, all: &[&str]) -> Vec<String> {
        let wanted = |name: &&&str| {
            self.engines.is_empty() || self.engines.iter().any(|engine| engine == **name)
        };
        all.iter().filter(wanted).map(|name| (*name).to_owned()).collect()
    }

    /// Numbers of records.
    pub fn records(&self) -> Vec<u64> {
        let records = if self.quick { 300_000 } else { 1_000_000 };
        if self.records.is_empty() { vec![records] } else { self.records.clone() }
    }

    /// Sizes of values.
    pub fn values(&self) -> Vec<usize> {
        if self.values.is_empty() { vec![100] } else { self.values.clone() }
    }

    /// Load threads.
    pub fn threads(&self) -> Vec<usize> {
        let threads = if self.quick { vec![2] } else { vec![1, 2] };
        if self.threads.is_empty() { threads } else { self.threads.clone() }
    }

    /// Slices of each peer.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 15 })
    }

    /// Operations of a thread in a slice.
    pub fn operations(&self) -> usize {
        self.operations.unwrap_or(if self.quick { 50_000 } else { 200_000 })
    }

    /// Loads from empty.
    pub fn loads(&self) -> usize {
        self.loads.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// Runs of the open loop.
    pub fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.quick { 2 } else { 20 })
    }

    /// Runs of growth.
    pub fn growth_runs(&self) -> usize {
        self.growth_runs.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// How long puts are sustained.
    pub fn seconds(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 3 } else { 20 }))
    }

    /// How long durable puts go on.
    pub fn durable_seconds(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 5 })
    }

    /// Sizes of values that are persisted.
    pub fn persisted_values(&self) -> Vec<usize> {
        let values = if self.quick { vec![1024] } else { vec![1024, 4096] };
        if self.persisted_values.is_empty() { values } else { self.persisted_values.clone() }
    }

    /// Records that are put again and again: a gigabyte of them, less if it is quick.
    pub fn persisted_records(&self, value_bytes: usize) -> u64 {
        let bytes: u64 = if self.quick { 256 << 20 } else { 1 << 30 };
        bytes / value_bytes.max(16) as u64
    }

    /// The workload from the field.
    pub fn field(&self) -> Shape {
        let writers = 40;
        let puts = if self.quick { 1200 } else { self.field_puts };
        let tick = Duration::from_millis(1);
        let (puts, put_every) = if self.field_each {
            (puts * u64::from(writers), tick / writers)
        } else {
            (puts, tick)
        };
        let get_every = Duration::from_millis(2);
        Shape { writers: writers.into(), readers: 40, puts, put_every, get_every }
    }

    /// The one engine of a process that measures alone.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn first_engine(&self) -> io::Result<&str> {
        let first = self.engines.first().map(String::as_str);
        first.ok_or_else(|| io::Error::other("it has to be told its engine"))
    }
}

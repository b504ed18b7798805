//! What the program is told.

use clap::Parser;
use serde::Serialize;
use std::path::PathBuf;

/// Sections, in the order in which they run.
const SECTIONS: [&str; 1] = ["throughput"];

/// The command line.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(about = "Brindle beside its peers")]
pub struct Arguments {
    /// All sections, little of each: ends within three minutes
    #[arg(long)]
    pub quick: bool,
    /// Only these sections
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
    /// Records [default: 1000000]
    #[arg(long, value_delimiter = ',')]
    records: Vec<u64>,
    /// Bytes of a value [default: 100]
    #[arg(long, value_delimiter = ',')]
    values: Vec<usize>,
    /// Load threads
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    pub threads: Vec<usize>,
    /// Slices of each peer [default: 15, quick: 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// Operations of a thread in a slice; four times as many in batches
    #[arg(long, default_value_t = 200_000)]
    pub operations: usize,
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
    /// Where engines that persist keep their files [default: the system's temporary folder]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Write all figures to this file
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write plots into this folder
    #[arg(long)]
    pub plots: Option<PathBuf>,
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
        if self.records.is_empty() { vec![1_000_000] } else { self.records.clone() }
    }

    /// Sizes of values.
    pub fn values(&self) -> Vec<usize> {
        if self.values.is_empty() { vec![100] } else { self.values.clone() }
    }

    /// Slices of each peer.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 15 })
    }

    /// Loads from empty.
    pub fn loads(&self) -> usize {
        self.loads.unwrap_or(if self.quick { 1 } else { 5 })
    }
}

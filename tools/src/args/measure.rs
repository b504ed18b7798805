//! Arguments of `bench`.

use crate::text::Size;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle bench
  brindle bench --workloads a,c --records 1000000 --value-size 1KiB --threads 4
  brindle bench --shadow-dir scratch --seconds 30 --json
  brindle bench --svg latencies.svg

Each workload gets a new store, loads it, and runs: A half gets, half puts; B 95% gets, 5%
puts; C gets; D 95% gets of the latest, 5% puts of new keys; F half gets, half updates. With
--shadow-dir each has a directory of its own in there, which is removed afterwards.")]
pub(crate) struct BenchArgs {
    /// Which workloads, in this order
    #[arg(long, value_delimiter = ',', default_value = "a,b,c,d,f")]
    pub(crate) workloads: Vec<WorkloadName>,
    /// Records that are loaded
    #[arg(long, default_value_t = 100_000, value_parser = up_to(1 << 32))]
    pub(crate) records: u64,
    /// Bytes of a value
    #[arg(long, default_value = "100B")]
    pub(crate) value_size: Size,
    /// Threads [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// How long each workload runs
    #[arg(long, default_value_t = 5, value_parser = up_to(86_400))]
    pub(crate) seconds: u64,
    /// Which keys are asked for
    #[arg(long, default_value = "zipf")]
    pub(crate) distribution: Distribution,
    /// Memory for records [default: four times what is loaded, at least 1 GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) data_size: Option<Size>,
    /// Directory for shadows; none: memory only
    #[arg(long, value_name = "DIR")]
    pub(crate) shadow_dir: Option<PathBuf>,
    /// Write a plot of the latencies to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkloadName {
    A,
    B,
    C,
    D,
    F,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// Each key as often as any other
    Uniform,
    /// A few keys very often (exponent 0.99)
    Zipf,
}

/// Takes a whole number from 1 to `most`.
pub(super) fn up_to(most: u64) -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=most)
}

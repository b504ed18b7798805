//! Runs a cache on a workload, and prints tables: workloads down, caches across.

use crate::caches::Cache;
use clap::{Args, value_parser};
use serde::Serialize;
use std::io::{self, Write};

/// What both programs are told.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Keys that come again
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u32).range(1000..))]
    pub keys: u32,
    /// Accesses of each workload; the first half warms up and is not counted
    #[arg(long, default_value_t = 5_000_000, value_parser = value_parser!(u32).range(2..))]
    pub accesses: u32,
    /// Of all that is random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only workloads with this in their name; may be given several times
    #[arg(long)]
    pub workload: Vec<String>,
    /// One document of JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

/// One cache on one workload.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Name of the workload.
    pub workload: String,
    /// Name of the cache.
    pub cache: String,
    /// Records that it may hold.
    pub capacity: u32,
    /// The most that it held, looked at every 1000 accesses.
    pub records_max: u64,
    /// Hits, in percent of the accesses of the second half.
    pub hit_pct: f64,
    /// Records copied for each one evicted; only models know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moves_per_eviction: Option<f64>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    seed: u64,
    keys: u32,
    accesses: u32,
    runs: &'a [Run],
}

/// Hits in percent of the second half of `accesses`, and the most records that `cache` held.
pub fn measure(cache: &mut dyn Cache, accesses: &[u32]) -> (f64, u64) {
    let (warm_up, counted) = accesses.split_at(accesses.len() / 2);
    let mut records_max = 0;
    let mut hits_in = |part: &[u32]| {
        let mut hits: u32 = 0;
        for chunk in part.chunks(1000) {
            hits += chunk.iter().map(|&key| u32::from(cache.access(key))).sum::<u32>();
            records_max = records_max.max(cache.records());
        }
        hits
    };
    hits_in(warm_up);
    let hits = hits_in(counted);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let hit_pct = 100.0 * f64::from(hits) / counted.len() as f64;
    (hit_pct, records_max)
}

/// Prints all `runs`, in a form for programs or for people.
///
/// # Errors
///
/// If standard output does not take it.
pub fn print(options: &Options, schema: &'static str, runs: &[Run]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if options.json {
        let Options { seed, keys, accesses, .. } = *options;
        serde_json::to_writer(&mut out, &Document { schema, seed, keys, accesses, runs })?;
        return writeln!(out);
    }
    let Options { seed, keys, accesses, .. } = options;
    writeln!(out, "seed {seed}, {keys} keys, {accesses} accesses, the second half counted\n")?;
    writeln!(out, "hits, %")?;
    table(&mut out, runs, |run| Some(run.hit_pct))?;
    if runs.iter().any(|run| run.moves_per_eviction.is_some()) {
        writeln!(out, "\nmoves per eviction")?;
        table(&mut out, runs, |run| run.moves_per_eviction)?;
    }
    for run in runs.iter().filter(|run| run.records_max > u64::from(run.capacity)) {
        let Run { workload, cache, capacity, records_max, .. } = run;
        writeln!(out, "{cache} held {records_max} records, not {capacity}, in {workload}")?;
    }
    Ok(())
}

fn table(out: &mut dyn Write, runs: &[Run], cell: impl Fn(&Run) -> Option<f64>) -> io::Result<()> {
    let caches = distinct(runs.iter().map(|run| &run.cache));
    let workloads = distinct(runs.iter().map(|run| &run.workload));
    let first = workloads.iter().map(|name| name.len()).max().unwrap_or(0);
    write!(out, "{:first$}  {:>8}", "", "capacity")?;
    for cache in &caches {
        write!(out, "  {cache:>8}")?;
    }
    writeln!(out)?;
    for workload in workloads {
        let capacity = runs.iter().find(|run| run.workload == *workload).map(|run| run.capacity);
        write!(out, "{workload:first$}  {:8}", capacity.unwrap_or(0))?;
        for &cache in &caches {
            let width = cache.len().max(8);
            let run = runs.iter().find(|run| run.cache == *cache && run.workload == *workload);
            match run.and_then(&cell) {
                Some(number) => write!(out, "  {number:width$.2}")?,
                None => write!(out, "  {:>width$}", "-")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn distinct<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}

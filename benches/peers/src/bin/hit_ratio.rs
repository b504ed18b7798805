//! Question: how many reads find their record, in a cache that is full for ever?
//!
//! Every cache is read through: what is missing is put. All have the same capacity in records, all
//! of one size. Brindle's comes from bytes: see `caches::Engine`. First it runs, then the peers
//! run with the most records that it held, so that its room is theirs; where it does not evict, a
//! line says so, and the peers run with the capacity that was asked for.
//!
//! In `benches/peers`: `cargo run --release --bin hit_ratio -- --help`.

use brindle_peers::caches::{Engine, PEERS, peer};
use brindle_peers::report::{Options, Run, measure, print};
use brindle_peers::workload::{Workload, matching};
use clap::Parser;
use std::io;

#[derive(Debug, Parser)]
#[command(about = "Hit ratios of Brindle and of other caches")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Peers to run
    #[arg(long, value_delimiter = ',', default_values_t = PEERS.map(String::from))]
    peers: Vec<String>,
}

fn main() -> io::Result<()> {
    let Arguments { options, peers } = Arguments::parse();
    let mut runs = Vec::new();
    for workload in matching(&options.workload) {
        let accesses = workload.accesses(options.keys, options.accesses, options.seed);
        let mut capacity = workload.capacity(options.keys);
        match run_engine(&workload, capacity, &accesses) {
            Ok(run) => {
                capacity = run.capacity;
                runs.push(run);
            }
            Err(error) => eprintln!("brindle is left out of {}: {error}", workload.name()),
        }
        for name in &peers {
            let Some(mut cache) = peer(name, capacity) else {
                return Err(io::Error::other(format!("no peer `{name}`; there are {PEERS:?}")));
            };
            let (hit_pct, records_max) = measure(&mut *cache, &accesses);
            runs.push(run(&workload, name, (capacity, records_max), hit_pct));
        }
    }
    print(&options, "brindle-peers/hit_ratio/1", &runs)
}

fn run_engine(workload: &Workload, capacity: u32, accesses: &[u32]) -> brindle::Result<Run> {
    let mut engine = Engine::open(capacity)?;
    let (hit_pct, records_max) = measure(&mut engine, accesses);
    engine.finish()?;
    let records = u32::try_from(records_max).unwrap_or(u32::MAX);
    Ok(run(workload, "brindle", (records, records_max), hit_pct))
}

fn run(workload: &Workload, cache: &str, records: (u32, u64), hit_pct: f64) -> Run {
    Run {
        workload: workload.name(),
        cache: cache.into(),
        capacity: records.0,
        records_max: records.1,
        hit_pct,
        moves_per_eviction: None,
    }
}

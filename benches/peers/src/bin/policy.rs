//! Question: which eviction, wblock by wblock, keeps the records that are read again, and how many
//! copies does it cost?
//!
//! Names of policies: the rule; `g` entries of the ghost in percent of the capacity; `c` the
//! highest count; `i` the count of a record that becomes old; `f` the share of the fresh in
//! percent; `e` fresh wblocks for each old one.
//!
//! In `benches/peers`: `cargo run --release --bin policy -- --help`.

use brindle_peers::caches::Cache;
use brindle_peers::model::{Model, Policy, Rule};
use brindle_peers::report::{Options, Run, measure, print};
use brindle_peers::workload::matching;
use clap::Parser;
use std::io;

#[derive(Debug, Parser)]
#[command(about = "Hit ratios of eviction policies, modelled")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Wblocks of the store; may be given several times
    #[arg(long, default_values_t = [100])]
    wblocks: Vec<usize>,
    /// Only policies whose name starts so; may be given several times
    #[arg(long)]
    policy: Vec<String>,
}

fn main() -> io::Result<()> {
    let Arguments { options, wblocks, policy } = Arguments::parse();
    let policies = policies().into_iter().filter(|(name, _)| {
        policy.is_empty() || policy.iter().any(|start| name.starts_with(start))
    });
    let policies: Vec<_> = policies.collect();
    let mut runs = Vec::new();
    for workload in matching(&options.workload) {
        let accesses = workload.accesses(options.keys, options.accesses, options.seed);
        let capacity = workload.capacity(options.keys);
        for &wblocks in &wblocks {
            for (name, policy) in &policies {
                let mut model = Model::new(*policy, capacity, wblocks.max(2));
                let (hit_pct, records_max) = measure(&mut model, &accesses);
                assert!(model.records() <= u64::from(capacity), "{name} holds too much");
                runs.push(Run {
                    workload: workload.name(),
                    cache: format!("{name} /{wblocks}"),
                    capacity,
                    records_max,
                    hit_pct,
                    moves_per_eviction: Some(model.moves_per_eviction()),
                });
            }
        }
    }
    print(&options, "brindle-peers/policy/1", &runs)
}

fn policies() -> Vec<(String, Policy)> {
    let clock = Policy {
        rule: Rule::Clock,
        fresh_pct: 0,
        count_max: 0,
        count_first: 0,
        fresh_per_old: 1,
        ghost_pct: 0,
    };
    let queues = Policy { rule: Rule::Queues, fresh_pct: 10, ..clock };
    let ghosts = Policy { count_max: 1, ghost_pct: 100, ..queues };
    let duel = Policy { rule: Rule::Duel, fresh_pct: 5, count_first: 1, ..ghosts };
    let one_bit = Policy { count_max: 0, count_first: 0, fresh_per_old: 2, ..duel };
    let all = [
        clock,
        Policy { count_max: 2, ..clock },
        queues,
        ghosts,
        duel,
        Policy { fresh_per_old: 2, ..duel },
        Policy { fresh_pct: 10, ..duel },
        Policy { count_max: 3, ..duel },
        Policy { count_first: 0, ..duel },
        Policy { count_max: 0, count_first: 0, ..duel },
        one_bit,
        Policy { count_first: 0, fresh_per_old: 2, ..duel },
        Policy { ghost_pct: 50, ..one_bit },
        Policy { ghost_pct: 75, ..one_bit },
        Policy { ghost_pct: 150, ..one_bit },
        Policy { fresh_pct: 10, ..one_bit },
        Policy { fresh_pct: 3, ..one_bit },
        Policy { fresh_pct: 2, ..one_bit },
        Policy { fresh_pct: 1, ..one_bit },
        Policy { fresh_per_old: 4, ..one_bit },
    ];
    all.map(|policy| (name(&policy), policy)).into()
}

fn name(policy: &Policy) -> String {
    let Policy { rule, fresh_pct, count_max, count_first, fresh_per_old, ghost_pct } = policy;
    let rule = format!("{rule:?}").to_lowercase();
    format!("{rule} g{ghost_pct} c{count_max} i{count_first} f{fresh_pct} e{fresh_per_old}")
}

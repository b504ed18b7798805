//! Brindle beside its peers: throughput, latency, growth, memory, durability, and hit ratios with
//! models of eviction.

pub mod caches;
pub mod model;
pub mod report;
pub mod workload;

mod crew;
mod engine;
mod machine;
mod output;
pub mod peers;
mod stats;
mod throughput;
mod work;

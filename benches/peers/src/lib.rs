//! Brindle beside its peers: throughput, latency, growth, memory, durability, and hit ratios with
//! models of eviction.

pub mod caches;
pub mod model;
pub mod report;
pub mod workload;

mod alone;
mod crew;
mod engine;
mod field;
mod latency;
mod machine;
mod output;
pub mod peers;
mod persist;
mod plot;
pub mod scale;
mod stats;
mod throughput;
mod work;

//! Hit ratios: workloads, the caches that are compared, models of eviction, and tables of both.

pub mod caches;
pub mod model;
pub mod report;
pub mod workload;

//! The records of a store by key, and what works on them in the background or before the first
//! call: cold start, the upkeep thread.

mod cold_start;
mod held;
mod keyspace;
mod probe;
mod report;

pub use cold_start::{LoadError, Source, load};
pub use held::Held;
pub use keyspace::{Keyspace, Kind, is_live};
pub use probe::{Upkeep, pins_are_gone};
pub use report::{LoadReport, Rejected};

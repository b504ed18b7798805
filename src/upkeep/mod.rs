//! The records of a store by key, and what works on them in the background or before the first
//! call: cold start, the upkeep thread.

mod admit;
mod audit;
mod cold_start;
mod ghost;
mod held;
mod keyspace;
mod pressure;
mod probe;
mod reclaim;
mod report;

pub use audit::Audit;
pub use cold_start::{LoadError, Source, load};
pub use held::Held;
pub use keyspace::{Keyspace, Kind, is_live};
pub use pressure::{Pressure, Runway};
pub use probe::{Upkeep, pins_are_gone};
pub use reclaim::{Common, ReclaimCounters, ReclaimService, ReclaimStats, Room, RoomWait};
#[cfg(feature = "testing")]
pub use reclaim::{Pace, Reclaimer};
pub use report::{LoadReport, Rejected};

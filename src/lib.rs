//! Brindle: an embedded storage engine.

/// A room inside the crate; the loom models, a crate of their own, look into it.
macro_rules! rooms {
    ($($(#[$about:meta])* $room:ident),* $(,)?) => { $(
        #[cfg(loom)]
        $(#[$about])*
        pub mod $room;
        #[cfg(not(loom))]
        $(#[$about])*
        mod $room;
    )* };
}

#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod config;
mod error;
pub mod format;
#[cfg(not(loom))]
mod store;
#[cfg(all(feature = "testing", not(loom)))]
pub mod testing;
#[cfg(not(loom))]
mod upkeep;
rooms! { sync, unit, region, index, shadow }

#[cfg(not(loom))]
pub use config::{Config, HugePages, OnDamage, Progress};
pub use error::{Error, Result};
pub use format::RECORD_HEADER_BYTES_MAX;
#[cfg(not(loom))]
pub use shadow::io::IoCounts;
#[cfg(not(loom))]
pub use store::{
    Binding, Condition, DeleteOptions, Health, OwnedRecord, Pin, PutOptions, Record, Scan, Stats,
    Store, WblockCounts,
};
pub use unit::Version;
#[cfg(not(loom))]
pub use upkeep::{LoadReport, Rejected};

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
mod config;
mod error;
pub mod format;
rooms! { sync, unit, region }

#[cfg(not(loom))]
pub use config::{Config, HugePages, OnDamage, Progress};
pub use error::{Error, Result};
pub use unit::Version;

//! What a host may set, from code or from TOML, and the plan that the engine works by.
//!
//! States    `Config --[validate]--> Plan --[apply]--> Settings`. Nothing is checked while a
//!           configuration is put together: the order of the calls is free, and every mistake is
//!           reported at one place, by `Store::open` or `Store::reconfigure`, as
//!           [`Error::Config`](crate::Error::Config).
//!
//! Invariants
//! - C1  A `Plan` is complete and free of contradictions: no later room looks at a `Config`, has a
//!   default of its own, or checks a range again.
//! - C2  The keys are spelled the same as builder methods, in TOML and in errors: one table
//!   (`keys`) makes the methods readable from text.
//! - C3  No input panics: sizes are only added and multiplied once they are known to fit.
//!
//! The rooms inside: `builder` (the keys, their defaults and docs), `choice` (enums), `progress`,
//! `plan` (the result), `rules` (what is refused), `settings` (what may change while a store is
//! open), `change` (and what may not); `size` and `duration` (their text form); with the feature
//! `serde` also `keys`, `value` and `text` (TOML and `Deserialize`).
//!
//! Checked by: `tests` here (rules), `tests/config.rs` (TOML).
#![forbid(unsafe_code)]

mod builder;
mod change;
mod choice;
#[cfg(feature = "serde")]
mod duration;
#[cfg(feature = "serde")]
mod keys;
mod plan;
mod progress;
mod rules;
mod settings;
mod size;
#[cfg(test)]
mod tests;
#[cfg(feature = "serde")]
mod text;
#[cfg(feature = "serde")]
mod value;

pub use builder::Config;
pub use choice::{HugePages, OnDamage};
pub use plan::{Evict, Plan, Reclaim, Shadow};
pub use progress::{OnProgress, Progress};
pub use settings::Settings;

//! Publishes how the store is, for `brindle top` in another process: a small file instead of a
//! port.
//!
//! - `publisher`: the thread that writes four times a second, and whose life it shares.
//! - `document`: what is written. `calls`: latencies, where the host has them measured.
//! - `file`: how it is written, so that no reader sees half of it.
#![forbid(unsafe_code)]

mod calls;
mod document;
mod file;
mod publisher;

pub(super) use calls::Calls;
pub use document::TOP_VERSION;
pub(super) use publisher::{Handles, Publisher};

//! The index: from the hash of a key to the location of its record, lock-free.
//!
//! ```text
//! hash -> x --top bits--> directory slot -> segment (16 KiB) -> home bucket (64 B) -> entry
//! ```
//! A hit costs two dependent cache misses beyond the directory's, which is small and hot: the
//! bucket and the record. Measured: 12.9 to 13.9 bytes a record at every size from 1 M up.
//!
//! - `entry`: the packed words, and where a key may be. `bucket`: all words of one at once.
//! - `segment`: search, and why there are no duplicates, no tentative entries and no missed ones.
//! - `growth`: freeze, rebuild or split, publish.
//! - `directory`: the hint from hash to segment; retirement.
//! - `forgotten`: the versions of what was removed too soon.
//! - `pool`: memory. `scan`: all entries in order. `api`: the calls.
//!
//! Source: extendible hashing (Fagin, Nievergelt, Pippenger, Strong, 1979) with linear-size steps
//! smoothed as in spiral storage (Martin, 1979); freezing as in W. Braginsky and E. Petrank,
//! "Locality-conscious lock-free linked lists", 2011.

mod api;
mod bucket;
mod directory;
mod entry;
mod forgotten;
mod growth;
mod pool;
mod scan;
mod segment;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

pub use api::{Index, IndexFull, Occupied, Place, Start, Vacant};
pub use entry::{Changed, Hash};
pub use forgotten::Forgotten;
pub use growth::Records;
#[cfg(any(loom, shuttle))]
pub use scan::SlotRef;
pub use scan::{ScanCursor, SlotState};

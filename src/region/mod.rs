//! Memory for records: the mapping, its wblocks and their states, the stripes that hand them out.

#[cfg(not(loom))]
mod mapping;

#[cfg(not(loom))]
pub use mapping::{HUGE_PAGE_BYTES, Mapping};

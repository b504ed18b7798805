//! Memory for records: the mapping, its wblocks and their states, the stripes that hand them out.

mod commit;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
mod memory;
#[cfg(loom)]
#[path = "memory_model.rs"]
mod memory;
mod stripe;
mod wblock;

#[cfg(not(loom))]
pub use mapping::{HUGE_PAGE_BYTES, Mapping};
pub use memory::Region;
pub use stripe::{Cut, Identity, NowUs, Purpose, Reservation, Stripes, Walk};
pub use wblock::{State, Wblock};

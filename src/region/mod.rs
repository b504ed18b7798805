//! Memory for records: the mapping, its wblocks and their states, the stripes that hand them out.

mod commit;
mod cut;
mod gate;
mod header;
#[cfg(not(any(loom, shuttle)))]
mod mapping;
#[cfg(not(any(loom, shuttle)))]
mod memory;
#[cfg(any(loom, shuttle))]
#[path = "memory_model.rs"]
mod memory;
mod open_word;
mod reservation;
mod stripe;
mod supply;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod unname;
mod wblock;

pub use cut::Cut;
pub use gate::{Barriers, Gate, Waiting};
#[cfg(not(any(loom, shuttle)))]
pub use mapping::{HUGE_PAGE_BYTES, Mapping};
pub use memory::Region;
pub use reservation::Reservation;
pub use stripe::{Identity, NoRoom, NowUs, Purpose, Stripes};
pub use wblock::{Filling, State, Wblock};

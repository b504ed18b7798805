//! The mirror of the region: block I/O, the flusher, barriers, superblocks.
//!
//! | module    | what                                                            |
//! |-----------|-----------------------------------------------------------------|
//! | `io`      | operations on files: `io_uring`, pwrite, or a simulated disk    |
//! | `tickets` | barriers and who waits for them                                 |
//! | `flusher` | a pump that takes committed records to the shadow               |
//! | `ahead`   | zeros written ahead of the flushes that barriers ask for         |
//! | `gather`  | a wait before a barrier, so that more writers share its sync     |
//! | `images`  | what the shadow holds of each wblock                             |
//! | `jobs`    | what the flusher keeps of each lane, and of each write           |
//! | `places`  | places of a shadow that are bad, and what lay there moved off    |
//! | `requests` | what reclaim asks for: barriers, headers struck out, a clock floor |
//! | `pump`    | drives it, tries again what failed, keeps the superblocks       |
//! | `attach`  | moves a running store to another shadow                         |
//! | `snapshot` | writes a new shadow from records                               |
//! | `service` | the shadow side as the store sees it: waits, health, the thread |
//! | `set`     | the members of a store, their superblocks, what belongs together |
//! | `files`   | their names, which exist, creating them                         |

#[cfg(not(any(loom, shuttle)))]
mod ahead;
#[cfg(not(any(loom, shuttle)))]
mod attach;
#[cfg(not(any(loom, shuttle)))]
mod files;
#[cfg(not(any(loom, shuttle)))]
mod flusher;
#[cfg(not(any(loom, shuttle)))]
mod gather;
#[cfg(not(any(loom, shuttle)))]
mod images;
#[cfg(not(any(loom, shuttle)))]
pub mod io;
#[cfg(not(any(loom, shuttle)))]
mod jobs;
#[cfg(not(any(loom, shuttle)))]
mod places;
#[cfg(not(any(loom, shuttle)))]
mod pump;
mod requests;
#[cfg(not(any(loom, shuttle)))]
mod service;
#[cfg(not(any(loom, shuttle)))]
mod set;
#[cfg(not(any(loom, shuttle)))]
mod snapshot;
mod tickets;

#[cfg(not(any(loom, shuttle)))]
pub use attach::{Answer, Request, open_target, survey_targets};
#[cfg(not(any(loom, shuttle)))]
pub use files::{Created, complete, reserve};
#[cfg(not(any(loom, shuttle)))]
pub use flusher::Flusher;
#[cfg(all(feature = "testing", not(any(loom, shuttle))))]
pub use flusher::Round;
#[cfg(not(any(loom, shuttle)))]
pub use jobs::Layout;
#[cfg(not(any(loom, shuttle)))]
pub use pump::{Pump, Work};
pub use requests::Requests;
#[cfg(not(any(loom, shuttle)))]
pub use service::{Service, Unmet};
#[cfg(not(any(loom, shuttle)))]
pub use set::{ShadowSet, Standing, Survey, open, random};
#[cfg(all(feature = "testing", not(any(loom, shuttle))))]
pub use set::{member_bytes, survey};
#[cfg(not(any(loom, shuttle)))]
pub use snapshot::SnapshotWriter;
pub use tickets::Tickets;
#[cfg(any(loom, shuttle))]
pub use tickets::Waited;

//! The mirror of the region: block I/O, the flusher, barriers, superblocks.
//!
//! | module    | what                                                            |
//! |-----------|-----------------------------------------------------------------|
//! | `io`      | operations on files: `io_uring`, pwrite, or a simulated disk    |
//! | `tickets` | barriers and who waits for them                                 |
//! | `flusher` | a pump that takes committed records to the shadow               |
//! | `requests` | what reclaim asks for: barriers, headers struck out, a clock floor |
//! | `service` | the thread that drives it                                       |
//! | `set`     | the members of a store, their superblocks, what belongs together |
//! | `files`   | their names, which exist, creating them                         |

#[cfg(not(loom))]
mod files;
#[cfg(not(loom))]
mod flusher;
#[cfg(not(loom))]
pub mod io;
mod requests;
#[cfg(not(loom))]
mod service;
#[cfg(not(loom))]
mod set;
mod tickets;

#[cfg(not(loom))]
pub use files::{Created, complete, reserve};
#[cfg(not(loom))]
pub use flusher::{Flusher, Layout, Round};
pub use requests::Requests;
#[cfg(not(loom))]
pub use service::{Pump, Service, Work};
#[cfg(not(loom))]
pub use set::{ShadowSet, Standing, Survey, member_bytes, open, random, survey};
pub use tickets::Tickets;
#[cfg(loom)]
pub use tickets::Waited;

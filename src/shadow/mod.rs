//! The mirror of the region: block I/O, the flusher, barriers, superblocks.
//!
//! | module    | what                                                            |
//! |-----------|-----------------------------------------------------------------|
//! | `io`      | operations on files: `io_uring`, pwrite, or a simulated disk    |
//! | `tickets` | barriers and who waits for them                                 |
//! | `flusher` | a pump that takes committed records to the shadow               |
//! | `jobs`    | what the flusher keeps of each lane, and of each write           |
//! | `requests` | what reclaim asks for: barriers, headers struck out, a clock floor |
//! | `pump`    | drives it, tries again what failed, keeps the superblocks       |
//! | `attach`  | moves a running store to another shadow                         |
//! | `service` | the shadow side as the store sees it: waits, health, the thread |
//! | `set`     | the members of a store, their superblocks, what belongs together |
//! | `files`   | their names, which exist, creating them                         |

#[cfg(not(loom))]
mod attach;
#[cfg(not(loom))]
mod files;
#[cfg(not(loom))]
mod flusher;
#[cfg(not(loom))]
pub mod io;
#[cfg(not(loom))]
mod jobs;
#[cfg(not(loom))]
mod pump;
mod requests;
#[cfg(not(loom))]
mod service;
#[cfg(not(loom))]
mod set;
mod tickets;

#[cfg(not(loom))]
pub use attach::{Answer, Request, open_target, survey_targets};
#[cfg(not(loom))]
pub use files::{Created, complete, reserve};
#[cfg(not(loom))]
pub use flusher::{Flusher, Layout, Round};
#[cfg(not(loom))]
pub use pump::{Pump, Work};
pub use requests::Requests;
#[cfg(not(loom))]
pub use service::{Service, Unmet};
#[cfg(not(loom))]
pub use set::{ShadowSet, Standing, Survey, member_bytes, open, random, survey};
pub use tickets::Tickets;
#[cfg(loom)]
pub use tickets::Waited;

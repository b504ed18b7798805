//! Block I/O for the shadow: submit and complete, and what stands on it.
//!
//! | module      | what                                                                       |
//! |-------------|----------------------------------------------------------------------------|
//! | `block`     | the trait [`BlockIo`]: operations on raw memory, completions as they come  |
//! | `transfers` | [`Transfers`]: whole jobs over it: pieces, short counts, retries, draining |
//! | `counters`  | [`IoCounters`]: every surprise, counted                                    |
//! | `ring`      | `io_uring`                                                                 |
//! | `blocking`  | pread and pwrite, where the ring is refused; the choice between the two    |
//! | `file`      | opening, locking and sizing files and devices                              |
//! | `claim`     | the process-wide register of open shadows                                  |
//! | `system`    | the few system calls that `std` does not have                              |
//! | `sector`    | reads and writes of whole sectors without a back end, for superblocks      |
//! | `members`   | [`Members`]: the files of one store, real or simulated                     |
//! | `sim`       | the simulated disk: loses, tears, reorders, misdirects, lies and fails     |

mod block;
mod blocking;
mod claim;
mod counters;
mod file;
mod members;
mod ring;
mod sector;
#[cfg(any(test, feature = "testing"))]
mod sim;
mod system;
mod transfers;

#[cfg(feature = "testing")]
pub use block::{Backend, Completion, Op};
pub use block::{BlockIo, Buffer, FileIndex};
#[cfg(any(test, feature = "testing"))]
pub use blocking::{Blocking, open_backend};
pub use blocking::{OpenedIo, Prefer};
pub use counters::{IoCounters, IoCounts};
pub use file::{OpenError, ShadowFile, sync_directory};
pub use members::{Members, ShadowFiles};
#[cfg(any(test, feature = "testing"))]
pub use ring::Ring;
#[cfg(any(test, feature = "testing"))]
pub use sim::{Crashes, Fault, FaultOn, SimConfig, SimDisk};
#[cfg(feature = "testing")]
pub use transfers::Missing;
pub use transfers::{Direction, Transfer, TransferError, Transfers};

//! For tests of a host or of this crate: a simulated disk, a clock that tests turn, a shadow that
//! tests pump. Not covered by semantic versioning.
#![forbid(unsafe_code)]

pub use crate::clock::{Clock, ManualClock};
pub use crate::region::HUGE_PAGE_BYTES;
pub use crate::shadow::io::{
    Backend, BlockIo, Blocking, Buffer, Completion, Crashes, Direction, Fault, FaultOn, FileIndex,
    IoCounters, IoCounts, Members, Missing, Op, OpenError, OpenedIo, Prefer, Ring, ShadowFile,
    ShadowFiles, SimConfig, SimDisk, Transfer, TransferError, Transfers, open_backend,
};
pub use crate::shadow::{Pump, Round, member_bytes};
pub use crate::store::testing::{Harness, Move, begin_move, move_to, snapshot_on};
pub use crate::upkeep::{Pace, Reclaimer};

//! What the flusher keeps of each lane, and of each write.
#![forbid(unsafe_code)]

use crate::unit::{Sequence, WblockId};
use std::collections::VecDeque;

/// Where the flusher stands in one lane.
#[derive(Debug, Default)]
pub(super) struct LaneProgress {
    /// Wblocks not finished yet, the oldest first. The newest of the lane is the last one.
    pub(super) backlog: VecDeque<WblockId>,
    /// Newest wblock ever seen, in which life: `previous` links are followed back to it (S5).
    pub(super) newest: Option<(WblockId, Sequence)>,
    /// Of the oldest of the backlog.
    pub(super) flushed_rblock: u32,
    pub(super) flushes: u16,
    pub(super) target: Target,
}

/// What the flush in progress of a lane's oldest wblock is to reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Target {
    #[default]
    None,
    Until(u32),
    End,
}

/// One write, and what its wblock is once it is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) wblock: WblockId,
    pub(super) from_rblock: u32,
    pub(super) until_rblock: u32,
    pub(super) then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// What it was: there is more to come.
    Open,
    /// Used: this was the last of it.
    Used,
    /// Struck: nothing of it counts any more.
    Struck,
}

/// How the flusher lays out and paces its writes.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Bytes of one write.
    pub flush_bytes: u32,
    /// Byte of each shadow at which its first wblock starts.
    pub first_wblock_bytes: u64,
    /// Syncs only for barriers.
    pub lazy_sync: bool,
}

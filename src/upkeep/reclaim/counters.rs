//! What reclaim has done and what it waits for, for statistics.
#![forbid(unsafe_code)]

use crate::sync::{AtomicBool, AtomicU64, Relaxed};

/// Counted by the reclaimers, read by anybody.
#[derive(Debug, Default)]
pub struct ReclaimCounters {
    pub(super) emptied_wblocks: AtomicU64,
    pub(super) freed_wblocks: AtomicU64,
    pub(super) moved_records: AtomicU64,
    pub(super) moved_bytes: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) tombstones_dropped: AtomicU64,
    pub(super) raids: AtomicU64,
    pub(super) waiting_for_pins: AtomicU64,
    pub(super) waiting_for_barrier: AtomicU64,
    /// The store runs short of free wblocks.
    pub(super) is_pressed: AtomicBool,
}

/// What reclaim has done since the store was opened, and what it waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimStats {
    /// Wblocks out of which the live records were moved.
    pub emptied_wblocks: u64,
    /// Wblocks given back, those included that emptied themselves.
    pub freed_wblocks: u64,
    /// Records and tombstones moved by defragmentation.
    pub moved_records: u64,
    /// Their bytes, padding to 16 bytes included.
    pub moved_bytes: u64,
    /// Expired records whose bytes were given back.
    pub expired: u64,
    /// Records evicted.
    pub evicted: u64,
    /// Tombstones dropped, because nothing older than them is left.
    pub tombstones_dropped: u64,
    /// Rounds of the tomb raider.
    pub raids: u64,
    /// Wblocks that only wait for pins to end: see [`Stats::oldest_pin_ms`](crate::Stats).
    pub waiting_for_pins: u64,
    /// Wblocks that wait for a flush, or for their header to be struck out on the shadow.
    pub waiting_for_barrier: u64,
    /// Free wblocks run short: defragmentation works without pauses.
    pub is_pressed: bool,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, amount: u64) {
    // ORDERING: Relaxed. Statistics.
    counter.fetch_add(amount, Relaxed);
}

impl ReclaimCounters {
    /// The figures of this moment.
    pub fn stats(&self) -> ReclaimStats {
        // ORDERING: Relaxed. Statistics.
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        ReclaimStats {
            emptied_wblocks: read(&self.emptied_wblocks),
            freed_wblocks: read(&self.freed_wblocks),
            moved_records: read(&self.moved_records),
            moved_bytes: read(&self.moved_bytes),
            expired: read(&self.expired),
            evicted: read(&self.evicted),
            tombstones_dropped: read(&self.tombstones_dropped),
            raids: read(&self.raids),
            waiting_for_pins: read(&self.waiting_for_pins),
            waiting_for_barrier: read(&self.waiting_for_barrier),
            // ORDERING: Relaxed, as above.
            is_pressed: self.is_pressed.load(Relaxed),
        }
    }
}

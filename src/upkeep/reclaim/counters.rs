//! What reclaim has done and what it waits for, for statistics.
#![forbid(unsafe_code)]

use crate::region::Waiting;
use crate::sync::{AtomicU64, Relaxed};

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
    pub(super) tombstones_pinned: AtomicU64,
    /// Of these, what is over what is tolerated; less the pins of wblocks chosen since the raid.
    pub(super) tombstones_surplus: AtomicU64,
    pub(super) raids: AtomicU64,
    /// In the gates of all reclaimers.
    waiting_for_pins: AtomicU64,
    waiting_for_barrier: AtomicU64,
    /// Reclaimers that find free wblocks running short.
    pub(super) pressed: AtomicU64,
}

/// What reclaim has done since the store was opened, and what it waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
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
    /// Tombstones of which the last round of the tomb raider met an older copy: they stay until
    /// the wblock of that copy is reclaimed.
    pub tombstones_pinned: u64,
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

/// Changes the share of one reclaimer in a sum.
pub(super) fn change(sum: &AtomicU64, from: u64, to: u64) {
    // ORDERING: Relaxed. Statistics, and policy: that it is heeded a moment later harms nobody.
    sum.fetch_add(to.wrapping_sub(from), Relaxed);
}

impl ReclaimCounters {
    /// One of the gates held `from`, and holds `to`.
    pub(super) fn note_waiting(&self, from: Waiting, to: Waiting) {
        change(&self.waiting_for_pins, from.pins, to.pins);
        change(&self.waiting_for_barrier, from.barrier, to.barrier);
    }

    /// Wblocks in all gates.
    pub(super) fn in_gates(&self) -> u64 {
        // ORDERING: Relaxed, both, as in `change`.
        self.waiting_for_pins.load(Relaxed) + self.waiting_for_barrier.load(Relaxed)
    }

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
            tombstones_pinned: read(&self.tombstones_pinned),
            raids: read(&self.raids),
            waiting_for_pins: read(&self.waiting_for_pins),
            waiting_for_barrier: read(&self.waiting_for_barrier),
            is_pressed: read(&self.pressed) > 0,
        }
    }
}

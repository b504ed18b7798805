//! What block I/O went through, counted: short counts and retries that nobody else sees.
#![forbid(unsafe_code)]

use crate::sync::{AtomicU64, Relaxed};

/// Counters of one store's block I/O; shared, read at any time.
#[derive(Debug, Default)]
pub struct IoCounters {
    short_writes: AtomicU64,
    retries: AtomicU64,
    bytes_written: AtomicU64,
    bytes_read: AtomicU64,
    syncs: AtomicU64,
    write_errors: AtomicU64,
    heals: AtomicU64,
}

/// [`IoCounters`] at one moment; each figure on its own, not all of the same instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct IoCounts {
    /// Writes that moved fewer bytes than asked for, and were resumed.
    pub short_writes: u64,
    /// Operations started again after `EINTR` or `EAGAIN`.
    pub retries: u64,
    /// Bytes that the system took, those written twice after a short write included.
    pub bytes_written: u64,
    /// Bytes that the system gave.
    pub bytes_read: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Writes and syncs that failed for good.
    pub write_errors: u64,
    /// Times that everything since the last good sync was written again from memory, and synced.
    pub heals: u64,
}

impl IoCounters {
    /// The figures now.
    pub fn counts(&self) -> IoCounts {
        // ORDERING: Relaxed, for each. Figures for people; nothing is decided by them.
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        IoCounts {
            short_writes: read(&self.short_writes),
            retries: read(&self.retries),
            bytes_written: read(&self.bytes_written),
            bytes_read: read(&self.bytes_read),
            syncs: read(&self.syncs),
            write_errors: read(&self.write_errors),
            heals: read(&self.heals),
        }
    }

    pub(super) fn count_short_write(&self) {
        add(&self.short_writes, 1);
    }

    pub(super) fn count_retry(&self) {
        add(&self.retries, 1);
    }

    pub(super) fn count_written(&self, bytes: u32) {
        add(&self.bytes_written, u64::from(bytes));
    }

    pub(super) fn count_read(&self, bytes: u32) {
        add(&self.bytes_read, u64::from(bytes));
    }

    pub(super) fn count_sync(&self) {
        add(&self.syncs, 1);
    }

    pub(in crate::shadow) fn count_heal(&self) {
        add(&self.heals, 1);
    }

    pub(super) fn count_write_error(&self) {
        add(&self.write_errors, 1);
    }
}

fn add(counter: &AtomicU64, count: u64) {
    // ORDERING: Relaxed. A sum; no other data is published by it.
    counter.fetch_add(count, Relaxed);
}

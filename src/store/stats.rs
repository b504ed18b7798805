//! What a store says about itself.
#![forbid(unsafe_code)]

use super::{Inner, Store};
use crate::config::HugePages;
use crate::region::{State, Wblock};
use crate::shadow::Service;
use crate::shadow::io::IoCounts;
use crate::sync::lock;
use crate::unit::RBLOCK_BYTES;
use crate::upkeep::{Audit, LoadReport, ReclaimStats, Rejected, Runway};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long an audit waits for writers and reclaim to come to rest.
const AUDIT_PATIENCE: Duration = Duration::from_secs(1);
const AUDIT_PAUSE: Duration = Duration::from_millis(5);

/// Figures of a store at one moment; each on its own, not all of the same instant.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Live records, expired ones included until they are swept.
    pub records: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Bytes of records and tombstones that count, padding to 16 bytes included.
    pub live_bytes: u64,
    /// Bytes of the region: what is there for records.
    pub data_size_bytes: u64,
    /// Bytes of the index: segments, spare ones, and the directory.
    pub index_bytes: u64,
    /// Bytes of what a cache remembers of evicted keys, 2 a record; 0 before it first evicts.
    pub ghost_bytes: u64,
    /// Segments of the index, 16 KiB each.
    pub index_segments: u64,
    /// Segments that were split into two because they were full.
    pub index_splits: u64,
    /// Segments that were rebuilt because too many of their entries were removed ones.
    pub index_rebuilds: u64,
    /// Wblocks that are free.
    pub free_wblocks: u64,
    /// Wblocks by state.
    pub wblocks: WblockCounts,
    /// Stripes.
    pub stripes: u32,
    /// Bytes in one wblock.
    pub wblock_bytes: u32,
    /// Age of the oldest pin of the process, to 0.2 s; 0 below that.
    pub oldest_pin_ms: u64,
    /// Bytes that were reserved and are not known to be durable. 0 without a shadow.
    pub unflushed_bytes: u64,
    /// What reclaim has done, and what it waits for.
    pub reclaim: ReclaimStats,
    /// True while puts are refused with [`Error::StopWrites`](crate::Error::StopWrites).
    pub stop_writes: bool,
    /// How long the space lasts, and what holds the rest.
    pub runway: Runway,
    /// What the block I/O of the shadow went through; `None` without a shadow.
    pub io: Option<IoCounts>,
    /// Why `io_uring` is not used, where it was refused.
    pub ring_refused: Option<String>,
    /// What the configuration asked for and the machine could not give, or gives at a price; each
    /// a sentence for an operator. Empty on most machines.
    pub notices: Vec<String>,
    /// The pages that the region was given.
    pub huge_pages: HugePages,
    /// What the cold start found.
    pub load: LoadReport,
}

/// Wblocks by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WblockCounts {
    /// Never opened, or given back.
    pub free: u64,
    /// Being filled.
    pub open: u64,
    /// Full, and not all on the shadow.
    pub sealed: u64,
    /// Full, and on the shadow if there is one.
    pub used: u64,
    /// Chosen to be emptied.
    pub defrag: u64,
    /// Being emptied.
    pub emptying: u64,
    /// Empty, and waiting for a flush, for their header to be struck out, or for pins.
    pub quarantined: u64,
    /// Out of use for this run: their header was damaged at cold start.
    pub damaged: u64,
    /// Emptied and out of use, for writes to their places on the shadow fail. What they held was
    /// written elsewhere before anything was acknowledged. Time to replace the device.
    pub bad: u64,
}

/// How a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "health", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Health {
    /// Nothing to report.
    Ok,
    /// Cold start found that something was lost.
    DataLoss {
        /// Places that were durable once and could not be read.
        damaged: u64,
        /// What they were.
        rejected: Rejected,
    },
    /// The shadow takes no writes: reads go on, writes are refused. What failed is tried again once
    /// a second; [`Store::reattach_shadow`] moves the store to another place.
    ShadowFailed {
        /// The member that failed.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A reclaimer has panicked, which is a bug: of its part of the store no space comes back in
    /// this run. Reads and writes go on until space ends; then writes are refused with
    /// [`Error::ReclaimFailed`](crate::Error::ReclaimFailed). Open the store anew.
    ReclaimFailed {
        /// The thread, and what it said.
        reason: String,
    },
}

impl Store {
    /// Figures about the store. Costs a look at every wblock's state: some nanoseconds each.
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// Whether anything is wrong with the store.
    pub fn health(&self) -> Health {
        self.inner.health()
    }

    /// Counts everything anew from the index and compares it with what is kept: live bytes of each
    /// wblock, records, tombstones, free wblocks.
    ///
    /// Cost: a look at every record. What writers and reclaim change meanwhile may look like a
    /// mismatch, so it looks again, up to a second, before it reports one: call it when the store
    /// is at rest.
    pub fn audit(&self) -> Audit {
        let deadline = Instant::now() + AUDIT_PATIENCE;
        loop {
            let audit = self.inner.keyspace.audit();
            if audit.mismatches.is_empty() || Instant::now() >= deadline {
                return audit;
            }
            std::thread::sleep(AUDIT_PAUSE);
        }
    }
}

impl WblockCounts {
    /// Counts `wblock`.
    pub(super) fn count(&mut self, wblock: &Wblock) {
        let count = match wblock.state() {
            State::Free => &mut self.free,
            State::Open => &mut self.open,
            State::Sealed => &mut self.sealed,
            State::Used => &mut self.used,
            State::Defrag => &mut self.defrag,
            State::Emptying => &mut self.emptying,
            State::Retired => &mut self.bad,
            State::Quarantined if wblock.is_stuck() => &mut self.bad,
            State::Quarantined | State::Struck => &mut self.quarantined,
            State::Damaged => &mut self.damaged,
        };
        *count += 1;
    }
}

impl Inner {
    pub(super) fn stats(&self) -> Stats {
        let keyspace = &self.keyspace;
        let pressure = self.upkeep.pressure();
        let reclaim = self.reclaim.common().counters.stats();
        let geometry = keyspace.stripes().geometry();
        Stats {
            records: keyspace.records(),
            tombstones: keyspace.tombstones(),
            live_bytes: keyspace.live_bytes(),
            data_size_bytes: geometry.region_bytes(),
            index_bytes: keyspace.index().bytes(),
            ghost_bytes: keyspace.ghost_bytes(),
            index_segments: keyspace.index().segments(),
            index_splits: keyspace.index().splits(),
            index_rebuilds: keyspace.index().rebuilds(),
            free_wblocks: keyspace.stripes().free_wblocks(),
            wblocks: self.wblock_counts(),
            stripes: geometry.stripes,
            wblock_bytes: geometry.wblock_bytes,
            oldest_pin_ms: self.upkeep.oldest_pin_ms(),
            unflushed_bytes: self.unflushed_bytes(),
            reclaim,
            stop_writes: pressure.check_room().is_err() || keyspace.stripes().is_kept_by_policy(),
            runway: pressure.runway(keyspace.tombstones(), &reclaim),
            io: self.io.as_ref().map(|io| io.counters.counts()),
            ring_refused: self.io.as_ref().and_then(|io| lock(&io.ring_refused).clone()),
            notices: self.notices.clone(),
            huge_pages: keyspace.stripes().region().huge_pages(),
            load: self.report.clone(),
        }
    }

    pub(super) fn health(&self) -> Health {
        if let Some(failure) = self.shadow.as_ref().and_then(Service::failure) {
            return Health::ShadowFailed { path: failure.path, reason: failure.source.to_string() };
        }
        if let Some(reason) = self.reclaim.common().room.failure() {
            return Health::ReclaimFailed { reason };
        }
        match self.report.damaged() {
            0 => Health::Ok,
            damaged => Health::DataLoss { damaged, rejected: self.report.rejected },
        }
    }

    fn wblock_counts(&self) -> WblockCounts {
        let mut counts = WblockCounts::default();
        for (_, wblock) in self.keyspace.stripes().wblocks() {
            counts.count(wblock);
        }
        counts
    }

    /// Bytes that were reserved and are not known to be durable.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        let Some(io) = &self.io else { return 0 };
        let stripes = self.keyspace.stripes();
        let is_sealed = |wblock: &&Wblock| wblock.state() == State::Sealed;
        let sealed = stripes.wblocks().map(|(_, wblock)| wblock).filter(is_sealed).count() as u64;
        let sealed = sealed * u64::from(stripes.geometry().wblock_bytes);
        let open: u64 = (0..stripes.lanes())
            .filter_map(|lane| {
                let (wblock, position) = stripes.open_rblocks(lane)?;
                if stripes.wblock(wblock).state() != State::Open {
                    return None;
                }
                let (oldest, durable_rblocks) = io.durable(lane);
                let flushed = if oldest == wblock.0 { durable_rblocks } else { 0 };
                // A cut pads to a sector: what is flushed may be ahead of what is reserved.
                Some(u64::from(position.saturating_sub(flushed) * RBLOCK_BYTES))
            })
            .sum();
        sealed + open
    }
}

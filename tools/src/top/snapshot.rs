//! What `Store::publish_top` writes, member by member.
//!
//! A copy of the engine's types and not the types themselves: this command reads what engines of
//! other versions write. Members that it does not know are left out; `tests/top.rs` checks that it
//! knows those of the engine beside it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version that is understood.
pub(crate) const VERSION: u32 = 1;

/// What can be read of every version.
#[derive(Debug, Deserialize)]
pub(crate) struct Preface {
    pub(crate) brindle_top: u32,
    #[serde(default)]
    pub(crate) engine_version: String,
}

/// How a store is at one moment.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Snapshot {
    /// The version of this document.
    pub(crate) brindle_top: u32,
    /// The version of the engine that wrote it.
    pub(crate) engine_version: String,
    /// The name of the host's program.
    pub(crate) program: String,
    /// The host.
    pub(crate) pid: u32,
    /// When it started, which tells it from a later process of that number. Unit: ticks since the
    /// boot.
    pub(crate) pid_started: Option<u64>,
    /// The first one is 1.
    pub(crate) number: u64,
    /// Since the first one. Unit: milliseconds.
    pub(crate) publishing_ms: u64,
    /// The next one comes in so many.
    pub(crate) cadence_ms: u64,
    /// By the host's clock on the wall. Unit: microseconds since 1970.
    pub(crate) written_at_us: u64,
    /// `close` was called.
    pub(crate) is_closing: bool,
    /// The shadow: a directory, or the first device. Null: in memory alone.
    pub(crate) shadow: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) health: Health,
    pub(crate) stats: Stats,
    /// Bytes that were reserved since the first one: records, headers, padding and moves.
    pub(crate) appended_bytes: u64,
    /// Null while the host has none measured.
    pub(crate) calls: Option<Calls>,
    pub(crate) map: Map,
}

/// Keys of the configuration that the figures are to be held against.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Limits {
    pub(crate) flush_max_ms: u64,
    pub(crate) max_write_cache_bytes: u64,
    pub(crate) commit_to_device: bool,
    pub(crate) defrag_lwm_pct: u8,
    pub(crate) evict_used_pct: u8,
    pub(crate) stop_writes_used_pct: u8,
    pub(crate) stop_writes_avail_pct: u8,
}

/// What `Store::health` says.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "health", rename_all = "snake_case")]
pub(crate) enum Health {
    Ok,
    DataLoss {
        damaged: u64,
        rejected: Rejected,
    },
    ShadowFailed {
        path: String,
        reason: String,
    },
    ReclaimFailed {
        reason: String,
    },
    /// Of a later engine.
    #[serde(other)]
    Unknown,
}

/// What `Store::stats` says: the documentation of the engine explains each.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Stats {
    pub(crate) records: u64,
    pub(crate) tombstones: u64,
    pub(crate) live_bytes: u64,
    pub(crate) data_size_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) ghost_bytes: u64,
    pub(crate) index_segments: u64,
    pub(crate) index_splits: u64,
    pub(crate) index_rebuilds: u64,
    pub(crate) free_wblocks: u64,
    pub(crate) wblocks: WblockCounts,
    pub(crate) stripes: u32,
    pub(crate) wblock_bytes: u32,
    pub(crate) oldest_pin_ms: u64,
    pub(crate) unflushed_bytes: u64,
    pub(crate) reclaim: Reclaim,
    pub(crate) stop_writes: bool,
    pub(crate) runway: Runway,
    pub(crate) io: Option<Io>,
    pub(crate) ring_refused: Option<String>,
    pub(crate) notices: Vec<String>,
    pub(crate) huge_pages: String,
    pub(crate) load: Load,
}

/// Wblocks by state.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub(crate) struct WblockCounts {
    pub(crate) free: u64,
    pub(crate) open: u64,
    pub(crate) sealed: u64,
    pub(crate) used: u64,
    pub(crate) defrag: u64,
    pub(crate) emptying: u64,
    pub(crate) quarantined: u64,
    #[serde(default)]
    pub(crate) bad: u64,
    pub(crate) damaged: u64,
}

impl WblockCounts {
    /// Each by its name.
    pub(crate) fn named(&self) -> [(u64, &'static str); 9] {
        [
            (self.free, "free"),
            (self.open, "open"),
            (self.sealed, "sealed"),
            (self.used, "used"),
            (self.defrag, "defrag"),
            (self.emptying, "emptying"),
            (self.quarantined, "quarantined"),
            (self.bad, "of bad place"),
            (self.damaged, "damaged"),
        ]
    }

    pub(crate) fn total(&self) -> u64 {
        self.named().iter().fold(0, |sum, (count, _)| sum.saturating_add(*count))
    }
}

/// What reclaim has done, and what it waits for.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Reclaim {
    pub(crate) emptied_wblocks: u64,
    pub(crate) freed_wblocks: u64,
    pub(crate) moved_records: u64,
    pub(crate) moved_bytes: u64,
    pub(crate) expired: u64,
    pub(crate) evicted: u64,
    pub(crate) tombstones_dropped: u64,
    pub(crate) tombstones_pinned: u64,
    pub(crate) raids: u64,
    pub(crate) waiting_for_pins: u64,
    pub(crate) waiting_for_barrier: u64,
    pub(crate) is_pressed: bool,
}

/// How long the space lasts, and what holds the rest.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Runway {
    pub(crate) free_wblocks: u64,
    pub(crate) seconds_left: Option<u64>,
    pub(crate) live_bytes: u64,
    pub(crate) dead_bytes: u64,
    pub(crate) pin_wait_bytes: u64,
    pub(crate) barrier_wait_bytes: u64,
    pub(crate) tombstones: u64,
}

/// What the block I/O of the shadow went through.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Io {
    pub(crate) short_writes: u64,
    pub(crate) retries: u64,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_read: u64,
    pub(crate) syncs: u64,
    pub(crate) write_errors: u64,
    pub(crate) heals: u64,
}

/// What the cold start found.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Load {
    pub(crate) was_clean: bool,
    pub(crate) records: u64,
    pub(crate) tombstones: u64,
    pub(crate) read: u64,
    pub(crate) superseded: u64,
    pub(crate) wblocks: u64,
    pub(crate) bytes: u64,
    pub(crate) elapsed_seconds: f64,
    pub(crate) truncated_shadows: u64,
    pub(crate) rejected: Rejected,
}

/// What it left out.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Rejected {
    pub(crate) torn: u64,
    pub(crate) lost_values: u64,
    pub(crate) lost_places: u64,
    pub(crate) unsupported: u64,
    pub(crate) paddings: u64,
    pub(crate) damaged_wblocks: u64,
    pub(crate) foreign_wblocks: u64,
    pub(crate) missing_wblocks: u64,
    pub(crate) stale_wblocks: u64,
    pub(crate) stale_superblocks: u64,
    pub(crate) header_copies: u64,
    pub(crate) superblock_copies: u64,
}

/// Calls, as far as they are measured.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Calls {
    /// One call in so many is measured.
    pub(crate) one_of: u32,
    pub(crate) get: Call,
    pub(crate) put: Call,
    pub(crate) delete: Call,
}

/// Calls of one kind since the store was opened.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Call {
    /// Estimated from the measured ones.
    pub(crate) count: u64,
    /// Pairs of the longest time of a bucket, in nanoseconds, and the measured calls in it.
    pub(crate) latency_ns: Vec<(u64, u64)>,
}

/// Every wblock.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Map {
    /// Wblocks that a cell stands for, at most.
    pub(crate) wblocks_a_cell: u32,
    pub(crate) stripes: Vec<StripeMap>,
}

/// The wblocks whose place on the shadow is in one file or device.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct StripeMap {
    pub(crate) stripe: u32,
    pub(crate) wblocks: WblockCounts,
    pub(crate) live_bytes: u64,
    pub(crate) dead_bytes: u64,
    /// A letter for each cell, for the state that most of its wblocks are in: `.` free, `o` open,
    /// `s` sealed, `u` used, `d` defrag, `e` emptying, `q` quarantined; `!` if one is damaged,
    /// or its place on the shadow is bad.
    pub(crate) states: String,
    /// A digit for each cell: the tenth of its room that is live; else its state.
    pub(crate) live: String,
}

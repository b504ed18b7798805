//! What the engine works by: every key resolved and checked, in the types that the rooms use.
#![forbid(unsafe_code)]

use super::{HugePages, OnDamage, OnProgress};
use crate::unit::Geometry;
use std::path::PathBuf;
use std::time::Duration;

/// A configuration that was found good (C1).
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key that an operator knows by name")]
pub struct Plan {
    /// The region's shape, `data_size` rounded up to it.
    pub geometry: Geometry,
    /// Where the region is mirrored.
    pub shadow: Shadow,
    /// Header, key and value of one record, at most. Range: 64 to the wblock's room.
    pub record_bytes_max: u32,
    /// Bytes of one write to the shadow: a power of two, 4 KiB to one wblock.
    pub flush_bytes: u32,
    /// A put is durable this long after it; `None`: only full wblocks and `flush` are written.
    pub flush_max: Option<Duration>,
    /// How long `flush` and durable writes wait for the shadow; at least 1 ms.
    pub flush_deadline: Duration,
    /// How long `close` waits for the shadow; at least 1 ms.
    pub close_deadline: Duration,
    /// Every put returns only when durable. Only with a shadow.
    pub commit_to_device: bool,
    /// `O_DIRECT` on shadow files. Only with a shadow.
    pub direct_files: bool,
    /// Syncs are left to `flush`. Only with a shadow, and not with `commit_to_device`.
    pub disable_odsync: bool,
    /// The engine's own threads are pinned to cores.
    pub pin_cores: bool,
    /// The pages of the region.
    pub huge_pages: HugePages,
    /// All memory is touched at open.
    pub prefault: bool,
    /// The region is locked in memory.
    pub lock_memory: bool,
    /// The life of a record that is put without one; `None`: for ever.
    pub default_ttl: Option<Duration>,
    /// What damage at cold start leads to.
    pub on_damage: OnDamage,
    /// Records to size the index for; 0 if not known. At most one for each rblock of the region.
    pub expected_records: u64,
    /// Who is told how far a cold start is.
    pub on_progress: Option<OnProgress>,
    /// By what space comes back.
    pub reclaim: Reclaim,
}

/// Where the region is mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shadow {
    /// Nowhere: the store ends with the process.
    None,
    /// One file for each stripe, in this directory.
    Dir(PathBuf),
    /// One device (or file) for each stripe, in the order of the stripes; no two are equal.
    Devices(Vec<PathBuf>),
}

/// By what space comes back, and what puts meet when it runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reclaim {
    /// Bytes that may be sealed but not durable; at least one wblock.
    pub write_cache_bytes_max: u64,
    /// How long a put waits for the write cache; zero: not at all.
    pub overload_wait: Duration,
    /// A wblock with a smaller live share is defragmented. Range: 1 to 99.
    pub defrag_lwm_pct: u8,
    /// Wblocks that are left queued.
    pub defrag_queue_min: u32,
    /// Pause after each wblock.
    pub defrag_sleep: Duration,
    /// When to evict; `None`: never.
    pub evict: Option<Evict>,
    /// Puts are refused above this used share; 0: never.
    pub stop_writes_used_pct: u8,
    /// Puts are refused below this free share of the wblocks; 0: never.
    pub stop_writes_avail_pct: u8,
    /// A delete with a version is remembered at least this long.
    pub tombstone_grace: Duration,
    /// Time from one sweep to the next; at least 1 ms.
    pub sweep_interval: Duration,
}

/// The share of `data_size` at which eviction starts, and the lower one at which it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evict {
    /// Starts above it.
    pub used_pct: u8,
    /// Stops there; below `used_pct`.
    pub target_pct: u8,
}

//! The keys: what each means, its default, and the method that sets it.
#![forbid(unsafe_code)]

use super::progress::{OnProgress, Progress};
use super::{HugePages, OnDamage};
use crate::unit::WBLOCK_BYTES_MAX;
use std::path::PathBuf;
use std::time::Duration;

/// What a store is to be like: every key has a default, and is set by the method of its name.
///
/// Nothing is checked here. `Store::open` reports what it cannot use, by key, and opens nothing
/// then. With the feature `serde`, the same keys can be read from TOML. Some keys may change while
/// the store is open: see [`Store::reconfigure`](crate::Store::reconfigure).
///
/// ```
/// let config = brindle::Config::new().data_size(1 << 30).shadow_dir("data").default_ttl(
///     std::time::Duration::from_secs(3600),
/// );
/// ```
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until a store is opened with it"]
#[expect(clippy::struct_excessive_bools, reason = "each is a key that an operator knows by name")]
pub struct Config {
    pub(crate) data_size: Option<u64>,
    pub(crate) shadow_dir: Option<PathBuf>,
    pub(crate) shadow_devices: Option<Vec<PathBuf>>,
    pub(crate) stripes: Option<usize>,
    pub(crate) wblock_size: Option<u64>,
    pub(crate) max_record_size: Option<u64>,
    pub(crate) pin_cores: bool,
    pub(crate) huge_pages: HugePages,
    pub(crate) prefault: bool,
    pub(crate) lock_memory: bool,
    pub(crate) commit_to_device: bool,
    pub(crate) direct_files: bool,
    pub(crate) disable_odsync: bool,
    pub(crate) flush_max_ms: u64,
    pub(crate) flush_size: Option<u64>,
    pub(crate) max_write_cache: u64,
    pub(crate) overload_wait: Duration,
    pub(crate) flush_deadline: Duration,
    pub(crate) close_deadline: Duration,
    pub(crate) defrag_lwm_pct: u8,
    pub(crate) defrag_queue_min: u32,
    pub(crate) defrag_sleep: Duration,
    pub(crate) evict_used_pct: u8,
    pub(crate) evict_target_pct: Option<u8>,
    pub(crate) stop_writes_used_pct: u8,
    pub(crate) stop_writes_avail_pct: u8,
    pub(crate) default_ttl: Duration,
    pub(crate) on_damage: OnDamage,
    pub(crate) expected_records: u64,
    pub(crate) tombstone_grace: Duration,
    pub(crate) sweep_interval: Duration,
    pub(crate) on_progress: Option<OnProgress>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_size: None,
            shadow_dir: None,
            shadow_devices: None,
            stripes: None,
            wblock_size: None,
            max_record_size: None,
            pin_cores: true,
            huge_pages: HugePages::default(),
            prefault: true,
            lock_memory: false,
            commit_to_device: false,
            direct_files: false,
            disable_odsync: false,
            flush_max_ms: 1000,
            flush_size: None,
            max_write_cache: 64 << 20,
            overload_wait: Duration::from_secs(1),
            flush_deadline: Duration::from_secs(60),
            close_deadline: Duration::from_secs(60),
            defrag_lwm_pct: 50,
            defrag_queue_min: 0,
            defrag_sleep: Duration::from_millis(1),
            evict_used_pct: 0,
            evict_target_pct: None,
            stop_writes_used_pct: 90,
            stop_writes_avail_pct: 5,
            default_ttl: Duration::ZERO,
            on_damage: OnDamage::default(),
            expected_records: 0,
            tombstone_grace: Duration::from_secs(600),
            sweep_interval: Duration::from_secs(1),
            on_progress: None,
        }
    }
}

/// What stands where a key was not set. A shadow that exists already knows better than that.
impl Config {
    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_size.unwrap_or(256 << 20)
    }

    pub(crate) fn wblock_bytes(&self) -> u64 {
        self.wblock_size.unwrap_or(u64::from(WBLOCK_BYTES_MAX))
    }
}

/// Memory and its shape.
impl Config {
    /// A store in memory only, of 256 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// Memory for records, over all stripes, in bytes; rounded up to the same number of whole
    /// wblocks for each stripe. Fixed at open. Default: 256 MiB; at most 16 TiB.
    ///
    /// Each stripe needs two wblocks, with a shadow three (one is kept for deletes).
    pub fn data_size(mut self, bytes: u64) -> Self {
        self.data_size = Some(bytes);
        self
    }

    /// Stripes: parts of the store that are written side by side. Default: one per shadow device,
    /// else one per core, but no more than leave four wblocks to each. At most 1024; more than
    /// there are cores is allowed. Fixed when the shadow is created.
    pub fn stripes(mut self, count: usize) -> Self {
        self.stripes = Some(count);
        self
    }

    /// Bytes of a write block: a power of two, 64 KiB to 8 MiB. Default: 8 MiB. Fixed when the
    /// shadow is created.
    pub fn wblock_size(mut self, bytes: u64) -> Self {
        self.wblock_size = Some(bytes);
        self
    }

    /// Bytes of the largest record that is taken: its header, key and value. Default: 1 MiB, or
    /// the room of a wblock if that is less; from 64 B to that room.
    pub fn max_record_size(mut self, bytes: u64) -> Self {
        self.max_record_size = Some(bytes);
        self
    }

    /// Whether the engine's own threads are pinned to cores. Default: true; on fewer than four
    /// cores they are left to the scheduler all the same.
    pub fn pin_cores(mut self, pin: bool) -> Self {
        self.pin_cores = pin;
        self
    }

    /// The pages that the region asks for. Default: [`HugePages::Transparent`].
    pub fn huge_pages(mut self, pages: HugePages) -> Self {
        self.huge_pages = pages;
        self
    }

    /// Whether open touches all memory, in parallel, so that no put pays for a page fault.
    /// Default: true.
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Whether the region is locked in memory, so that it is never swapped out. Default: false.
    pub fn lock_memory(mut self, lock: bool) -> Self {
        self.lock_memory = lock;
        self
    }

    /// Records that will be stored, to size the index at once instead of letting it grow.
    /// Default: 0, not known. Only a hint: more records are taken, fewer waste memory.
    pub fn expected_records(mut self, records: u64) -> Self {
        self.expected_records = records;
        self
    }
}

/// The shadow.
impl Config {
    /// The directory that mirrors the store, one file for each stripe. Default: none, the store
    /// is in memory only. Not together with [`shadow_devices`](Self::shadow_devices).
    pub fn shadow_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.shadow_dir = Some(path.into());
        self
    }

    /// Raw block devices (or files) that mirror the store, one for each stripe, in this order.
    /// Default: none. Not together with [`shadow_dir`](Self::shadow_dir).
    pub fn shadow_devices(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.shadow_devices = Some(paths.into_iter().map(Into::into).collect());
        self
    }

    /// Whether every put returns only when its record is durable. Default: false. Needs a shadow,
    /// and not [`disable_odsync`](Self::disable_odsync).
    pub fn commit_to_device(mut self, commit: bool) -> Self {
        self.commit_to_device = commit;
        self
    }

    /// Whether shadow files are written past the page cache (`O_DIRECT`), as devices always are.
    /// Default: false. Needs a shadow. For services that write a lot: no second
    /// copy takes memory and a part of the processor's time.
    pub fn direct_files(mut self, direct: bool) -> Self {
        self.direct_files = direct;
        self
    }

    /// Whether syncing is left to `flush` alone: then `flush_max_ms` promises nothing. Default:
    /// false. Needs a shadow, and not [`commit_to_device`](Self::commit_to_device).
    pub fn disable_odsync(mut self, disable: bool) -> Self {
        self.disable_odsync = disable;
        self
    }

    /// A record is durable at most this many milliseconds after its put. Default: 1000; at most
    /// one day. 0: only full wblocks and `flush` are written.
    pub fn flush_max_ms(mut self, ms: u64) -> Self {
        self.flush_max_ms = ms;
        self
    }

    /// Bytes of one write to the shadow: a power of two, 4 KiB to one wblock. Default: 1 MiB, or
    /// one wblock if that is less.
    pub fn flush_size(mut self, bytes: u64) -> Self {
        self.flush_size = Some(bytes);
        self
    }

    /// How long [`Store::flush`](crate::Store::flush), and a durable write, wait for the shadow
    /// before they return [`Error::DeadlinePassed`](crate::Error::DeadlinePassed). What they waited
    /// for goes on. Default: 60 s; at least 1 ms.
    pub fn flush_deadline(mut self, deadline: Duration) -> Self {
        self.flush_deadline = deadline;
        self
    }

    /// How long [`Store::close`](crate::Store::close) waits for the shadow before it returns
    /// [`Error::DeadlinePassed`](crate::Error::DeadlinePassed) and leaves the rest to a thread that
    /// goes on for as long as the process does. Default: 60 s; at least 1 ms.
    pub fn close_deadline(mut self, deadline: Duration) -> Self {
        self.close_deadline = deadline;
        self
    }

    /// What to do about damage found at cold start. Default: [`OnDamage::Report`].
    pub fn on_damage(mut self, action: OnDamage) -> Self {
        self.on_damage = action;
        self
    }

    /// Calls `callback` from time to time while a cold start goes on, and once at its end. It is
    /// called on a thread of the engine, must return soon, and cannot be given in TOML.
    pub fn on_progress(mut self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(OnProgress::new(callback));
        self
    }
}

/// The life of records, and pressure.
impl Config {
    /// The life of a record that is put without one. Default: zero, for ever; at most 100 years.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// Bytes that may be sealed but not durable; past it puts wait. Default: 64 MiB; at least one
    /// wblock.
    pub fn max_write_cache(mut self, bytes: u64) -> Self {
        self.max_write_cache = bytes;
        self
    }

    /// How long a put waits, at most, for the write cache or for space that is on its way back,
    /// before it fails with [`Error::Overloaded`](crate::Error::Overloaded),
    /// [`StopWrites`](crate::Error::StopWrites) or [`OutOfSpace`](crate::Error::OutOfSpace).
    /// Default: 1 s; zero fails at once.
    pub fn overload_wait(mut self, wait: Duration) -> Self {
        self.overload_wait = wait;
        self
    }

    /// A wblock with a smaller live share than this is defragmented once it has come to rest.
    /// Default: 50; 1 to 99. When free wblocks run short, those that give back most for the least
    /// copying are, whatever their share.
    pub fn defrag_lwm_pct(mut self, pct: u8) -> Self {
        self.defrag_lwm_pct = pct;
        self
    }

    /// Wblocks that defragmentation leaves queued. Default: 0.
    pub fn defrag_queue_min(mut self, wblocks: u32) -> Self {
        self.defrag_queue_min = wblocks;
        self
    }

    /// Pause after each defragmented wblock; none under space pressure. Default: 1 ms.
    pub fn defrag_sleep(mut self, pause: Duration) -> Self {
        self.defrag_sleep = pause;
        self
    }

    /// Evict above this used share of `data_size`, what was not read for long first: a cache.
    /// Default: 0, never; 0 to 100. Puts wait for eviction before they pass it by much. A store in
    /// memory only does not know the version of a key that it has evicted.
    pub fn evict_used_pct(mut self, pct: u8) -> Self {
        self.evict_used_pct = pct;
        self
    }

    /// Stop evicting at this used share. Default: 5 below
    /// [`evict_used_pct`](Self::evict_used_pct), and always below it.
    pub fn evict_target_pct(mut self, pct: u8) -> Self {
        self.evict_target_pct = Some(pct);
        self
    }

    /// Refuse puts, but never deletes, above this used share of `data_size`. Default: 90; 0 to
    /// 100, where 0 is never.
    pub fn stop_writes_used_pct(mut self, pct: u8) -> Self {
        self.stop_writes_used_pct = pct;
        self
    }

    /// Refuse puts, but never deletes, when a smaller share of the wblocks is free. Default: 5;
    /// 0 to 100, where 0 is never.
    pub fn stop_writes_avail_pct(mut self, pct: u8) -> Self {
        self.stop_writes_avail_pct = pct;
        self
    }

    /// A delete that carries a version is remembered at least this long, in memory only too, so
    /// that an older put that arrives late does not bring the key back. Default: 10 min.
    pub fn tombstone_grace(mut self, grace: Duration) -> Self {
        self.tombstone_grace = grace;
        self
    }

    /// Time from one sweep for expired records and idle tombstones to the next. Default: 1 s; at
    /// least 1 ms.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.sweep_interval = interval;
        self
    }
}

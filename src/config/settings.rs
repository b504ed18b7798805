//! The keys that may change while a store is open, each with the value that is in force.
//!
//! One `Settings` is shared by all who act on it: each reads a value when it needs it, so that a
//! change takes effect at the next look. The values come from a [`Plan`] and so are free of
//! contradictions; only the pair of eviction is read together, and is kept in one word.
#![forbid(unsafe_code)]

use super::{Evict, Plan};
use crate::sync::{AtomicU64, Relaxed};
use std::time::Duration;

/// What is in force. On cache lines of its own: puts read it, and nearly nobody writes it.
#[derive(Debug)]
#[repr(align(128))]
pub struct Settings {
    default_ttl: Value,
    flush_max: Value,
    write_cache_bytes_max: Value,
    overload_wait: Value,
    flush_deadline: Value,
    close_deadline: Value,
    defrag_lwm_pct: Value,
    defrag_queue_min: Value,
    defrag_sleep: Value,
    /// `used_pct` times 256, and `target_pct`; 0: never.
    evict: Value,
    stop_writes_used_pct: Value,
    stop_writes_avail_pct: Value,
    tombstone_grace: Value,
    sweep_interval: Value,
}

/// One value, as a number; a duration in nanoseconds, 0 where there is none.
#[derive(Debug)]
struct Value(AtomicU64);

impl Value {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn set(&self, number: impl Into<u64>) {
        // ORDERING: Relaxed. Each value stands for itself, and a late look is an earlier one.
        self.0.store(number.into(), Relaxed);
    }

    fn set_duration(&self, duration: Duration) {
        // 100 years, the longest that a plan has, are a third of the range.
        self.set(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    #[inline]
    fn get(&self) -> u64 {
        // ORDERING: Relaxed, as in `set`.
        self.0.load(Relaxed)
    }

    #[inline]
    fn pct(&self) -> u8 {
        u8::try_from(self.get()).unwrap_or(u8::MAX)
    }

    #[inline]
    fn duration(&self) -> Duration {
        Duration::from_nanos(self.get())
    }

    #[inline]
    fn some_duration(&self) -> Option<Duration> {
        let nanos = self.get();
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}

impl Settings {
    /// What `plan` says.
    pub fn new(plan: &Plan) -> Self {
        let settings = Self {
            default_ttl: Value::new(),
            flush_max: Value::new(),
            write_cache_bytes_max: Value::new(),
            overload_wait: Value::new(),
            flush_deadline: Value::new(),
            close_deadline: Value::new(),
            defrag_lwm_pct: Value::new(),
            defrag_queue_min: Value::new(),
            defrag_sleep: Value::new(),
            evict: Value::new(),
            stop_writes_used_pct: Value::new(),
            stop_writes_avail_pct: Value::new(),
            tombstone_grace: Value::new(),
            sweep_interval: Value::new(),
        };
        settings.apply(plan);
        settings
    }

    /// Puts into force what `plan` says, value by value. Whoever sleeps on one of them is the
    /// caller's to wake.
    pub fn apply(&self, plan: &Plan) {
        let reclaim = &plan.reclaim;
        let pair = |evict: Evict| u64::from(evict.used_pct) << 8 | u64::from(evict.target_pct);
        self.default_ttl.set_duration(plan.default_ttl.unwrap_or_default());
        self.flush_max.set_duration(plan.flush_max.unwrap_or_default());
        self.write_cache_bytes_max.set(reclaim.write_cache_bytes_max);
        self.overload_wait.set_duration(reclaim.overload_wait);
        self.flush_deadline.set_duration(plan.flush_deadline);
        self.close_deadline.set_duration(plan.close_deadline);
        self.defrag_lwm_pct.set(reclaim.defrag_lwm_pct);
        self.defrag_queue_min.set(reclaim.defrag_queue_min);
        self.defrag_sleep.set_duration(reclaim.defrag_sleep);
        self.evict.set(reclaim.evict.map_or(0, pair));
        self.stop_writes_used_pct.set(reclaim.stop_writes_used_pct);
        self.stop_writes_avail_pct.set(reclaim.stop_writes_avail_pct);
        self.tombstone_grace.set_duration(reclaim.tombstone_grace);
        self.sweep_interval.set_duration(reclaim.sweep_interval);
    }

    /// The life of a record that is put without one; `None`: for ever.
    #[inline]
    pub fn default_ttl(&self) -> Option<Duration> {
        self.default_ttl.some_duration()
    }

    /// A put is durable this long after it; `None`: only full wblocks and `flush` are written.
    pub fn flush_max(&self) -> Option<Duration> {
        self.flush_max.some_duration()
    }

    /// How long `flush` and durable writes wait for the shadow; at least 1 ms.
    pub fn flush_deadline(&self) -> Duration {
        self.flush_deadline.duration()
    }

    /// How long `close` waits for the shadow; at least 1 ms.
    pub fn close_deadline(&self) -> Duration {
        self.close_deadline.duration()
    }

    /// Puts are refused above this used share; 0: never.
    pub fn stop_writes_used_pct(&self) -> u8 {
        self.stop_writes_used_pct.pct()
    }
}

/// What reclaim and back-pressure ask.
impl Settings {
    /// Bytes that may be sealed but not durable; at least one wblock.
    #[inline]
    pub fn write_cache_bytes_max(&self) -> u64 {
        self.write_cache_bytes_max.get()
    }

    /// How long a put waits for the write cache; zero: not at all.
    pub fn overload_wait(&self) -> Duration {
        self.overload_wait.duration()
    }

    /// A wblock with a smaller live share is defragmented. Range: 1 to 99.
    pub fn defrag_lwm_pct(&self) -> u8 {
        self.defrag_lwm_pct.pct()
    }

    /// Wblocks that are left queued.
    pub fn defrag_queue_min(&self) -> u32 {
        u32::try_from(self.defrag_queue_min.get()).unwrap_or(u32::MAX)
    }

    /// Pause after each wblock.
    pub fn defrag_sleep(&self) -> Duration {
        self.defrag_sleep.duration()
    }

    /// When to evict; `None`: never.
    pub fn evict(&self) -> Option<Evict> {
        let pair = self.evict.get();
        let [target_pct, used_pct, ..] = pair.to_le_bytes();
        (pair > 0).then_some(Evict { used_pct, target_pct })
    }

    /// Puts are refused below this free share of the wblocks; 0: never.
    #[inline]
    pub fn stop_writes_avail_pct(&self) -> u8 {
        self.stop_writes_avail_pct.pct()
    }

    /// A delete with a version is remembered at least this long.
    pub fn tombstone_grace(&self) -> Duration {
        self.tombstone_grace.duration()
    }

    /// Time from one sweep to the next; at least 1 ms.
    pub fn sweep_interval(&self) -> Duration {
        self.sweep_interval.duration()
    }
}

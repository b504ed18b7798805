//! The public API: open, put, get, scan, close.
//!
//! States
//! ```text
//! open --[close, or the last clone dropped]--> closed
//! open --[the shadow fails]--> failed --[it recovers, or the store moves to another]--> open
//! failed --[close]--> closed
//! ```
//! A failed store reads on and refuses writes (the states of `shadow::service`); a closed one reads
//! nothing.
//!
//! Invariants
//! - C1  A put that finds the store open after it has pinned is flushed by `close`: `close` first
//!   turns the status, then waits for the pins taken before, then flushes.
//! - C2  The region lives until the last clone, record and scan of the store is gone.
#![forbid(unsafe_code)]

mod direct;
mod get;
mod lifecycle;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
mod open;
mod options;
mod plan;
mod put;
mod reattach;
mod reconfigure;
mod record;
#[cfg(any(feature = "metrics", feature = "top"))]
mod sample;
mod scan;
mod snapshot;
mod stats;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "top")]
pub(crate) mod top;
mod wait;
mod write;

pub use lifecycle::Binding;
pub use options::{Condition, DeleteOptions, PutOptions};
pub use record::{OwnedRecord, Pin, Record};
pub use scan::Scan;
pub use snapshot::{SnapshotOptions, SnapshotReport};
pub use stats::{Health, Stats, WblockCounts};

use crate::clock::Clock;
use crate::config::{Config, Settings};
use crate::error::{Error, Result};
use crate::shadow::Service;
use crate::shadow::io::IoCounters;
use crate::sync::{AcqRel, Arc, AtomicU8, AtomicU64, Mutex, Relaxed, fork};
use crate::upkeep::{Keyspace, LoadReport, ReclaimService, Upkeep};
use lifecycle::bound_stripe;
use std::fmt;

/// An embedded store. Clones are handles to the same store; the last one dropped closes it.
///
/// See the [crate's documentation](crate) for a tour.
#[derive(Clone)]
pub struct Store {
    /// Counts the clones: with a thread that publishes there is one who knows `inner` and is none.
    #[cfg(feature = "top")]
    _handles: Arc<top::Handles>,
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    keyspace: Arc<Keyspace>,
    clock: Arc<dyn Clock>,
    /// What is in force, for who asks. Its lock makes one change follow the other.
    config: Mutex<Config>,
    /// The same for who acts on it: what may change.
    settings: Arc<Settings>,
    limits: Limits,
    status: Status,
    /// Forks of the process that were counted when the store was opened.
    forks: u32,
    /// Tells stores apart, for thread bindings.
    number: u64,
    shadow: Option<Service>,
    /// Held by who moves the store to another shadow.
    moves: Mutex<()>,
    io: Option<IoSide>,
    reclaim: ReclaimService,
    upkeep: Upkeep,
    report: LoadReport,
    notices: Vec<String>,
    cores: Vec<usize>,
    #[cfg(any(feature = "metrics", feature = "top"))]
    sampler: sample::Sampler,
    #[cfg(feature = "top")]
    publisher: top::Publisher,
}

impl Store {
    fn new(inner: Inner) -> Self {
        let inner = Arc::new(inner);
        Self {
            #[cfg(feature = "top")]
            _handles: Arc::new(top::Handles(Arc::clone(&inner))),
            inner,
        }
    }
}

/// What of the configuration writers look at and is fixed at open.
#[derive(Clone, Copy, Debug)]
struct Limits {
    max_record_bytes: u64,
    commit_to_device: bool,
}

/// Open or closed.
#[derive(Debug)]
struct Status(AtomicU8);

/// Values of [`Status`].
mod status {
    pub(super) const OPEN: u8 = 0;
    pub(super) const CLOSED: u8 = 1;
}

impl Status {
    fn open() -> Self {
        Self(AtomicU8::new(status::OPEN))
    }

    #[inline]
    fn get(&self) -> u8 {
        // ORDERING: Relaxed. A late read or write is one before the close: C1 waits for it.
        self.0.load(Relaxed)
    }

    fn swap(&self, status: u8) -> u8 {
        // ORDERING: AcqRel. The epoch that `close` waits for next orders it with the writers.
        self.0.swap(status, AcqRel)
    }
}

/// What statistics show of the shadow's I/O.
struct IoSide {
    counters: Arc<IoCounters>,
    durable: Arc<[AtomicU64]>,
    ring_refused: Mutex<Option<String>>,
    /// Every member is written past the page cache.
    is_direct: bool,
}

impl IoSide {
    /// Number of the oldest wblock of `lane` that is not wholly durable, and its durable rblocks.
    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    fn durable(&self, lane: u32) -> (u32, u32) {
        // ORDERING: Relaxed. A figure for statistics.
        let packed = self.durable.get(lane as usize).map_or(u64::MAX, |word| word.load(Relaxed));
        ((packed >> 32) as u32, packed as u32)
    }
}

impl Inner {
    /// False once the store is closed.
    ///
    /// # Panics
    ///
    /// In a forked child.
    #[inline]
    fn is_readable(&self) -> bool {
        assert!(self.forks == fork::count(), "{}", Error::Forked);
        self.status.get() == status::OPEN
    }

    #[inline]
    fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        match &self.shadow {
            Some(shadow) if shadow.has_failed() => Err(shadow.error()),
            _ => Ok(()),
        }
    }

    #[inline]
    fn check_open(&self) -> Result<()> {
        if self.forks != fork::count() {
            return Err(Error::Forked);
        }
        if self.status.get() != status::OPEN {
            return Err(Error::Closed);
        }
        Ok(())
    }

    fn has_shadow(&self) -> bool {
        self.shadow.is_some()
    }

    /// Refuses a put while `stop_writes_used_pct` is passed. One load.
    #[inline]
    fn check_room_for_puts(&self) -> Result<()> {
        self.upkeep.pressure().check_room()
    }

    /// The stripe that the calling thread writes to: that of its binding, or of its core.
    #[inline]
    fn stripe(&self) -> u32 {
        let stripes = self.keyspace.stripes().geometry().stripes;
        bound_stripe(self.number).unwrap_or_else(|| crate::sync::core::recent() % stripes)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Store")
            .field("records", &self.len())
            .field("stripes", &self.inner.keyspace.stripes().geometry().stripes)
            .finish_non_exhaustive()
    }
}

//! What reclaim asks of the shadow side: barriers, headers to be struck out, a clock floor.
//!
//! None of it waits: a request is noted, the doorbell rung, and the answer read off later.
//!
//! Invariants
//! - Q1  A header is struck out only at the request of who owns the quarantined wblock, or where
//!   cold start could not use it; and the wblock is `Struck` only when that is durable.
//! - Q2  `floor_us` is never above what every superblock says durably.
#![forbid(unsafe_code)]

use super::tickets::Tickets;
#[cfg(not(any(loom, shuttle)))]
use crate::region::State;
use crate::region::{Barriers, Stripes};
#[cfg(not(any(loom, shuttle)))]
use crate::sync::Release;
use crate::sync::{Acquire, Arc, AtomicU64, Mutex, Relaxed, lock};
use crate::unit::WblockId;

/// Requests of the reclaimers to the flusher and its pump.
#[derive(Debug)]
pub struct Requests {
    stripes: Arc<Stripes>,
    tickets: Arc<Tickets>,
    strikes: Mutex<Vec<WblockId>>,
    wanted_floor_us: AtomicU64,
    floor_us: AtomicU64,
}

impl Requests {
    /// No request yet; every superblock says `floor_us` durably.
    pub fn new(stripes: Arc<Stripes>, tickets: Arc<Tickets>, floor_us: u64) -> Self {
        Self {
            stripes,
            tickets,
            strikes: Mutex::new(Vec::new()),
            wanted_floor_us: AtomicU64::new(floor_us),
            floor_us: AtomicU64::new(floor_us),
        }
    }

    /// Before the first round: asks for every wblock that cold start could not use to be struck
    /// out.
    #[cfg(not(any(loom, shuttle)))]
    pub fn strike_damaged(&self) {
        let is_damaged = |wblock: &WblockId| self.stripes.wblock(*wblock).state() == State::Damaged;
        let wblocks = self.stripes.wblocks().map(|(wblock, _)| wblock).filter(is_damaged);
        lock(&self.strikes).extend(wblocks);
    }

    /// The headers that are to be struck out. Only the flusher calls this.
    pub fn take_strikes(&self) -> Vec<WblockId> {
        std::mem::take(&mut *lock(&self.strikes))
    }

    /// Asks for a clock floor of `floor_us` at least. Unit: microseconds since 1970.
    pub fn raise_floor(&self, floor_us: u64) {
        // ORDERING: Relaxed, both. The doorbell's lock orders the store before the pump's load.
        if floor_us > self.wanted_floor_us.load(Relaxed) {
            // ORDERING: as above.
            self.wanted_floor_us.fetch_max(floor_us, Relaxed);
            self.stripes.doorbell().ring();
        }
    }

    /// The clock floor that is durable (Q2): what expired before it is dead in every later run.
    pub fn floor_us(&self) -> u64 {
        // ORDERING: Acquire, pairs with `set_floor`.
        self.floor_us.load(Acquire)
    }

    /// The floor that is asked for and not yet durable.
    #[cfg(not(any(loom, shuttle)))]
    pub(super) fn wanted_floor(&self) -> Option<u64> {
        // ORDERING: Relaxed, as in `raise_floor`; nobody but the pump stores the other.
        let wanted = self.wanted_floor_us.load(Relaxed);
        (wanted > self.floor_us()).then_some(wanted)
    }

    /// Every superblock says `floor_us`, durably.
    #[cfg(not(any(loom, shuttle)))]
    pub(super) fn set_floor(&self, floor_us: u64) {
        // ORDERING: Release, Q2: the superblocks are durable before.
        self.floor_us.store(floor_us, Release);
        self.stripes.call_reclaimers();
    }
}

impl Barriers for Requests {
    fn barrier(&self) -> u64 {
        let ticket = self.tickets.take();
        self.stripes.doorbell().ring();
        ticket
    }

    fn is_durable(&self, ticket: u64) -> bool {
        self.tickets.completed() >= ticket
    }

    fn strike(&self, wblocks: &[WblockId]) {
        lock(&self.strikes).extend_from_slice(wblocks);
        self.stripes.doorbell().ring();
    }
}

//! Which wblocks are free, who may take them, and when puts have to wait.
//!
//! The rules by which puts are held back are policy, set by the reclaimers and read with Relaxed
//! loads: that one is heeded a moment later harms nobody. What is exact is the count of free ones
//! (S6 of `stripe`).

use super::stripe::{Identity, Purpose, Stripes};
use super::wblock::State;
use crate::sync::{Acquire, ArrayQueue, AtomicI64, AtomicU64, CachePadded, Relaxed, Release};
use crate::unit::{Geometry, WblockId};

/// The wblocks that are free, by home stripe, and what is kept of them from whom.
#[derive(Debug)]
pub(super) struct Supply {
    queues: Box<[CachePadded<ArrayQueue<WblockId>>]>,
    free_count: CachePadded<AtomicU64>,
    /// Wblocks that puts leave alone, and the count of free ones at which reclaim is called.
    kept_from_puts: AtomicU64,
    called_below: AtomicU64,
    /// Sealed and not durable, in wblocks; and how many may be before puts wait. A sealer may be
    /// slower than the flusher, so that it can be -1 for a moment.
    pub(super) backlog: AtomicI64,
    backlog_max: AtomicI64,
    /// Wblocks that puts may open before a reclaimer has looked again.
    credit: AtomicI64,
    /// Wblocks in the gates; and those of them that only wait for pins: struck out already, if
    /// there is a shadow.
    gated: AtomicU64,
    leaving: AtomicU64,
    /// Wblocks whose places on the shadow are bad.
    bad: AtomicU64,
}

impl Supply {
    /// None is free yet.
    pub(super) fn new(geometry: Geometry, kept_from_puts: u32) -> Self {
        let queue = || CachePadded(ArrayQueue::new(geometry.wblocks_per_stripe as usize));
        Self {
            queues: (0..geometry.stripes).map(|_| queue()).collect(),
            free_count: CachePadded(AtomicU64::new(0)),
            kept_from_puts: AtomicU64::new(kept_from_puts.into()),
            called_below: AtomicU64::new(0),
            backlog: AtomicI64::new(0),
            backlog_max: AtomicI64::new(i64::MAX),
            credit: AtomicI64::new(i64::MAX),
            gated: AtomicU64::new(0),
            leaving: AtomicU64::new(0),
            bad: AtomicU64::new(0),
        }
    }
}

impl Stripes {
    /// Puts `wblock` on the free queue of its home stripe. The caller owns it: nothing names it.
    pub fn release(&self, wblock: WblockId) {
        self.wblock(wblock).enter(State::Free);
        let pushed = self.free(self.geometry().home_stripe(wblock)).push(wblock);
        assert!(pushed.is_ok(), "a wblock was released twice");
        // ORDERING: Release, S6: the push is before it.
        self.supply.free_count.fetch_add(1, Release);
    }

    /// Wblocks on the free queues.
    pub fn free_wblocks(&self) -> u64 {
        // ORDERING: Relaxed. A figure for statistics.
        self.supply.free_count.load(Relaxed)
    }

    /// Puts leave `kept` wblocks alone; reclaim is called when fewer than `called_below` are free.
    /// True if it is news to puts.
    pub fn set_watermarks(&self, kept: u64, called_below: u64) -> bool {
        let kept = kept.max(self.identity().kept_for_deletes.into());
        // ORDERING: Relaxed, all. Policy: that it is heeded a moment later harms nobody.
        let is_news = self.supply.kept_from_puts.load(Relaxed) != kept;
        // Puts read the line: it is written when there is something to say.
        if is_news {
            // ORDERING: Relaxed, as above.
            self.supply.kept_from_puts.store(kept, Relaxed);
        }
        // ORDERING: Relaxed, as above.
        if self.supply.called_below.load(Relaxed) != called_below {
            // ORDERING: Relaxed, as above.
            self.supply.called_below.store(called_below, Relaxed);
        }
        is_news
    }

    /// Puts wait while more wblocks than this are sealed and not durable. True if that is news.
    pub fn set_backlog_max(&self, wblocks: u64) -> bool {
        let wblocks = i64::try_from(wblocks).unwrap_or(i64::MAX);
        // ORDERING: Relaxed, both, as in `set_watermarks`.
        let is_news = self.supply.backlog_max.load(Relaxed) != wblocks;
        if is_news {
            // ORDERING: as above.
            self.supply.backlog_max.store(wblocks, Relaxed);
        }
        is_news
    }

    /// Puts may open `wblocks` more, then they wait until this is called again; `None`: any number.
    pub fn set_credit(&self, wblocks: Option<u64>) {
        let credit = wblocks.and_then(|wblocks| i64::try_from(wblocks).ok()).unwrap_or(i64::MAX);
        // ORDERING: Relaxed, as in `set_watermarks`.
        self.supply.credit.store(credit, Relaxed);
    }

    /// True while puts have to wait for the shadow.
    pub fn is_backlogged(&self) -> bool {
        // ORDERING: Relaxed, both, as in `set_watermarks`.
        self.supply.backlog.load(Relaxed) > self.supply.backlog_max.load(Relaxed)
    }

    /// A sealed wblock is durable as a whole. Only the flusher calls this.
    pub fn flushed(&self, wblock: WblockId) {
        self.wblock(wblock).enter(State::Used);
        // ORDERING: Relaxed, as in `set_watermarks`.
        self.supply.backlog.fetch_sub(1, Relaxed);
    }

    /// So many wblocks have bad places on the shadow. Only the flusher calls this, and who opens
    /// the store.
    pub fn set_bad_wblocks(&self, wblocks: u64) {
        // ORDERING: Relaxed, as in `set_watermarks`.
        self.supply.bad.store(wblocks, Relaxed);
    }

    /// Wblocks whose places on the shadow are bad.
    pub fn bad_wblocks(&self) -> u64 {
        // ORDERING: Relaxed, as above.
        self.supply.bad.load(Relaxed)
    }

    /// A wblock has entered a gate.
    pub(super) fn note_gated(&self) {
        // ORDERING: Relaxed, as in `set_watermarks`.
        self.supply.gated.fetch_add(1, Relaxed);
    }

    /// It waits for pins alone from now on.
    pub(super) fn note_leaving(&self) {
        // ORDERING: Relaxed, as in `set_watermarks`.
        self.supply.leaving.fetch_add(1, Relaxed);
    }

    /// It waits for nothing any more, and is about to be released.
    pub(super) fn note_left(&self) {
        // ORDERING: Relaxed, both, as in `set_watermarks`.
        self.supply.leaving.fetch_sub(1, Relaxed);
        // ORDERING: as above.
        self.supply.gated.fetch_sub(1, Relaxed);
    }

    /// Free wblocks that `purpose` leaves to others.
    ///
    /// While something is in the gates, moves leave to deletes what is kept for these: a pin may
    /// hold the gates up, and moves would gain nothing. Deletes may have as many of those for moves
    /// as pins alone hold up: when the pins end, moves have them back, and if the process ends
    /// before, they are found struck out.
    #[inline]
    fn kept_back(&self, purpose: Purpose) -> u64 {
        let Identity { kept_for_moves, kept_for_deletes, .. } = *self.identity();
        // ORDERING: Relaxed, as in `set_watermarks`.
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        match purpose {
            // ORDERING: Relaxed, as in `set_watermarks`.
            Purpose::Put => self.supply.kept_from_puts.load(Relaxed),
            Purpose::Delete => {
                u64::from(kept_for_moves).saturating_sub(count(&self.supply.leaving))
            }
            Purpose::Move if kept_for_moves > 0 && count(&self.supply.gated) > 0 => {
                kept_for_deletes.saturating_sub(kept_for_moves).into()
            }
            Purpose::Move => 0,
        }
    }

    /// True if a wblock is free, or only waits for pins: after a crash it would be free.
    pub fn has_any_left(&self) -> bool {
        // ORDERING: Relaxed, as in `set_watermarks`.
        self.free_wblocks() + self.supply.leaving.load(Relaxed) > 0
    }

    /// True if moves have used none of the wblocks that are kept for them, but what pins hold up.
    pub fn has_all_for_moves(&self) -> bool {
        // ORDERING: Relaxed, as in `set_watermarks`.
        let left = self.free_wblocks() + self.supply.leaving.load(Relaxed);
        left >= u64::from(self.identity().kept_for_moves)
    }

    /// True if others have begun to use the wblocks that are kept back from puts: what is open may
    /// be one of them, and puts that filled it would leave no space to those.
    #[inline]
    pub fn is_kept_back(&self, purpose: Purpose) -> bool {
        // ORDERING: Relaxed. Puts stop soon enough; a line that is written once a wblock.
        purpose == Purpose::Put && self.supply.free_count.load(Relaxed) < self.kept_back(purpose)
    }

    /// True if puts are refused wblocks that are free, and not needed for deletes and moves: that
    /// is the policy of `stop_writes_avail_pct`.
    pub fn is_kept_by_policy(&self) -> bool {
        let free = self.free_wblocks();
        free > u64::from(self.identity().kept_for_deletes) && !self.may_take(Purpose::Put)
    }

    /// True if a wblock could be taken just now.
    pub fn may_take(&self, purpose: Purpose) -> bool {
        // ORDERING: Relaxed, both. A hint: `take` decides.
        let has_credit = purpose != Purpose::Put || self.supply.credit.load(Relaxed) > 0;
        // ORDERING: as above.
        has_credit && self.supply.free_count.load(Relaxed) > self.kept_back(purpose)
    }

    /// Takes a free wblock, of `stripe` if it has one, else of the next stripe that has.
    pub(super) fn take(&self, stripe: u32, purpose: Purpose) -> Option<WblockId> {
        // ORDERING: Relaxed, both, as in `set_watermarks`.
        if purpose == Purpose::Put && self.supply.credit.load(Relaxed) < i64::MAX {
            // ORDERING: as above.
            if self.supply.credit.fetch_sub(1, Relaxed) <= 0 {
                self.call_reclaimers();
                return None;
            }
        }
        let kept_back = self.kept_back(purpose);
        let take = |free: u64| (free > kept_back).then(|| free - 1);
        // ORDERING: Acquire, S6: the push that this claims is visible. Relaxed for the load that
        // finds too few.
        let free = self.supply.free_count.fetch_update(Acquire, Relaxed, take);
        // ORDERING: Relaxed, as in `set_watermarks`.
        if free.is_err() || free.is_ok_and(|free| free <= self.supply.called_below.load(Relaxed)) {
            self.call_reclaimers();
        }
        free.ok()?;
        loop {
            // One is there for us (S6), though others may move ahead of us between the queues.
            let stripes = self.geometry().stripes;
            let found = (0..stripes).find_map(|step| self.free(stripe + step).pop());
            if found.is_some() {
                return found;
            }
        }
    }

    /// The stripe whose free wblocks a lane takes first.
    pub(super) fn stripe_of_lane(&self, lane: u32) -> u32 {
        let stripes = self.geometry().stripes;
        let reclaimers = self.identity().reclaimers;
        match lane.checked_sub(stripes) {
            None => lane,
            Some(reclaimer) if reclaimer < reclaimers => reclaimer * stripes / reclaimers,
            Some(hot) => hot - reclaimers,
        }
    }

    #[expect(clippy::indexing_slicing, reason = "below the geometry's count by the remainder")]
    fn free(&self, stripe: u32) -> &ArrayQueue<WblockId> {
        &self.supply.queues[(stripe % self.geometry().stripes) as usize]
    }
}

//! Where a write goes: each stripe's open wblock hands out disjoint ranges to many threads.
//!
//! The open word packs (wblock, position). `fetch_add` on it reserves a range and says, in the same
//! step, in which wblock. Who crosses the end seals the wblock: it pads the rest, and whoever comes
//! next installs a fresh one by CAS.
//!
//! ```text
//! open word   (w, pos <= end) --[reserve]--> (w, pos + n)
//!             (w, pos <= end) --[cross]----> (w, > end)       the crosser pads [pos, end)
//!             (w, > end)      --[install]--> (f, header end)  f from a free queue
//! ```
//! A stripe starts, and stays on a full store, in the crossed state, which any thread may leave.
//!
//! A **lane** is such a write position: each stripe has one for puts and deletes, each reclaimer
//! one for what it moves, so that old records are not mixed with new ones.
//!
//! Invariants
//! - S1  Reservations of one life of a wblock are disjoint and lie within it: positions handed out
//!   by `fetch_add` never repeat, and one that ends past the end is given up, its part inside the
//!   wblock going to the padding of its one crosser.
//! - S2  Exactly one thread crosses each life: the one that moves the position from `<= end` to
//!   `> end`.
//! - S3  The position cannot run into the wblock's bits: a crossed word is looked at before it is
//!   added to, so at most one overshoot a thread is added, 2^19 rblocks of the 2^39 there are.
//! - S4  Who reserves is pinned until it has published or given up, so that the wblock cannot
//!   be opened again under it; and who installs is pinned since before it read the open word, so
//!   that its CAS cannot succeed on a later life that looks the same.
//! - S5  `previous` links the wblocks of a lane from the open one back in the order of their
//!   opening: a flusher that follows it from the open word misses none, without a queue between
//!   the CAS and itself that a stopped thread could leave unfilled. It stops at the newest that it
//!   saw before; so no wblock is freed while an open word names it, crossed or not.
//! - S6  `free_count` is at most the wblocks on the queues: it is taken from before a pop and
//!   added to after a push. So puts can leave the kept-back wblocks to deletes and moves exactly.
//! - S7  A record that may yet be refused is shown before it is published: readers get its length,
//!   and to the flusher it is not there yet. Once published it is committed; refused, it becomes a
//!   padding, which nobody else can be looking at. So no refused write reaches the shadow as a
//!   record, to win at the next cold start over what stood.
//!
//! Happens-before edges
//! - E2  `install` (Release CAS of the open word) to a reservation (Acquire `fetch_add`; later ones
//!   are read-modify-writes and extend the release sequence): who reserves in a wblock sees its
//!   sequence, and who follows `previous` sees those before.
//! - E1  of `commit`: a commit to whoever walks.
//!
//! No writer count and no lock: a thread stopped between its reservation and its commit delays the
//! flush of that wblock, and nobody's get or put.
//!
//! Checked by: `loom-tests/tests/stripe.rs` (S1, S2, S5, E1, E2).

use super::memory::Region;
use super::open_word::OpenWord;
use super::reservation::Reservation;
use super::wblock::{State, Wblock};
use crate::format::{CommitWord, StoreId, StoreKey};
use crate::sync::epoch::Guard;
use crate::sync::{
    AcqRel, Acquire, ArrayQueue, AtomicI64, AtomicU64, CachePadded, Doorbell, Relaxed, Release,
};
use crate::unit::{Geometry, Sequence, WBLOCK_HEADER_RBLOCKS, WblockId};

/// Who asks for space: each may use what is kept back from those before it, so that a full store
/// can always be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A put: leaves alone what is kept back.
    Put,
    /// A delete: leaves alone what is kept back for moves.
    Delete,
    /// A record that is moved, or a tombstone that gives more space back than it takes.
    Move,
}

/// Why nothing could be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// No wblock is free, or what is free is kept back.
    Space,
    /// Too much is sealed and not durable.
    WriteCache,
}

/// The wblocks of the region that are free, by home stripe.
type FreeQueue = ArrayQueue<WblockId>;

/// The region with its wblocks and stripes: reserve, fill, commit.
#[derive(Debug)]
pub struct Stripes {
    region: Region,
    wblocks: Box<[Wblock]>,
    lanes: Box<[CachePadded<AtomicU64>]>,
    free: Box<[CachePadded<FreeQueue>]>,
    identity: Identity,
    free_count: CachePadded<AtomicU64>,
    next_sequence: CachePadded<AtomicU64>,
    sequence_limit: AtomicU64,
    /// Wblocks that puts leave alone, and the count of free ones at which reclaim is called.
    kept_from_puts: AtomicU64,
    called_below: AtomicU64,
    /// Sealed and not durable, in wblocks; and how many may be before puts wait. A sealer may be
    /// slower than the flusher, so that it can be -1 for a moment.
    backlog: AtomicI64,
    backlog_max: AtomicI64,
    /// Wblocks that puts may open before a reclaimer has looked again.
    credit: AtomicI64,
    sealed: Doorbell,
    wanted: Box<[Doorbell]>,
    now_us: NowUs,
}

/// Microseconds since 1970, for the headers of wblocks.
pub struct NowUs(pub Box<dyn Fn() -> u64 + Send + Sync>);

impl std::ops::Deref for NowUs {
    type Target = dyn Fn() -> u64 + Send + Sync;
    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl std::fmt::Debug for NowUs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("NowUs")
    }
}

/// What of the store goes into each wblock, and how it keeps back space.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// In every header.
    pub store_id: StoreId,
    /// Seeds checksums and masks commit words.
    pub store_key: StoreKey,
    /// Wblocks that only moves may open.
    pub kept_for_moves: u32,
    /// Wblocks that only deletes and moves may open, those for moves included.
    pub kept_for_deletes: u32,
    /// Reclaimers, each with a lane of its own.
    pub reclaimers: u32,
    /// False in a memory-only store: a sealed wblock is used at once.
    pub has_shadow: bool,
}

impl Stripes {
    /// All wblocks unopened, none on a free queue yet: see [`release`](Self::release).
    pub fn new(
        region: Region,
        identity: Identity,
        first_sequence: Sequence,
        now_us: NowUs,
    ) -> Self {
        let geometry = region.geometry();
        let lane = || CachePadded(AtomicU64::new(OpenWord::NEVER.0));
        let queue = || CachePadded(ArrayQueue::new(geometry.wblocks_per_stripe as usize));
        Self {
            wblocks: (0..geometry.wblocks()).map(|_| Wblock::new()).collect(),
            lanes: (0..geometry.stripes + identity.reclaimers).map(|_| lane()).collect(),
            free: (0..geometry.stripes).map(|_| queue()).collect(),
            region,
            identity,
            free_count: CachePadded(AtomicU64::new(0)),
            next_sequence: CachePadded(AtomicU64::new(first_sequence.0)),
            sequence_limit: AtomicU64::new(u64::MAX),
            kept_from_puts: AtomicU64::new(identity.kept_for_deletes.into()),
            called_below: AtomicU64::new(0),
            backlog: AtomicI64::new(0),
            backlog_max: AtomicI64::new(i64::MAX),
            credit: AtomicI64::new(i64::MAX),
            sealed: Doorbell::new(),
            wanted: (0..identity.reclaimers).map(|_| Doorbell::new()).collect(),
            now_us,
        }
    }

    /// The memory.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The shape.
    pub fn geometry(&self) -> Geometry {
        self.region.geometry()
    }

    /// What every wblock carries.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Rings when a wblock is sealed, and for whoever else wants the flusher's attention.
    pub fn doorbell(&self) -> &Doorbell {
        &self.sealed
    }

    /// Wakes the reclaimers: free wblocks run short, or what they wait for is there.
    pub fn call_reclaimers(&self) {
        self.wanted.iter().for_each(Doorbell::ring);
    }

    /// Rings when reclaimer `number` is called.
    pub fn doorbell_of_reclaimer(&self, number: u32) -> Option<&Doorbell> {
        self.wanted.get(number as usize)
    }

    /// The table's entry of `wblock`.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "a wblock's number is below the geometry's count")]
    pub fn wblock(&self, wblock: WblockId) -> &Wblock {
        &self.wblocks[wblock.0 as usize]
    }

    /// Every wblock, in the order of the region.
    pub fn wblocks(&self) -> impl Iterator<Item = (WblockId, &Wblock)> {
        (0..).map(WblockId).zip(self.wblocks.iter())
    }

    pub(super) fn now_us(&self) -> u64 {
        (self.now_us)()
    }

    /// Lanes: one for each stripe's puts, then one for each reclaimer's moves.
    pub fn lanes(&self) -> u32 {
        self.geometry().stripes + self.identity.reclaimers
    }

    /// The lane of reclaimer `number`.
    pub fn lane_of_reclaimer(&self, number: u32) -> u32 {
        self.geometry().stripes + number
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "callers pass a lane of this store")]
    pub(super) fn open(&self, lane: u32) -> &AtomicU64 {
        &self.lanes[lane as usize]
    }

    #[expect(clippy::indexing_slicing, reason = "below the geometry's count by the remainder")]
    fn free(&self, stripe: u32) -> &FreeQueue {
        &self.free[(stripe % self.geometry().stripes) as usize]
    }

    pub(super) fn end(&self) -> u64 {
        u64::from(self.geometry().wblock_rblocks())
    }

    /// Puts `wblock` on the free queue of its home stripe. The caller owns it: nothing names it.
    pub fn release(&self, wblock: WblockId) {
        self.wblock(wblock).enter(State::Free);
        let pushed = self.free(self.geometry().home_stripe(wblock)).push(wblock);
        assert!(pushed.is_ok(), "a wblock was released twice");
        // ORDERING: Release, S6: the push is before it.
        self.free_count.fetch_add(1, Release);
    }

    /// Wblocks on the free queues.
    pub fn free_wblocks(&self) -> u64 {
        // ORDERING: Relaxed. A figure for statistics.
        self.free_count.load(Relaxed)
    }

    /// Refuses sequences from `limit` on: the shadow has not promised them yet.
    pub fn set_sequence_limit(&self, limit: Sequence) {
        // ORDERING: Release: the superblock that promises them is durable before.
        self.sequence_limit.store(limit.0, Release);
    }

    /// The next sequence to be handed out.
    pub fn next_sequence(&self) -> Sequence {
        // ORDERING: Relaxed. Callers want a bound, and open wblocks are found by other means.
        Sequence(self.next_sequence.load(Relaxed))
    }

    /// Puts leave `kept` wblocks alone; reclaim is called when fewer than `called_below` are free.
    pub fn set_watermarks(&self, kept: u64, called_below: u64) {
        let kept = kept.max(self.identity.kept_for_deletes.into());
        // ORDERING: Relaxed, both. Policy: that it is heeded a moment later harms nobody.
        self.kept_from_puts.store(kept, Relaxed);
        // ORDERING: Relaxed, as above.
        self.called_below.store(called_below, Relaxed);
    }

    /// Puts wait while more wblocks than this are sealed and not durable.
    pub fn set_backlog_max(&self, wblocks: u64) {
        // ORDERING: Relaxed, as in `set_watermarks`.
        self.backlog_max.store(i64::try_from(wblocks).unwrap_or(i64::MAX), Relaxed);
    }

    /// Puts may open `wblocks` more, then they wait until this is called again; `None`: any number.
    pub fn set_credit(&self, wblocks: Option<u64>) {
        let credit = wblocks.and_then(|wblocks| i64::try_from(wblocks).ok()).unwrap_or(i64::MAX);
        // ORDERING: Relaxed, as in `set_watermarks`.
        self.credit.store(credit, Relaxed);
    }

    /// True while puts have to wait for the shadow.
    pub fn is_backlogged(&self) -> bool {
        // ORDERING: Relaxed, both, as in `set_watermarks`.
        self.backlog.load(Relaxed) > self.backlog_max.load(Relaxed)
    }

    /// A sealed wblock is durable as a whole. Only the flusher calls this.
    pub fn flushed(&self, wblock: WblockId) {
        self.wblock(wblock).enter(State::Used);
        // ORDERING: Relaxed, as in `set_watermarks`.
        self.backlog.fetch_sub(1, Relaxed);
    }

    /// True if an open word names `wblock`: it is open, or full and not replaced yet.
    pub fn is_named(&self, wblock: WblockId) -> bool {
        (0..self.lanes()).any(|lane| self.newest(lane) == Some(wblock))
    }

    /// Reserves `rblocks` in the open wblock of `lane`, opening another wblock if need be.
    ///
    /// Lock-free. `_guard` keeps the wblock from being opened again until the caller has published
    /// (S4).
    ///
    /// # Errors
    ///
    /// No wblock is to be had, of this lane's stripe or another, or puts have to wait.
    #[inline]
    pub fn reserve<'r>(
        &'r self,
        _guard: &'r Guard,
        lane: u32,
        rblocks: u32,
        purpose: Purpose,
    ) -> Result<Reservation<'r>, NoRoom> {
        let end = self.end();
        let open = self.open(lane);
        loop {
            // ORDERING: Acquire, edge E2: `install` below reads what this names.
            let seen = OpenWord(open.load(Acquire));
            if seen.position() + u64::from(rblocks) <= end {
                if self.is_kept_back(purpose) {
                    return Err(NoRoom::Space);
                }
                // ORDERING: Acquire, edge E2, pairs with `install`.
                let got = OpenWord(open.fetch_add(u64::from(rblocks), Acquire));
                if got.position() + u64::from(rblocks) <= end {
                    return Ok(self.reservation(got, rblocks));
                }
                if got.position() <= end {
                    self.pad_rest(got);
                }
                continue;
            }
            self.replace_full(lane, seen, purpose)?;
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the position is within the wblock")]
    fn reservation(&self, at: OpenWord, rblocks: u32) -> Reservation<'_> {
        let location = self.geometry().location(at.wblock(), at.position() as u32);
        let sequence = self.wblock(at.wblock()).sequence();
        let word = CommitWord::new(self.identity.store_key, sequence, rblocks, false);
        Reservation::new(self, location, rblocks, word)
    }

    /// Crosses the wblock that `seen` names, if nobody has, and installs another in its place.
    #[cold]
    fn replace_full(&self, lane: u32, seen: OpenWord, purpose: Purpose) -> Result<(), NoRoom> {
        if purpose == Purpose::Put && self.is_backlogged() {
            return Err(NoRoom::WriteCache);
        }
        if seen.position() > self.end() {
            return self.install(lane, seen, purpose);
        }
        // A wblock that is not full is given up only if there is another: smaller records may fit.
        if !self.may_take(purpose) {
            self.call_reclaimers();
            return Err(NoRoom::Space);
        }
        self.cross(lane, seen);
        Ok(())
    }

    /// Moves the open word from `seen`, not crossed, past the end. False: it has changed.
    pub(super) fn cross(&self, lane: u32, seen: OpenWord) -> bool {
        let crossed = OpenWord::new(seen.wblock(), self.end() + 1);
        // ORDERING: Acquire on success, edge E2: `pad_rest` reads the wblock's sequence. The
        // failure value is not used.
        let swapped = self.open(lane).compare_exchange(seen.0, crossed.0, Acquire, Relaxed);
        if swapped.is_ok() {
            self.pad_rest(seen);
        }
        swapped.is_ok()
    }

    #[inline]
    fn kept_back(&self, purpose: Purpose) -> u64 {
        match purpose {
            // ORDERING: Relaxed, as in `set_watermarks`.
            Purpose::Put => self.kept_from_puts.load(Relaxed),
            Purpose::Delete => u64::from(self.identity.kept_for_moves),
            Purpose::Move => 0,
        }
    }

    /// True if others have begun to use the wblocks that are kept back from puts: what is open may
    /// be one of them, and puts that filled it would leave no space to those.
    #[inline]
    fn is_kept_back(&self, purpose: Purpose) -> bool {
        // ORDERING: Relaxed. Puts stop soon enough; a line that is written once a wblock.
        purpose == Purpose::Put && self.free_count.load(Relaxed) < self.kept_back(purpose)
    }

    /// True if puts are refused wblocks that are free, and not needed for deletes and moves: that
    /// is the policy of `stop_writes_avail_pct`.
    pub fn is_kept_by_policy(&self) -> bool {
        let free = self.free_wblocks();
        free > u64::from(self.identity.kept_for_deletes) && !self.may_take(Purpose::Put)
    }

    /// True if a wblock could be taken just now.
    pub fn may_take(&self, purpose: Purpose) -> bool {
        // ORDERING: Relaxed, both. A hint: `take` decides.
        let has_credit = purpose != Purpose::Put || self.credit.load(Relaxed) > 0;
        // ORDERING: as above.
        has_credit && self.free_count.load(Relaxed) > self.kept_back(purpose)
    }

    /// Takes a free wblock, of `stripe` if it has one, else of the next stripe that has.
    fn take(&self, stripe: u32, purpose: Purpose) -> Option<WblockId> {
        // ORDERING: Relaxed, both, as in `set_watermarks`.
        if purpose == Purpose::Put && self.credit.load(Relaxed) < i64::MAX {
            // ORDERING: as above.
            if self.credit.fetch_sub(1, Relaxed) <= 0 {
                self.call_reclaimers();
                return None;
            }
        }
        let kept_back = self.kept_back(purpose);
        let take = |free: u64| (free > kept_back).then(|| free - 1);
        // ORDERING: Acquire, S6: the push that this claims is visible. Relaxed for the load that
        // finds too few.
        let free = self.free_count.fetch_update(Acquire, Relaxed, take);
        // ORDERING: Relaxed, as in `set_watermarks`.
        if free.is_err() || free.is_ok_and(|free| free <= self.called_below.load(Relaxed)) {
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
    fn stripe_of_lane(&self, lane: u32) -> u32 {
        let stripes = self.geometry().stripes;
        match lane.checked_sub(stripes) {
            None => lane,
            Some(reclaimer) => reclaimer * stripes / self.identity.reclaimers.max(1),
        }
    }

    /// Replaces the crossed word `seen` by a fresh wblock.
    fn install(&self, lane: u32, seen: OpenWord, purpose: Purpose) -> Result<(), NoRoom> {
        let fresh = self.take(self.stripe_of_lane(lane), purpose).ok_or(NoRoom::Space)?;
        // ORDERING: Relaxed. Uniqueness is all that is asked of a sequence.
        let sequence = Sequence(self.next_sequence.fetch_add(1, Relaxed));
        // ORDERING: Acquire, pairs with `set_sequence_limit`.
        if sequence.0 >= self.sequence_limit.load(Acquire) {
            self.release(fresh);
            return Err(NoRoom::Space);
        }
        self.wblock(fresh).begin(sequence, seen.opened(), State::Open);
        if lane >= self.geometry().stripes {
            self.wblock(fresh).set_moved();
        }
        self.write_header(fresh, sequence);
        let open = self.open(lane);
        let opened = OpenWord::new(fresh, u64::from(WBLOCK_HEADER_RBLOCKS));
        let mut current = seen;
        while current.wblock() == seen.wblock() && current.position() > self.end() {
            // ORDERING: AcqRel on success: Release is edge E2; Acquire, with the RMWs before it,
            // hands the wblock before on to who follows `previous`. Relaxed on failure: only the
            // word itself is looked at.
            match open.compare_exchange_weak(current.0, opened.0, AcqRel, Relaxed) {
                Ok(_) => {
                    self.seal(seen);
                    return Ok(());
                }
                Err(changed) => current = OpenWord(changed),
            }
        }
        // Another thread was first. The sequence is lost, which costs nothing.
        self.release(fresh);
        Ok(())
    }

    /// After its successor is installed: the wblock takes no more reservations.
    fn seal(&self, word: OpenWord) {
        if let Some(wblock) = word.opened() {
            if self.identity.has_shadow {
                self.wblock(wblock).seal();
                // ORDERING: Relaxed, as in `set_watermarks`.
                self.backlog.fetch_add(1, Relaxed);
                self.sealed.ring();
            } else {
                self.wblock(wblock).enter(State::Used);
            }
        }
    }
}

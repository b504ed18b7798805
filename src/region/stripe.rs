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
//!             (w, > end)      --[unname]---> (none, > end)    a reclaimer wants `w` (`unname`)
//! ```
//! A stripe starts, and stays on a full store, in the crossed state, which any thread may leave.
//!
//! A **lane** is such a write position: each stripe has one for puts and deletes and one for puts
//! of keys that are overwritten often, each reclaimer one for what it moves: records that will
//! die at about one time lie together.
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
//!   saw before, which it knows by its sequence too: a lane may open again what was taken from
//!   it. No wblock is freed while an open word names it, crossed or not.
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
//! Checked by: `loom-tests/tests/stripe.rs` (S1, S2, S5, E1, E2, `unname`).

use super::memory::Region;
use super::open_word::OpenWord;
use super::reservation::Reservation;
use super::supply::Supply;
use super::wblock::{Filling, State, Wblock};
use crate::format::{CommitWord, StoreId, StoreKey};
use crate::sync::epoch::Guard;
use crate::sync::{AcqRel, Acquire, AtomicU64, CachePadded, Doorbell, Relaxed, Release};
use crate::unit::{Geometry, Location, Sequence, WBLOCK_HEADER_RBLOCKS, WblockId};

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
///
/// As wide as a location, whose place it takes in the result of a reservation: if it were a byte,
/// the location would go through memory in pieces, and wait there for all stores before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum NoRoom {
    /// No wblock is free, or what is free is kept back.
    Space,
    /// There is room in the open wblock, and others have begun to use what is kept back.
    KeptBack,
    /// Too much is sealed and not durable.
    WriteCache,
}

/// The region with its wblocks and stripes: reserve, fill, commit.
#[derive(Debug)]
pub struct Stripes {
    region: Region,
    wblocks: Box<[Wblock]>,
    lanes: Box<[CachePadded<AtomicU64>]>,
    pub(super) supply: Supply,
    identity: Identity,
    next_sequence: CachePadded<AtomicU64>,
    sequence_limit: AtomicU64,
    hot_age: AtomicU64,
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
        Self {
            wblocks: (0..geometry.wblocks()).map(|_| Wblock::new()).collect(),
            lanes: (0..2 * geometry.stripes + identity.reclaimers).map(|_| lane()).collect(),
            supply: Supply::new(geometry, identity.kept_for_deletes),
            region,
            identity,
            next_sequence: CachePadded(AtomicU64::new(first_sequence.0)),
            sequence_limit: AtomicU64::new(u64::MAX),
            hot_age: AtomicU64::new(0),
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

    /// Lanes: one for each stripe's puts and deletes, then one for each reclaimer's moves, then one
    /// for each stripe's puts of keys that are overwritten soon.
    pub fn lanes(&self) -> u32 {
        2 * self.geometry().stripes + self.identity.reclaimers
    }

    /// The lane of `stripe` for a put over the record at `old`: one that was itself put lately is
    /// likely to be followed by another soon. So what dies soon lies together, and wblocks of it
    /// empty themselves.
    ///
    /// Source: Q. Wang et al., "Separating data via block invalidation time inference for write
    /// amplification reduction in log-structured storage" (`SepBIT`), FAST 2022.
    #[inline]
    pub fn lane_for_put(&self, stripe: u32, old: Option<Location>) -> u32 {
        // ORDERING: Relaxed. Policy, as for the supply.
        let hot_age = self.hot_age.load(Relaxed);
        let is_hot = hot_age > 0
            && old.is_some_and(|old| {
                let sequence = self.wblock(self.geometry().wblock(old)).sequence();
                self.next_sequence().0.saturating_sub(sequence.0) < hot_age
            });
        if is_hot { self.geometry().stripes + self.identity.reclaimers + stripe } else { stripe }
    }

    /// True if the lane of a put may depend on the record before.
    #[inline]
    pub fn has_hot_lanes(&self) -> bool {
        // ORDERING: Relaxed, as in `lane_for_put`.
        self.hot_age.load(Relaxed) > 0
    }

    /// Puts over records younger than this go to the hot lanes; 0: none do. Unit: wblocks opened
    /// since.
    pub fn set_hot_age(&self, wblocks: u64) {
        // ORDERING: Relaxed, as in `lane_for_put`.
        self.hot_age.store(wblocks, Relaxed);
    }

    /// What is in the wblocks of a lane.
    fn kind_of_lane(&self, lane: u32) -> Filling {
        match lane.checked_sub(self.geometry().stripes) {
            None => Filling::Puts,
            Some(reclaimer) if reclaimer < self.identity.reclaimers => Filling::Moves,
            Some(_) => Filling::HotPuts,
        }
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

    pub(super) fn end(&self) -> u64 {
        u64::from(self.geometry().wblock_rblocks())
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

    /// A sequence for a life that nothing is written in.
    pub fn take_sequence(&self) -> Sequence {
        // ORDERING: Relaxed. Uniqueness is all that is asked of a sequence.
        Sequence(self.next_sequence.fetch_add(1, Relaxed))
    }

    /// Hands out no sequence below `next` any more. Only cold start calls this.
    pub fn raise_sequence(&self, next: Sequence) {
        // ORDERING: Relaxed, as above.
        self.next_sequence.fetch_max(next.0, Relaxed);
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
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what a put does first")]
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
                    return Err(NoRoom::KeptBack);
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
        self.wblock(fresh).set_filling(self.kind_of_lane(lane));
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

    /// After its successor is installed, or it is taken from its lane: the wblock takes no more
    /// reservations. Who has changed the open word calls this, once.
    pub(super) fn seal(&self, word: OpenWord) {
        if let Some(wblock) = word.opened() {
            if self.identity.has_shadow {
                self.wblock(wblock).seal();
                // ORDERING: Relaxed, as in `set_watermarks`.
                self.supply.backlog.fetch_add(1, Relaxed);
                self.sealed.ring();
            } else {
                self.wblock(wblock).enter(State::Used);
            }
        }
    }
}

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
//! - S5  `previous` links the wblocks of a stripe from the open one back in the order of their
//!   opening: a flusher that follows it from the open word misses none, without a queue between
//!   the CAS and itself that a stopped thread could leave unfilled.
//! - S6  `free_count` is at most the wblocks on the queues: it is taken from before a pop and
//!   added to after a push. So puts can leave the kept-back wblocks to deletes exactly.
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
use crate::format::{CommitWord, StoreId, StoreKey, WblockHeader, WblockHome};
use crate::sync::epoch::Guard;
use crate::sync::{AcqRel, Acquire, AtomicU64, CachePadded, Doorbell, Relaxed, Release};
use crate::unit::{Geometry, Sequence, WBLOCK_HEADER_RBLOCKS, WblockId};
use crossbeam_queue::ArrayQueue;

/// Who asks for space: deletes may use wblocks that are kept back from puts, so that a full store
/// can always be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A put: leaves the kept-back wblocks alone.
    Put,
    /// A delete.
    Delete,
}

#[derive(Debug)]
struct Stripe {
    open: CachePadded<AtomicU64>,
    free: ArrayQueue<WblockId>,
}

/// The region with its wblocks and stripes: reserve, fill, commit.
#[derive(Debug)]
pub struct Stripes {
    region: Region,
    wblocks: Box<[Wblock]>,
    per_stripe: Box<[Stripe]>,
    identity: Identity,
    free_count: CachePadded<AtomicU64>,
    next_sequence: CachePadded<AtomicU64>,
    sequence_limit: AtomicU64,
    sealed: Doorbell,
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
    /// Wblocks that only deletes may open.
    pub kept_back: u32,
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
        let queue = || ArrayQueue::new(geometry.wblocks_per_stripe as usize);
        Self {
            wblocks: (0..geometry.wblocks()).map(|_| Wblock::new()).collect(),
            per_stripe: (0..geometry.stripes)
                .map(|_| Stripe {
                    open: CachePadded(AtomicU64::new(OpenWord::NEVER.0)),
                    free: queue(),
                })
                .collect(),
            region,
            identity,
            free_count: CachePadded(AtomicU64::new(0)),
            next_sequence: CachePadded(AtomicU64::new(first_sequence.0)),
            sequence_limit: AtomicU64::new(u64::MAX),
            sealed: Doorbell::new(),
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

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "callers pass a stripe of this store")]
    fn stripe(&self, stripe: u32) -> &Stripe {
        &self.per_stripe[stripe as usize]
    }

    pub(super) fn open(&self, stripe: u32) -> &AtomicU64 {
        &self.stripe(stripe).open
    }

    pub(super) fn end(&self) -> u64 {
        u64::from(self.geometry().wblock_rblocks())
    }

    /// Puts `wblock` on the free queue of its home stripe. The caller owns it: nothing names it.
    pub fn release(&self, wblock: WblockId) {
        self.wblock(wblock).enter(State::Free);
        let pushed = self.stripe(self.geometry().home_stripe(wblock)).free.push(wblock);
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

    /// Reserves `rblocks` in the open wblock of `stripe`, opening another wblock if need be.
    ///
    /// `None`: no wblock is to be had, of this stripe or another. Lock-free. `_guard` keeps the
    /// wblock from being opened again until the caller has published (S4).
    #[inline]
    pub fn reserve<'r>(
        &'r self,
        _guard: &'r Guard,
        stripe: u32,
        rblocks: u32,
        purpose: Purpose,
    ) -> Option<Reservation<'r>> {
        let end = self.end();
        let open = &self.stripe(stripe).open;
        loop {
            // ORDERING: Acquire, edge E2: `install` below reads what this names.
            let seen = OpenWord(open.load(Acquire));
            if seen.position() + u64::from(rblocks) <= end {
                if self.is_kept_back(purpose) {
                    return None;
                }
                // ORDERING: Acquire, edge E2, pairs with `install`.
                let got = OpenWord(open.fetch_add(u64::from(rblocks), Acquire));
                if got.position() + u64::from(rblocks) <= end {
                    return Some(self.reservation(got, rblocks));
                }
                if got.position() <= end {
                    self.pad_rest(got);
                }
                continue;
            }
            self.replace_full(stripe, seen, purpose)?;
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
    fn replace_full(&self, stripe: u32, seen: OpenWord, purpose: Purpose) -> Option<()> {
        if seen.position() > self.end() {
            return self.install(stripe, seen, purpose);
        }
        // A wblock that is not full is given up only if there is another: smaller records may fit.
        if !self.may_take(purpose) {
            return None;
        }
        self.cross(stripe, seen);
        Some(())
    }

    /// Moves the open word from `seen`, not crossed, past the end. False: it has changed.
    pub(super) fn cross(&self, stripe: u32, seen: OpenWord) -> bool {
        let crossed = OpenWord::new(seen.wblock(), self.end() + 1);
        // ORDERING: Acquire on success, edge E2: `pad_rest` reads the wblock's sequence. The
        // failure value is not used.
        let swapped =
            self.stripe(stripe).open.compare_exchange(seen.0, crossed.0, Acquire, Relaxed);
        if swapped.is_ok() {
            self.pad_rest(seen);
        }
        swapped.is_ok()
    }

    fn kept_back(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Put => u64::from(self.identity.kept_back),
            Purpose::Delete => 0,
        }
    }

    /// True if deletes have begun to use the kept-back wblocks: what is open may be one of them,
    /// and puts that filled it would leave no space to the deletes that come.
    #[inline]
    fn is_kept_back(&self, purpose: Purpose) -> bool {
        // ORDERING: Relaxed. Puts stop soon enough; a line that is written once a wblock.
        let free = self.free_count.load(Relaxed);
        purpose == Purpose::Put && free < u64::from(self.identity.kept_back)
    }

    /// True if a wblock could be taken just now.
    fn may_take(&self, purpose: Purpose) -> bool {
        // ORDERING: Relaxed. A hint: `take` decides.
        self.free_count.load(Relaxed) > self.kept_back(purpose)
    }

    /// Takes a free wblock, of `stripe` if it has one, else of the next stripe that has.
    fn take(&self, stripe: u32, purpose: Purpose) -> Option<WblockId> {
        let kept_back = self.kept_back(purpose);
        let take = |free: u64| (free > kept_back).then(|| free - 1);
        // ORDERING: Acquire, S6: the push that this claims is visible. Relaxed for the load that
        // finds too few.
        self.free_count.fetch_update(Acquire, Relaxed, take).ok()?;
        loop {
            // One is there for us (S6), though others may move ahead of us between the queues.
            let stripes = self.geometry().stripes;
            let found =
                (0..stripes).find_map(|step| self.stripe((stripe + step) % stripes).free.pop());
            if found.is_some() {
                return found;
            }
        }
    }

    /// Replaces the crossed word `seen` by a fresh wblock. `None`: there is none.
    fn install(&self, stripe: u32, seen: OpenWord, purpose: Purpose) -> Option<()> {
        let fresh = self.take(stripe, purpose)?;
        // ORDERING: Relaxed. Uniqueness is all that is asked of a sequence.
        let sequence = Sequence(self.next_sequence.fetch_add(1, Relaxed));
        // ORDERING: Acquire, pairs with `set_sequence_limit`.
        if sequence.0 >= self.sequence_limit.load(Acquire) {
            self.release(fresh);
            return None;
        }
        self.wblock(fresh).begin(sequence, seen.opened(), State::Open);
        self.write_header(fresh, sequence);
        let open = &self.stripe(stripe).open;
        let opened = OpenWord::new(fresh, u64::from(WBLOCK_HEADER_RBLOCKS));
        let mut current = seen;
        while current.wblock() == seen.wblock() && current.position() > self.end() {
            // ORDERING: AcqRel on success: Release is edge E2; Acquire, with the RMWs before it,
            // hands the wblock before on to who follows `previous`. Relaxed on failure: only the
            // word itself is looked at.
            match open.compare_exchange_weak(current.0, opened.0, AcqRel, Relaxed) {
                Ok(_) => {
                    self.seal(seen);
                    return Some(());
                }
                Err(changed) => current = OpenWord(changed),
            }
        }
        // Another thread was first. The sequence is lost, which costs nothing.
        self.release(fresh);
        Some(())
    }

    /// After its successor is installed: the wblock takes no more reservations.
    fn seal(&self, word: OpenWord) {
        if let Some(wblock) = word.opened() {
            if self.identity.has_shadow {
                self.wblock(wblock).seal();
                self.sealed.ring();
            } else {
                self.wblock(wblock).enter(State::Used);
            }
        }
    }

    fn write_header(&self, wblock: WblockId, sequence: Sequence) {
        let geometry = self.geometry();
        let home = WblockHome {
            store_id: self.identity.store_id,
            stripe: geometry.home_stripe(wblock),
            wblock,
            wblock_bytes: geometry.wblock_bytes,
        };
        let bytes = WblockHeader { home, sequence, opened_at: (self.now_us)() }.encode();
        // SAFETY: (1) nobody but the caller knows of the wblock's new life yet; (2) `bytes` is a
        // local.
        unsafe { self.region.write(geometry.location(wblock, 0), 0, &bytes) };
    }
}

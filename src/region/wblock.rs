//! What the engine knows of each wblock: its state, its sequence, what of it is dead.
//!
//! States
//! ```text
//! Free --[install]--> Open --[replaced by the next]--> Sealed --[flushed]--> Used
//! Used --[chosen]--> Defrag --[its turn]--> Emptying --[nothing left to move]--> Quarantined
//! Used --[nothing live]--> Quarantined --[struck out, pins gone]--> Free
//! ```
//! In a memory-only store `Sealed` is passed through: nothing is to be flushed. `Damaged` is where
//! cold start leaves a wblock of which it could not read the header: out of use until the flusher
//! has struck it out.
//! ```text
//! Damaged --[struck out]--> Struck --[pins gone]--> Free
//! ```
//! The place of a wblock on the shadow may be bad: writes to it fail, and to others not. Such a
//! wblock is emptied like any other, before any other, and then is out of use.
//! ```text
//! Struck, bad --[pins gone]--> Retired --[another shadow]--> Struck
//! Quarantined, bad, and its header cannot be struck out --[another shadow]--> Struck
//! ```
//!
//! Who moves a wblock on
//! - Free to Open: who takes it off the free queue. Open to Sealed: who replaces it in the open
//!   word. To Used: the flusher, or the same thread where there is no shadow.
//! - From Used on until Free: the one reclaimer that the wblock's home stripe belongs to, and for
//!   the one step from Quarantined to Struck the flusher, at its request. So no wblock is ever
//!   chosen, emptied or freed twice, without a lock or a compare-and-swap.
//!
//! Invariants
//! - W1  The fields of a wblock are set by who installs it, before the open word names it.
//! - W2  `dead_rblocks` only grows within a life, once the store is open, and is at most the
//!   wblock's room. A record counts as live from its reservation, because nothing is added here
//!   before it is superseded.
//! - W3  `live = reserved - dead`; a sealed wblock has reserved all of its room.
//! - W4  `soonest_expiry` is at most the expiry of every live record whose put has returned: a put
//!   lowers it, and it is raised only by who has walked the wblock to its end, which takes that
//!   every record in it is committed: the walk has met them all.

use crate::format::CensusTag;
use crate::sync::{Acquire, AtomicU8, AtomicU32, AtomicU64, Relaxed, Release};
use crate::unit::{Sequence, WblockId};

/// Where a wblock is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// On a free queue.
    Free = 0,
    /// Named by the open word of a lane, or about to be.
    Open = 1,
    /// Takes no more reservations; not all of it is on the shadow yet.
    Sealed = 2,
    /// Complete, and on the shadow if there is one.
    Used = 3,
    /// Chosen to be emptied.
    Defrag = 4,
    /// Its live records are being moved out.
    Emptying = 5,
    /// Nothing in it counts any more; what replaced its contents is not known to be durable yet,
    /// or its header not struck out.
    Quarantined = 6,
    /// Quarantined, and on the shadow its header is struck out: only pins can hold it.
    Struck = 7,
    /// Its header could not be read at cold start, and is not struck out yet.
    Damaged = 8,
    /// Its header is struck out, and its place on the shadow is bad.
    Retired = 9,
}

/// What a wblock is filled with: the lane that it is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Filling {
    /// Puts and deletes.
    Puts = 0,
    /// Records that are moved.
    Moves = 1,
    /// Puts of keys that were put lately.
    HotPuts = 2,
}

/// One wblock of the table. A cache line of its own, so that counting the dead of one does not
/// slow the others.
#[derive(Debug)]
#[repr(align(64))]
pub struct Wblock {
    sequence: AtomicU64,
    previous: AtomicU32,
    dead_rblocks: AtomicU32,
    tail_rblocks: AtomicU32,
    padding_rblocks: AtomicU32,
    state: AtomicU8,
    filling: AtomicU8,
    soonest_expiry: AtomicU64,
    pins: AtomicU32,
    census: AtomicU32,
    place: AtomicU8,
}

/// `place`: the shadow takes writes there.
const GOOD: u8 = 0;
/// It does not.
const BAD: u8 = 1;
/// It does not, and what the header there says cannot be changed.
const STUCK: u8 = 2;

/// `previous` of the first wblock that a stripe opens.
const NO_WBLOCK: u32 = u32::MAX;

impl Wblock {
    /// A free wblock that was never opened.
    pub fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            previous: AtomicU32::new(NO_WBLOCK),
            dead_rblocks: AtomicU32::new(0),
            tail_rblocks: AtomicU32::new(0),
            padding_rblocks: AtomicU32::new(0),
            state: AtomicU8::new(State::Free as u8),
            filling: AtomicU8::new(Filling::Puts as u8),
            soonest_expiry: AtomicU64::new(u64::MAX),
            pins: AtomicU32::new(0),
            census: AtomicU32::new(CensusTag::NONE.raw()),
            place: AtomicU8::new(GOOD),
        }
    }

    /// Starts a life. The caller has taken the wblock off its free queue and publishes it (W1).
    pub fn begin(&self, sequence: Sequence, previous: Option<WblockId>, state: State) {
        // ORDERING: Relaxed, all of them. The open word's Release (edge E2 of `stripe`) publishes
        // them; at cold start the end of the loading threads does.
        self.sequence.store(sequence.0, Relaxed);
        // ORDERING: Relaxed, as above.
        self.previous.store(previous.map_or(NO_WBLOCK, |wblock| wblock.0), Relaxed);
        // ORDERING: Relaxed, as above.
        self.dead_rblocks.store(0, Relaxed);
        // ORDERING: Relaxed, as above.
        self.tail_rblocks.store(0, Relaxed);
        // ORDERING: Relaxed, as above.
        self.padding_rblocks.store(0, Relaxed);
        // ORDERING: Relaxed, as above.
        self.filling.store(Filling::Puts as u8, Relaxed);
        // ORDERING: Relaxed, as above.
        self.soonest_expiry.store(u64::MAX, Relaxed);
        // ORDERING: Relaxed, as above.
        self.pins.store(0, Relaxed);
        // ORDERING: Relaxed, as above.
        self.state.store(state as u8, Relaxed);
    }

    /// What it is filled with.
    pub fn set_filling(&self, filling: Filling) {
        // ORDERING: Relaxed, as in `begin`, which it goes with.
        self.filling.store(filling as u8, Relaxed);
    }

    /// What it is filled with. What was loaded counts as put.
    pub fn filling(&self) -> Filling {
        // ORDERING: Relaxed, as for `sequence`.
        match self.filling.load(Relaxed) {
            1 => Filling::Moves,
            2 => Filling::HotPuts,
            _ => Filling::Puts,
        }
    }

    /// The sequence of the present life.
    #[inline]
    pub fn sequence(&self) -> Sequence {
        // ORDERING: Relaxed. The caller got the wblock's number through edge E2 of `stripe`.
        Sequence(self.sequence.load(Relaxed))
    }

    /// The wblock that the stripe had open before this one.
    pub fn previous(&self) -> Option<WblockId> {
        // ORDERING: Relaxed, as for `sequence`.
        let previous = self.previous.load(Relaxed);
        (previous != NO_WBLOCK).then_some(WblockId(previous))
    }

    /// Open to sealed; a flusher that was quicker may have it used already.
    pub fn seal(&self) {
        let (open, sealed) = (State::Open as u8, State::Sealed as u8);
        // ORDERING: Release, as in `enter`: the sequence of this life goes along. Relaxed on
        // failure: a flusher was quicker.
        let _ = self.state.compare_exchange(open, sealed, Release, Relaxed);
    }

    /// Moves on to `state`.
    pub fn enter(&self, state: State) {
        // ORDERING: Release, with the Acquire in `state`: who sees `Used` sees the flush's end.
        self.state.store(state as u8, Release);
    }

    /// The present state.
    pub fn state(&self) -> State {
        // ORDERING: Acquire, pairs with `enter`.
        match self.state.load(Acquire) {
            0 => State::Free,
            1 => State::Open,
            2 => State::Sealed,
            3 => State::Used,
            4 => State::Defrag,
            5 => State::Emptying,
            6 => State::Quarantined,
            7 => State::Struck,
            9 => State::Retired,
            _ => State::Damaged,
        }
    }

    /// Its place on the shadow takes no writes; `is_stuck`: its header cannot be struck out, so
    /// that what was durable there counts for as long as that shadow is there. The flusher says so.
    pub fn set_bad(&self, is_stuck: bool) {
        // ORDERING: Release, with the Acquire in `is_bad`. Who empties the wblock has it by the
        // `enter` that follows.
        self.place.store(if is_stuck { STUCK } else { BAD }, Release);
    }

    /// Its place is on another shadow from now on.
    pub fn set_good(&self) {
        // ORDERING: Release, as above.
        self.place.store(GOOD, Release);
    }

    /// True if its place on the shadow takes no writes.
    pub fn is_bad(&self) -> bool {
        // ORDERING: Acquire, pairs with `set_bad` and `set_good`.
        self.place.load(Acquire) != GOOD
    }

    /// True if its header cannot be struck out either.
    pub fn is_stuck(&self) -> bool {
        // ORDERING: Acquire, as above.
        self.place.load(Acquire) == STUCK
    }

    /// Takes `rblocks` superseded or padded rblocks out of the live ones.
    #[inline]
    pub fn bury(&self, rblocks: u32) {
        // ORDERING: Release, with the Acquire in `dead_rblocks`: who finds nothing live any more
        // has every burier's index entry gone before it.
        self.dead_rblocks.fetch_add(rblocks, Release);
    }

    /// Takes back a `bury` of a run before: the index is to name the records again. Before anybody
    /// but the caller knows of them (W2).
    pub fn unbury(&self, rblocks: u32) {
        // ORDERING: Relaxed. The store is not open yet.
        self.dead_rblocks.fetch_sub(rblocks, Relaxed);
    }

    /// Counts padding, which is dead as well.
    pub fn count_padding(&self, rblocks: u32) {
        // ORDERING: Relaxed. For the choice of what to empty.
        self.padding_rblocks.fetch_add(rblocks, Relaxed);
    }

    /// Rblocks of padding: at cuts, at the end, and where a record lost.
    pub fn padding_rblocks(&self) -> u32 {
        // ORDERING: Relaxed, as above.
        self.padding_rblocks.load(Relaxed)
    }

    /// Notes that the last `rblocks`, dead as well, were too few for the record that came.
    pub fn set_tail(&self, rblocks: u32) {
        // ORDERING: Relaxed. For the choice of what to empty.
        self.tail_rblocks.store(rblocks, Relaxed);
    }

    /// Rblocks that are dead because they were too few for another record.
    pub fn tail_rblocks(&self) -> u32 {
        // ORDERING: Relaxed, as above.
        self.tail_rblocks.load(Relaxed)
    }

    /// A raid found that `copies` of its records keep a tombstone each.
    pub fn set_pins(&self, copies: u32) {
        // ORDERING: Relaxed. For the choice of what to empty.
        self.pins.store(copies, Relaxed);
    }

    /// Its records that kept a tombstone when a raid last met them.
    pub fn pins(&self) -> u32 {
        // ORDERING: Relaxed, as above.
        self.pins.load(Relaxed)
    }

    /// A record that expires is in it (W4). Unit: microseconds since 1970.
    #[inline]
    pub fn lower_expiry(&self, expires_at: u64) {
        // ORDERING: Relaxed. A first look: most records expire after one that was there before.
        if expires_at < self.soonest_expiry.load(Relaxed) {
            // ORDERING: Relaxed. A bound, which nothing hangs on but when a sweep looks.
            self.soonest_expiry.fetch_min(expires_at, Relaxed);
        }
    }

    /// A bound below the expiry of each of its records; `u64::MAX`: none expires.
    pub fn soonest_expiry(&self) -> u64 {
        // ORDERING: Relaxed, as above.
        self.soonest_expiry.load(Relaxed)
    }

    /// After a walk to the end, which has met no expiry before `bound` that is still to come (W4).
    pub fn raise_expiry(&self, bound: u64) {
        // ORDERING: Relaxed, as above.
        self.soonest_expiry.store(bound, Relaxed);
    }

    /// How it stands on the shadow, as far as it was written. Cold start and the flusher set it.
    pub fn set_census(&self, tag: CensusTag) {
        // ORDERING: Relaxed. Cold start is over before the flusher's thread begins.
        self.census.store(tag.raw(), Relaxed);
    }

    /// How it stands on the shadow. For who drives the flusher.
    pub fn census(&self) -> CensusTag {
        // ORDERING: Relaxed, as above.
        CensusTag::from_raw(self.census.load(Relaxed))
    }

    /// Rblocks superseded or padded in this life.
    pub fn dead_rblocks(&self) -> u32 {
        // ORDERING: Acquire, pairs with `bury`.
        self.dead_rblocks.load(Acquire)
    }
}

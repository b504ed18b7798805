//! What the engine knows of each wblock: its state, its sequence, what of it is dead.
//!
//! States
//! ```text
//! Free --[install]--> Open --[replaced by the next]--> Sealed --[flushed]--> Used
//! ```
//! In a memory-only store `Sealed` is passed through: nothing is to be flushed. A wblock leaves
//! `Used` only by reclaim, which comes with quarantine: until then a full store is full.
//!
//! Invariants
//! - W1  The fields of a wblock are set by who installs it, before the open word names it.
//! - W2  `dead_rblocks` only grows within a life, and is at most the wblock's room. A record
//!   counts as live from its reservation, because nothing is added here before it is superseded.
//! - W3  `live = reserved - dead`; a sealed wblock has reserved all of its room.

use crate::sync::{Acquire, AtomicU8, AtomicU32, AtomicU64, Relaxed, Release};
use crate::unit::{Sequence, WblockId};

/// Where a wblock is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// On a free queue.
    Free = 0,
    /// Named by the open word of a stripe, or about to be.
    Open = 1,
    /// Takes no more reservations; not all of it is on the shadow yet.
    Sealed = 2,
    /// Complete, and on the shadow if there is one.
    Used = 3,
}

/// One wblock of the table. A cache line of its own, so that counting the dead of one does not
/// slow the others.
#[derive(Debug)]
#[repr(align(64))]
pub struct Wblock {
    sequence: AtomicU64,
    previous: AtomicU32,
    dead_rblocks: AtomicU32,
    state: AtomicU8,
}

/// `previous` of the first wblock that a stripe opens.
const NO_WBLOCK: u32 = u32::MAX;

impl Wblock {
    /// A free wblock that was never opened.
    pub fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            previous: AtomicU32::new(NO_WBLOCK),
            dead_rblocks: AtomicU32::new(0),
            state: AtomicU8::new(State::Free as u8),
        }
    }

    /// Starts a life. The caller has taken the wblock off its free queue and publishes it (W1).
    pub fn begin(&self, sequence: Sequence, previous: Option<WblockId>, state: State) {
        // ORDERING: Relaxed, all four. The open word's Release (edge E2 of `stripe`) publishes
        // them; at cold start the end of the loading threads does.
        self.sequence.store(sequence.0, Relaxed);
        // ORDERING: Relaxed, as above.
        self.previous.store(previous.map_or(NO_WBLOCK, |wblock| wblock.0), Relaxed);
        // ORDERING: Relaxed, as above.
        self.dead_rblocks.store(0, Relaxed);
        // ORDERING: Relaxed, as above.
        self.state.store(state as u8, Relaxed);
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
        // ORDERING: Relaxed. The state is for statistics here: what is sealed is read off the open
        // word.
        let _ = self.state.compare_exchange(open, sealed, Relaxed, Relaxed);
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
            _ => State::Used,
        }
    }

    /// Takes `rblocks` superseded or padded rblocks out of the live ones.
    #[inline]
    pub fn bury(&self, rblocks: u32) {
        // ORDERING: Relaxed. A counter; reclaim, which acts on it, comes with its own edge.
        self.dead_rblocks.fetch_add(rblocks, Relaxed);
    }

    /// Rblocks superseded or padded in this life.
    pub fn dead_rblocks(&self) -> u32 {
        // ORDERING: Relaxed, as above.
        self.dead_rblocks.load(Relaxed)
    }
}

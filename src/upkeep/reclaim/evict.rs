//! Eviction: which wblock a cache gives up next, and which of its records stay.
//!
//! It works wblock by wblock, with the cleaner, in two queues: **fresh** wblocks, filled by puts,
//! and **old** ones, filled by moves, each in the order in which they were opened. Reads set one
//! bit in the record's index entry, if it is clear.
//!
//! ```text
//! fresh, the oldest:  read since it was put, and there is a place    moved, bit cleared
//!                     everything else                                evicted
//! old, the oldest:    read since it was moved                        moved, bit cleared
//!                     everything else                                evicted
//! places:             what the old queue may still grow to 95% of what is kept
//! ```
//! One old wblock is looked at for every two fresh ones, and only when places are short. Records
//! that were read and find no place go, too: a loop larger than the cache then keeps a part of
//! itself, instead of turning over all of it for nothing. The ghost remembers what was evicted:
//! such a key, put again, counts as read.
//!
//! Passed over: records put with `never_evict`, and tombstones, which are moved. A record that has
//! an eighth of its life left at most goes, read or not.
//!
//! Measured beside LRU, moka, `quick_cache` and foyer: `benches/peers`. A loop keeps what is not
//! fresh, so the fresh queue is small: 2% of what is kept instead of 5% is 48.6 instead of 47.1% of
//! hits in a loop of twice the cache, and 0.1 more to 0.2 less elsewhere. 1% gains 0.5 more there,
//! but is less than a wblock in a small store.
//! Source: S3-FIFO (J. Yang et al., 2023) for the small queue in front and the ghost; SIEVE
//! (Y. Zhang et al., 2024) for the bit that a hit sets and nothing else.
#![forbid(unsafe_code)]

use super::choose::Sums;
use crate::config::Evict;
use crate::unit::WblockId;

/// The fresh queue's share of what is kept.
const FRESH_PCT: u64 = 2;
/// Fresh wblocks for one old one.
const FRESH_FOR_OLD: u64 = 2;
/// A wblock from which less than this share was evicted was in vain.
const VAIN_SHARE: u64 = 64;

/// What becomes of the records of a wblock that is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// All are moved.
    Move,
    /// Those that were read are moved, as long as there are places. Unit: rblocks.
    Fresh { places: u64 },
    /// Those that were read are moved.
    Old,
}

impl Plan {
    /// True if a record of `rblocks` that was read may stay.
    pub(super) fn has_place(self, rblocks: u64) -> bool {
        !matches!(self, Self::Fresh { places } if places < rblocks)
    }

    /// The plan once a record of `rblocks` was moved.
    pub(super) fn after_keeping(self, rblocks: u64) -> Self {
        match self {
            Self::Fresh { places } => Self::Fresh { places: places.saturating_sub(rblocks) },
            Self::Move | Self::Old => self,
        }
    }
}

/// What emptying a wblock under a plan came to. Unit: rblocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) asking: u64,
    pub(super) evicted: u64,
}

/// Chooses what to evict from, for one reclaimer.
#[derive(Debug, Default)]
pub(super) struct Evictor {
    is_evicting: bool,
    cleanings: u64,
    owes_old: bool,
    /// Rblocks of the last fresh wblock that had been read.
    asking: u64,
    /// Wblocks in a row that were emptied in vain.
    in_vain: u64,
}

impl Evictor {
    /// The wblock to evict from next, if it is time to.
    pub(super) fn choose(
        &mut self,
        evict: Evict,
        sums: &Sums,
        is_pressed: bool,
    ) -> Option<(WblockId, Plan)> {
        let of_all = |pct: u8| sums.all * u64::from(pct) / 100;
        let (start, target) = (of_all(evict.used_pct), of_all(evict.target_pct));
        let limit = if self.is_evicting { target } else { start };
        self.is_evicting = sums.live > limit;
        // Short of wblocks although less is live: where to move records gains little, evict.
        let is_tight = is_pressed && (sums.live >= target || sums.best_gain < sums.room / 4);
        if !(self.is_evicting || is_tight) || self.in_vain > sums.wblocks {
            return None;
        }
        let old_max = target - (target * FRESH_PCT / 100).max(sums.room).min(target);
        let places = old_max.saturating_sub(sums.old_live);
        let owed = sums.oldest_old.filter(|_| std::mem::take(&mut self.owes_old));
        if let Some(old) = owed {
            return Some((old, Plan::Old));
        }
        let Some(fresh) = sums.oldest_fresh else {
            return sums.oldest_old.map(|old| (old, Plan::Old));
        };
        self.cleanings += 1;
        self.owes_old = self.cleanings.is_multiple_of(FRESH_FOR_OLD) && self.asking > places;
        Some((fresh, Plan::Fresh { places }))
    }

    /// True while more is live than is to be.
    pub(super) fn is_evicting(&self) -> bool {
        self.is_evicting
    }

    /// Wblocks that puts may open before the next look: up to half-way from `evict_used_pct` to
    /// where they would be refused (`stop_writes_pct`; 0: never). Then they wait for eviction.
    pub(super) fn credit(&self, evict: Evict, sums: &Sums, stop_writes_pct: u8) -> Option<u64> {
        let stop = if stop_writes_pct == 0 { 100 } else { stop_writes_pct.max(evict.used_pct) };
        let until = sums.all * (u64::from(evict.used_pct) + u64::from(stop)) / 200;
        // Nothing can be evicted: let them be refused for what it is.
        let is_hopeless = self.in_vain > sums.wblocks;
        (!is_hopeless).then(|| until.saturating_sub(sums.live) / sums.room.max(1))
    }

    /// After a wblock was emptied.
    pub(super) fn note(&mut self, plan: Plan, outcome: Outcome, room: u64) {
        if let Plan::Fresh { .. } = plan {
            self.asking = outcome.asking;
        }
        self.in_vain = if outcome.evicted < room / VAIN_SHARE { self.in_vain + 1 } else { 0 };
    }

    /// With each sweep it is tried again.
    pub(super) fn forgive(&mut self) {
        self.in_vain = 0;
    }
}

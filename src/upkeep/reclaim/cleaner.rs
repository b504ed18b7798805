//! Empties one wblock: walks its records, and moves those that the index still names.
//!
//! A step takes some tens of records under one pin. The index lines of all of them are asked for
//! first, so that their misses overlap: the records themselves lie in a row.
#![forbid(unsafe_code)]

use super::Common;
use super::counters;
use super::evict::{Outcome, Plan};
use super::fate::{Ended, Met, Site};
use crate::format::{CommitWord, Flags, RecordView};
use crate::index::Occupied;
use crate::sync::epoch::{self, Guard};
use crate::unit::{WBLOCK_HEADER_RBLOCKS, WblockId};

/// Records of one step.
const GROUP: usize = 32;
/// Rblocks of one step, so that large records make a step no longer: 1 MiB.
const GROUP_RBLOCKS: u32 = 1 << 16;

/// Looks at a record that is not committed before the wblock is left alone.
const LOOKS_MAX: u32 = 100;

/// A wblock that is being emptied.
#[derive(Debug)]
pub(super) struct Cleaner {
    wblock: WblockId,
    plan: Plan,
    outcome: Outcome,
    /// Everything before this rblock is dealt with.
    at: u32,
    has_left: bool,
    /// Looks in a row that found a reservation not committed.
    looks: u32,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    /// Nothing of it needs to be moved any more.
    Emptied {
        has_left: bool,
    },
    /// There is no room for what would be moved.
    NoRoom,
    /// A writer holds a reservation in it that it has not committed: a moment ago, or for long.
    Incomplete {
        is_stuck: bool,
    },
}

impl Cleaner {
    pub(super) fn new(wblock: WblockId, plan: Plan) -> Self {
        let outcome = Outcome::default();
        Self { wblock, plan, outcome, at: WBLOCK_HEADER_RBLOCKS, has_left: false, looks: 0 }
    }

    pub(super) fn plan(&self) -> Plan {
        self.plan
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub(super) fn wblock(&self) -> WblockId {
        self.wblock
    }

    /// Deals with the next records.
    pub(super) fn step(&mut self, common: &Common, lane: u32) -> Step {
        let guard = epoch::pin();
        let mut group = Vec::with_capacity(GROUP);
        let until = (self.at + GROUP_RBLOCKS).min(common.stripes().geometry().wblock_rblocks());
        let mut walk = Records::new(common, self.wblock, self.at, until);
        while group.len() < GROUP {
            let Some(met) = walk.next(&guard) else { break };
            common.keyspace.index().start(&guard, met.hash).prefetch();
            group.push(met);
        }
        if walk.is_incomplete {
            self.looks += 1;
            return Step::Incomplete { is_stuck: self.looks > LOOKS_MAX };
        }
        self.looks = 0;
        for met in group {
            if self.deal_with(common, Site { guard: &guard, lane }, met) == Ended::NoRoom {
                return Step::NoRoom;
            }
        }
        self.at = walk.at;
        if self.at < common.stripes().geometry().wblock_rblocks() {
            return Step::More;
        }
        Step::Emptied { has_left: self.has_left }
    }

    fn deal_with(&mut self, common: &Common, site: Site<'_>, met: Met) -> Ended {
        let guard = site.guard;
        loop {
            let entry = match common.entry(guard, met) {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ended::Gone,
                Err(ended) => return ended,
            };
            let view = common.keyspace.view(guard, met.location);
            // At last nothing but copies: see `undo`.
            let is_at_last = common.is_at_last();
            let ended = if !is_at_last && common.is_expired(&view) {
                common.end(site, met, &entry).inspect_gone(|| {
                    counters::add(&common.counters.expired, 1);
                })
            } else if !is_at_last && self.goes(common, &view, entry.is_referenced()) {
                self.evict(common, site, met, &entry)
            } else {
                let is_referenced = entry.is_referenced();
                let resets = self.plan != Plan::Move;
                common.relocate(site, met, &entry, resets).inspect_gone(|| {
                    let rblocks = u64::from(view.rblocks());
                    self.plan = self.plan.after_keeping(rblocks);
                    self.outcome.asking += if is_referenced { rblocks } else { 0 };
                })
            };
            if ended != Ended::Changed {
                return ended;
            }
        }
    }

    /// True if the record is to be evicted.
    fn goes(&self, common: &Common, view: &RecordView<'_>, is_referenced: bool) -> bool {
        let is_exempt = view.is_tombstone() || view.flags().contains(Flags::NEVER_EVICT);
        if self.plan == Plan::Move || is_exempt {
            return false;
        }
        let stays = is_referenced && !is_nearly_over(view, common.clock.coarse_us());
        !(stays && self.plan.has_place(u64::from(view.rblocks())))
    }

    /// Evicts a record. If no older copy of it is left it stays, and can be read, until the header
    /// of its wblock is struck out; else a tombstone takes its place.
    fn evict(&mut self, common: &Common, site: Site<'_>, met: Met, entry: &Occupied<'_>) -> Ended {
        let view = common.keyspace.view(site.guard, met.location);
        let leaves_tombstone = view.is_heir() || view.flags().contains(Flags::GRACE);
        let ended = if common.has_shadow() && !leaves_tombstone {
            self.has_left = true;
            Ended::Gone
        } else {
            common.end(site, met, entry).inspect_gone(|| {
                counters::add(&common.counters.evicted, 1);
            })
        };
        if ended == Ended::Gone {
            let rblocks = u64::from(view.rblocks());
            self.outcome.evicted += rblocks;
            self.outcome.asking += if entry.is_referenced() { rblocks } else { 0 };
            common.keyspace.ghost().push(met.hash);
        }
        ended
    }
}

/// True if the record has an eighth of its life left at most, as far as its version tells when that
/// began.
fn is_nearly_over(view: &RecordView<'_>, now_us: u64) -> bool {
    view.expires_at().is_some_and(|expires_at| {
        let life = expires_at.saturating_sub(view.version().into());
        expires_at.saturating_sub(now_us) <= life / 8
    })
}

/// Takes out of the index what was left behind in `wblock`, whose header is struck out. False: not
/// all of it, for an entry is in a segment that is being replaced, and there is no memory to do it.
pub(super) fn unlink_left(common: &Common, wblock: WblockId) -> bool {
    let end = common.stripes().geometry().wblock_rblocks();
    let mut walk = Records::new(common, wblock, WBLOCK_HEADER_RBLOCKS, end);
    loop {
        // A pin of its own for each: the walk may be long.
        let guard = epoch::pin();
        let Some(met) = walk.next(&guard) else { return !walk.is_incomplete };
        loop {
            let entry = match common.entry(&guard, met) {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(_no_memory) => return false,
            };
            if common.take_out(&guard, met, &entry) == Ended::Gone {
                counters::add(&common.counters.evicted, 1);
            }
        }
    }
}

/// The committed records of a stretch of a wblock, paddings left out.
pub(super) struct Records<'a> {
    common: &'a Common,
    wblock: WblockId,
    /// The next one starts here.
    pub(super) at: u32,
    until: u32,
    /// A word that is not of this life: reserved, and not committed.
    pub(super) is_incomplete: bool,
}

impl<'a> Records<'a> {
    /// Those of `wblock` that start between `at` and `until`. The wblock must not be opened again
    /// meanwhile: the caller owns it, or is pinned since before it read its state.
    pub(super) fn new(common: &'a Common, wblock: WblockId, at: u32, until: u32) -> Self {
        Self { common, wblock, at, until, is_incomplete: false }
    }

    pub(super) fn next(&mut self, guard: &Guard) -> Option<Met> {
        let stripes = self.common.stripes();
        let sequence = stripes.wblock(self.wblock).sequence();
        let key = stripes.identity().store_key;
        while self.at < self.until {
            let location = stripes.geometry().location(self.wblock, self.at);
            let word = CommitWord::from_raw(stripes.region().committed(location));
            let rblocks = word.rblocks().filter(|_| word.is_of(key, sequence));
            let Some(rblocks) = rblocks else {
                self.is_incomplete = true;
                return None;
            };
            self.at += rblocks.get();
            if !word.is_padding() {
                let hash =
                    self.common.keyspace.hash(self.common.keyspace.view(guard, location).key());
                return Some(Met { location, hash });
            }
        }
        None
    }
}

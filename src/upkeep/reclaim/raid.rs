//! The tomb raider: drops tombstones once nothing older than them is left.
//!
//! A tombstone is kept while the shadow may hold an older value of its key (D4). A raid notes the
//! tombstones that there are, and then walks every wblock whose bytes still count on the shadow:
//! open, used, or quarantined and not struck out. A value of a noted key in any of them keeps the
//! tombstone; the others go when the walk is through. While there is a wblock that cold start could
//! not use, and which is not struck out, none goes. Older copies cannot come to be meanwhile:
//! only what the index names is ever moved, and that is the tombstone.
//!
//! The tombstone's own bytes stay on the shadow until its wblock is struck out: dropped, it may
//! come back at the next cold start, as a tombstone, and is dropped again. Until then a put of
//! the key with a lower version must not lose to it: `Keyspace::forget`.
//!
//! A raid reads what the region holds once, in the order of the memory. The next one waits for
//! twenty times as long as it took; if tombstones abound and it dropped some, or could not for
//! wblocks that are about to be struck out, for twice as long.
//!
//! What stays is pinned, by older copies that are not struck out. A raid counts them for each
//! wblock. If there is one pinned tombstone for fewer than `TOLERATED` records, `choose` has the
//! wblocks emptied that pin the most, until the surplus is gone: moves are paid for it. Measured in
//! `tests/soak.rs`, a delete for each eight puts, tombstones over records, where without a raid
//! there would be 12.5% (a deleted key is soon put again) and in a cache one for each evicted key:
//!
//! | each key is written | first     | now      | write amplification                           |
//! |---------------------|-----------|----------|-----------------------------------------------|
//! | every other second  |           | 3 to 4%  | 5 to 7% on a busy machine                     |
//! | twice a second      |           | 4 to 5%  | about 1.6, of a store that is 40% live        |
//! | ten times a second  | 9 to 13%  | 8 to 9%  | two threads at full speed on two cores        |
//! | the same, a cache   | 14 to 52% | 11 to 24%| 60,000 evictions a second of 20,000 records   |
//! | a cache, slowly     | 3 to 6%   | 3 to 6%  | 30% once, when raids did not wait for strikes |
//!
//! So at full speed there are more than 5%. What holds them up, of 100 tombstones that a raid notes
//! - in a store, 80 are pinned, nearly all of them by wblocks in use: the older copy is younger
//!   than the 0.2 s in which the log goes round once. It must be cut shorter for fewer, and
//!   reclaim has no time for it: to empty wblocks for their tombstones without a pause between was
//!   tried, and changed nothing, for free wblocks run short all the time.
//! - in a cache, up to 90 are pinned, half and more by wblocks that wait in quarantine: what was
//!   evicted itself lies there, until a flush and the strike are durable. The rest came since the
//!   last raid.
//!
//! A raid each 10 ms would lower the last but one, at the price of a core. Tolerating less than one
//! in 40 changes nothing: what is left are copies in wblocks that are mostly live, and the delay.
//!
//! A tombstone of a delete that carried a version is kept for `tombstone_grace` besides. In a
//! store without shadow these are the only ones, and only the grace counts.
#![forbid(unsafe_code)]

use super::cleaner::Records;
use super::fate::{Ended, Met};
use super::{Common, Pace, counters};
use crate::format::Flags;
use crate::index::{Hash, ScanCursor, SlotState};
use crate::planted::{Bug, is_planted};
use crate::region::State;
use crate::sync::{Relaxed, epoch};
use crate::unit::{Location, Sequence, Version, WBLOCK_HEADER_RBLOCKS, WblockId};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

/// Tombstones noted in one raid: bounds its memory to some tens of megabytes.
const NOTED_MAX: usize = 1 << 20;
/// A raid is followed by a pause of this many times its length, and by a shorter one while there is
/// a tombstone for fewer than `PLENTY` records and the raid was worth it: of those that it noted,
/// more than one of `WORTH_SHARE` went, or wait for a wblock to be struck out, which takes no
/// longer than a raid does.
const PAUSE_TIMES: u32 = 20;
const PAUSE_TIMES_PLENTY: u32 = 2;
const PLENTY: u64 = 50;
const WORTH_SHARE: u64 = 32;
/// A pinned tombstone for so many records is left alone; of more, wblocks are emptied for it.
const TOLERATED: u64 = 40;
/// Looks at a record that is not committed before the raid is given up.
const LOOKS_MAX: u32 = 10_000;

/// A hash is its own hash.
#[derive(Debug, Default)]
struct Same(u64);

impl Hasher for Same {
    fn write(&mut self, _bytes: &[u8]) {}
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<Same>>;

/// Raids for all reclaimers.
#[derive(Debug, Default)]
pub(super) struct Raider {
    raid: Option<Raid>,
    not_before: Option<Instant>,
    /// Tombstones abound, and raids drop them: the next one does not wait for the sweep.
    is_eager: bool,
    /// When a tombstone that is to be kept for a while was first met, by its place.
    first_met: ByNumber<Instant>,
}

#[derive(Debug)]
struct Raid {
    /// Tombstones by the hash of their key; `None` once an older copy was met.
    noted: ByNumber<Option<(Location, Version)>>,
    next: u32,
    /// The wblock `next` in this life is walked up to here, of so many rblocks.
    half_way: Option<(Sequence, u32, u32)>,
    looks: u32,
    /// Values of noted keys met so far in the wblock `next`.
    pins: u32,
    /// Tombstones of which an older copy was met first in a wblock that is about to be struck out.
    soon: u64,
    walking: Duration,
}

impl Raider {
    /// Begins a raid when one is due, or walks the next wblock of it.
    pub(super) fn poll(&mut self, common: &Common, is_due: bool) -> Pace {
        let began = Instant::now();
        let left = self.not_before.map_or(Duration::ZERO, |until| until.duration_since(began));
        let has_any = common.keyspace.tombstones() > 0;
        self.is_eager &= has_any;
        let is_wanted = has_any && left.is_zero() && (is_due || self.is_eager);
        if self.raid.is_none() && is_wanted {
            self.raid = self.note(common);
            self.is_eager &= self.raid.is_some();
        }
        let Some(raid) = &mut self.raid else {
            return if self.is_eager { Pace::After(left) } else { Pace::Idle };
        };
        let is_over = if common.has_shadow() { raid.step(common) } else { Some(true) };
        raid.walking += began.elapsed();
        if is_over == Some(false) {
            return Pace::Now;
        }
        let is_worth = is_over == Some(true) && raid.finish(common);
        counters::add(&common.counters.raids, 1);
        let abound = common.keyspace.tombstones() > common.keyspace.records() / PLENTY;
        self.is_eager = abound && is_worth;
        let times = if self.is_eager { PAUSE_TIMES_PLENTY } else { PAUSE_TIMES };
        self.not_before = Some(Instant::now() + raid.walking * times);
        self.raid = None;
        Pace::Idle
    }

    /// Notes the tombstones that may go.
    fn note(&mut self, common: &Common) -> Option<Raid> {
        let grace = common.settings.tombstone_grace();
        let mut noted = ByNumber::default();
        let mut met = ByNumber::default();
        let mut cursor = Some(ScanCursor::default());
        while let Some(from) = cursor {
            let guard = epoch::pin();
            let mut slots = Vec::new();
            cursor = common.keyspace.index().slots_from(&guard, from, &mut slots);
            for slot in slots {
                let (SlotState::Live(location) | SlotState::Frozen(location)) = slot.state() else {
                    continue;
                };
                let view = common.keyspace.view(&guard, location);
                let is_candidate = view.is_tombstone() && common.is_forgettable(&view);
                if !is_candidate || noted.len() >= NOTED_MAX {
                    continue;
                }
                if view.flags().contains(Flags::GRACE) {
                    let since = self.first_met.get(&location.0).copied();
                    let since = since.unwrap_or_else(Instant::now);
                    met.insert(location.0, since);
                    if since.elapsed() < grace {
                        continue;
                    }
                }
                let hash = common.keyspace.hash(view.key());
                noted.insert(hash.0, Some((location, view.version())));
            }
        }
        self.first_met = met;
        let (next, half_way, looks, pins, soon) = (0, None, 0, 0, 0);
        let walking = Duration::ZERO;
        (!noted.is_empty()).then_some(Raid { noted, next, half_way, looks, pins, soon, walking })
    }
}

impl Raid {
    /// Walks one wblock, or goes on with it. `Some(true)`: there is none left; `None`: the raid is
    /// given up, for a writer holds on to a reservation that may be an older copy.
    fn step(&mut self, common: &Common) -> Option<bool> {
        let stripes = common.stripes();
        let wblock = WblockId(self.next);
        if wblock.0 >= stripes.geometry().wblocks() {
            return Some(true);
        }
        // Pinned before the state is read: a wblock that is not struck out yet, whosever it is,
        // begins its passage later, and so is not opened again while this pin is held.
        let guard = epoch::pin();
        let entry = stripes.wblock(wblock);
        let reserved = match entry.state() {
            // Not struck out yet: the device may read it rightly next time. All are kept.
            State::Damaged if !is_planted(Bug::RaidPastDamage) => return None,
            State::Quarantined if is_planted(Bug::RaidPastQuarantine) => {
                (self.next, self.half_way, self.looks) = (self.next + 1, None, 0);
                return Some(false);
            }
            State::Free | State::Struck | State::Retired | State::Damaged => {
                // Also one that was half walked: what it held does not count any more, and if it
                // is free, somebody may be about to open it.
                self.go_on();
                return Some(false);
            }
            State::Open => (0..stripes.lanes())
                .find_map(|lane| stripes.open_rblocks(lane).filter(|(open, _)| *open == wblock))
                .map(|(_, position)| position),
            State::Sealed | State::Used | State::Defrag | State::Emptying | State::Quarantined => {
                Some(stripes.geometry().wblock_rblocks())
            }
        };
        // What is reserved later is younger than the raid: the first look counts.
        let (at, until) = match (self.half_way, reserved) {
            (Some((sequence, at, until)), _) if sequence == entry.sequence() => (at, until),
            (_, Some(reserved)) => (WBLOCK_HEADER_RBLOCKS, reserved),
            (_, None) => return self.look_again(),
        };
        let at = self.walk(common, &guard, wblock, (at, until));
        if at < until {
            self.half_way = Some((entry.sequence(), at, until));
            return self.look_again();
        }
        entry.set_pins(self.pins);
        self.go_on();
        Some(false)
    }

    fn go_on(&mut self) {
        (self.next, self.half_way, self.looks, self.pins) = (self.next + 1, None, 0, 0);
    }

    fn look_again(&mut self) -> Option<bool> {
        self.looks += 1;
        (self.looks < LOOKS_MAX).then_some(false)
    }

    /// Meets every committed record from `at` on; returns how far that is.
    fn walk(
        &mut self,
        common: &Common,
        guard: &epoch::Guard,
        wblock: WblockId,
        (at, until): (u32, u32),
    ) -> u32 {
        let entry = common.stripes().wblock(wblock);
        let is_leaving = entry.state() == State::Quarantined && !entry.is_stuck();
        let mut records = Records::new(common, wblock, at, until);
        while let Some(met) = records.next(guard) {
            let Some(noted) = self.noted.get_mut(&met.hash.0) else { continue };
            let view = common.keyspace.view(guard, met.location);
            let mut is_dead = common.is_expired(&view);
            if is_planted(Bug::RaidByClock) {
                is_dead = view.expires_at().is_some_and(|at| at < common.clock.coarse_us());
            }
            if !view.is_tombstone() && !is_dead && !is_planted(Bug::DropTombstoneEarly) {
                let is_first = noted.take().is_some();
                self.soon += u64::from(is_first && is_leaving);
                self.pins += 1;
            }
        }
        records.at
    }

    /// Drops the tombstones of which no older copy was met. False: these were few, and few will
    /// follow soon.
    fn finish(&mut self, common: &Common) -> bool {
        let (noted_count, mut pinned_count) = (self.noted.len() as u64, 0_u64);
        for (hash, noted) in self.noted.drain() {
            let Some((location, version)) = noted else {
                pinned_count += 1;
                continue;
            };
            let met = Met { location, hash: Hash(hash) };
            let guard = epoch::pin();
            while let Ok(Some(entry)) = common.entry(&guard, met) {
                // The location may have been used anew since it was noted, by the same key.
                let view = common.keyspace.view(&guard, location);
                if !view.is_tombstone() || view.version() != version {
                    break;
                }
                if common.forget(&guard, met, &entry) == Ended::Gone {
                    counters::add(&common.counters.tombstones_dropped, 1);
                }
            }
        }
        let surplus = pinned_count.saturating_sub(common.keyspace.records() / TOLERATED);
        // ORDERING: Relaxed, both. Statistics, and a hint.
        common.counters.tombstones_pinned.store(pinned_count, Relaxed);
        // ORDERING: as above.
        common.counters.tombstones_surplus.store(surplus, Relaxed);
        (noted_count - pinned_count + self.soon) * WORTH_SHARE > noted_count
    }
}

//! What becomes of one record: moved as it is, taken out, or replaced by a tombstone.
//!
//! Each works on the entry of the key only if it still names the record (D2).
#![forbid(unsafe_code)]

use super::{Common, counters};
use crate::format::{Flags, RecordHead, RecordView, Shape};
use crate::index::{Changed, Hash, Occupied};
use crate::planted::{Bug, is_planted};
use crate::region::Purpose;
use crate::sync::epoch::Guard;
use crate::unit::{Location, Version};
use crate::upkeep::Kind;

/// What is forgotten stays below this version. Each record that stands over what was forgotten
/// takes one more when it is forgotten in turn: there are enough for one in each microsecond of
/// twelve days, and no clock shows such a time.
const FORGOTTEN_MAX: u64 = u64::MAX - (1 << 40);

/// A record that a reclaimer has met on its walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Met {
    pub(super) location: Location,
    pub(super) hash: Hash,
}

/// Under which pin a reclaimer works, and where it moves records to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'g> {
    pub(super) guard: &'g Guard,
    pub(super) lane: u32,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// This call has taken the record out of the index.
    Gone,
    /// The entry was changed in between, or is being copied to a new segment: look again.
    Changed,
    /// There is no room for what is to take its place.
    NoRoom,
}

impl Common {
    /// The entry that names the record at `met`, if one does. `Err`: it cannot be changed, for the
    /// index has no memory to grow.
    pub(super) fn entry<'g>(
        &'g self,
        guard: &'g Guard,
        met: Met,
    ) -> Result<Option<Occupied<'g>>, Ended> {
        self.keyspace.search_at(guard, met.hash, met.location).map_err(|_full| Ended::NoRoom)
    }

    /// True if the record has expired for good: also in a later run, whatever the clock says then.
    pub(super) fn is_expired(&self, view: &RecordView<'_>) -> bool {
        let before = self.expired_before_us();
        !view.is_tombstone() && view.expires_at().is_some_and(|expires| expires < before)
    }

    /// Moves the record to `lane`; with `resets` it no longer counts as read.
    pub(super) fn relocate(
        &self,
        site: Site<'_>,
        met: Met,
        entry: &Occupied<'_>,
        resets: bool,
    ) -> Ended {
        let view = self.keyspace.view(site.guard, met.location);
        // The copy that stays behind until its wblock is struck out is an older one.
        let heir = if self.has_shadow() { Flags::HEIR } else { Flags::NONE };
        let head = RecordHead {
            version: view.version(),
            expires_at: view.expires_at(),
            over: view.over(),
            flags: view.flags().lasting() | Flags::MOVED | heir,
        };
        let swap = if resets { Occupied::move_to } else { Occupied::replace };
        let swap = |to| swap(entry, to);
        let ended = self.replace(site, met, (&head, view.value()), swap);
        if ended == Ended::Gone {
            counters::add(&self.counters.moved_records, 1);
            counters::add(&self.counters.moved_bytes, u64::from(view.rblocks()) * 16);
        }
        ended
    }

    /// Takes the record out for good: with a tombstone in its place if an older copy may be left.
    pub(super) fn end(&self, site: Site<'_>, met: Met, entry: &Occupied<'_>) -> Ended {
        let view = self.keyspace.view(site.guard, met.location);
        let grace = view.flags() & Flags::GRACE;
        let is_heir = view.flags().contains(Flags::HEIR);
        let is_forced = is_planted(Bug::EndWithoutTombstone);
        if !is_forced && (is_heir || grace != Flags::NONE || !self.is_forgettable(&view)) {
            if self.is_at_last() {
                return Ended::NoRoom;
            }
            let head = RecordHead {
                version: view.version(),
                expires_at: None,
                over: view.over(),
                flags: Flags::TOMBSTONE | grace,
            };
            return self.replace(site, met, (&head, &[]), |to| entry.replace(to));
        }
        self.forget(site.guard, met, entry)
    }

    /// False if hardly a version is left to stand over this record with: every later record of
    /// every key would have to, and in the end their tombstones could not be dropped.
    pub(super) fn is_forgettable(&self, view: &RecordView<'_>) -> bool {
        !self.has_shadow() || bound(view) < Version::from(FORGOTTEN_MAX)
    }

    /// Takes the entry out of the index. On the shadow the record stays, for a while, and must not
    /// win over a put to come: `Keyspace::forget` sees to that.
    pub(super) fn forget(&self, guard: &Guard, met: Met, entry: &Occupied<'_>) -> Ended {
        let view = self.keyspace.view(guard, met.location);
        if self.has_shadow() {
            self.keyspace.forget(bound(&view));
        }
        self.take_out(guard, met, entry)
    }

    /// Takes the entry out of the index, of a record that is not on the shadow any more.
    pub(super) fn take_out(&self, guard: &Guard, met: Met, entry: &Occupied<'_>) -> Ended {
        let view = self.keyspace.view(guard, met.location);
        if entry.remove().is_err() {
            return Ended::Changed;
        }
        self.keyspace.count(0, Kind::of(Some(&view)), Kind::Absent);
        self.keyspace.bury(met.location, view.rblocks());
        Ended::Gone
    }

    /// Writes a record in place of the one at `met`, and lets the entry name it by `swap`, if it is
    /// still as it was.
    fn replace(
        &self,
        site: Site<'_>,
        met: Met,
        (head, value): (&RecordHead, &[u8]),
        swap: impl FnOnce(Location) -> Result<(), Changed>,
    ) -> Ended {
        let Site { guard, lane } = site;
        let old = self.keyspace.view(guard, met.location);
        let shape = Shape::of(old.key().len(), value.len(), head);
        let stripes = self.stripes();
        // Without a wblock to be had, what puts and deletes have open may have room.
        let lanes =
            (0..stripes.geometry().stripes).filter(|other| stripes.has_rest(*other, shape.rblocks));
        let reserve = |lane| stripes.reserve(guard, lane, shape.rblocks, Purpose::Move).ok();
        let Some(mut space) = std::iter::once(lane).chain(lanes).find_map(reserve) else {
            return Ended::NoRoom;
        };
        self.keyspace.fill(&mut space, &shape, head, (old.key(), value));
        space.show();
        if swap(space.location()).is_err() {
            return Ended::Changed;
        }
        let location = space.commit();
        if let Some(expires_at) = head.expires_at {
            stripes.wblock(stripes.geometry().wblock(location)).lower_expiry(expires_at);
        }
        let after =
            if head.flags.contains(Flags::TOMBSTONE) { Kind::Tombstone } else { Kind::Value };
        self.keyspace.count(0, Kind::of(Some(&old)), after);
        self.keyspace.bury(met.location, old.rblocks());
        Ended::Gone
    }
}

/// What a record that is forgotten must be beaten by: its version, or something above what it
/// stands over itself. A later record that stands over no more than this one would have to win by
/// its version alone.
fn bound(view: &RecordView<'_>) -> Version {
    let above = |over: Version| Version::from(u64::from(over).saturating_add(1));
    view.over().map_or(view.version(), |over| above(over).max(view.version()))
}

impl Ended {
    /// Calls `note` if the record was taken out.
    pub(super) fn inspect_gone(self, note: impl FnOnce()) -> Self {
        if self == Self::Gone {
            note();
        }
        self
    }
}

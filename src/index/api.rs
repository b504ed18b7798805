//! The index as its users see it: find, search and change, statistics.
//!
//! Invariants
//! - A1  A call works on segments that it learnt of under its guard, and on locations that were
//!   current under it. The locations that `is_key` and `Records` are asked about are therefore
//!   not reused while the guard lives, if the caller retires locations through the same epoch
//!   after it has taken them out.
//! - A2  A returned place is of an unfrozen word; a change of it is one CAS, which fails if the
//!   word was changed or frozen since. The location cannot have come back in between (A1).
//! - A3  Readers never wait and never help: one probe sequence in each segment of a chain. Writers
//!   are lock-free: a search goes round again only when a segment was replaced.
//!
//! Checked by: `loom-tests/tests/index_entry.rs`, `index_growth.rs`, `index_retire.rs`,
//! `tests.rs`.

use super::directory::Directory;
use super::entry::{Changed, DEPTH_CAP, Hash, Probe, Slot, Word, X_BITS, spread};
use super::growth::{self, Plan, Records};
use super::pool::Pool;
use super::segment::{Range, Segment, Verdict};
use crate::sync::epoch::{self, Guard};
use crate::sync::{Arc, AtomicU64, Relaxed};
use crate::unit::Location;
use std::io;
use std::ptr::NonNull;

#[cfg(not(any(loom, shuttle)))]
use crate::config::HugePages;

/// Records that a new index expects in its fullest segments: 86% of the slots, which few of them
/// overflow, at 13.5 bytes a record on average. Memory comes 2 MiB at a time, up to 2 bytes a
/// record at a million. Measured with that, at 1,580 hints from 1 M to 70 M: 15.8 at most (with
/// 1,720 it was 16.1, with 1,550 17.8). Filled, at 63 hints: up to two splits until one is met.
const EXPECTED_SEGMENT_RECORDS: u64 = 1_750;
/// Levels that a segment may lie below the average one. Uniform hashes need two; hostile ones
/// cannot make the directory cost more than `8 << 5` bytes a segment.
const SLACK_LEVELS: u32 = 5;

/// Why there is no room for one more key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexFull {
    /// The system gives no memory for a segment. Try again when it does.
    #[error("no memory for an index segment")]
    Memory,
    /// Too many keys have nearly the same hash. Final, unless some are removed or the index grows.
    #[error("too many keys with one hash")]
    Crowded,
}

/// Hashes to locations, lock-free; see [the room](super).
#[derive(Debug)]
pub struct Index {
    directory: Directory,
    pool: Arc<Pool>,
    segments: AtomicU64,
    splits: AtomicU64,
    rebuilds: AtomicU64,
}

/// What [`Index::search`] found.
#[derive(Debug)]
pub enum Place<'g> {
    /// The key's entry.
    Occupied(Occupied<'g>),
    /// Where its entry would be.
    Vacant(Vacant<'g>),
}

/// An entry, as it was when it was found.
#[derive(Debug)]
pub struct Occupied<'g> {
    slot: &'g Slot,
    word: Word,
}

impl Occupied<'_> {
    /// Where the record was.
    pub fn location(&self) -> Location {
        self.word.location()
    }

    /// True if the record was read since it was put or moved.
    pub fn is_referenced(&self) -> bool {
        self.word.is_referenced()
    }

    /// Lets the entry name `new`, where the record was moved to, and forgets that it was read.
    ///
    /// # Errors
    ///
    /// As for [`replace`](Self::replace).
    pub fn move_to(&self, new: Location) -> Result<(), Changed> {
        self.slot.change(self.word, self.word.with_location(new).referenced(false))
    }

    /// Lets the entry name `new` instead.
    ///
    /// # Errors
    ///
    /// The entry was changed, or its segment is being replaced: search again.
    pub fn replace(&self, new: Location) -> Result<(), Changed> {
        self.slot.change(self.word, self.word.with_location(new))
    }

    /// Removes the entry.
    ///
    /// # Errors
    ///
    /// As for [`replace`](Self::replace).
    pub fn remove(&self) -> Result<(), Changed> {
        self.slot.change(self.word, Word::DELETED)
    }
}

/// An empty entry, as it was when it was found.
#[derive(Debug)]
pub struct Vacant<'g> {
    slot: &'g Slot,
    fingerprint: Word,
}

impl Vacant<'_> {
    /// Makes it the key's entry.
    ///
    /// # Errors
    ///
    /// Somebody took it, perhaps for the same key, or its segment is being replaced: search again.
    pub fn insert(&self, location: Location) -> Result<(), Changed> {
        self.slot.change(Word::EMPTY, self.fingerprint.with_location(location))
    }

    /// As [`insert`](Self::insert), and the record counts as read.
    ///
    /// # Errors
    ///
    /// As for [`insert`](Self::insert).
    pub fn insert_referenced(&self, location: Location) -> Result<(), Changed> {
        let word = self.fingerprint.with_location(location).referenced(true);
        self.slot.change(Word::EMPTY, word)
    }
}

/// Where the search for a key begins: learnt under a guard, and good for as long (A1).
#[derive(Debug)]
pub struct Start<'g> {
    probe: Probe,
    segment: &'g Segment,
}

impl Start<'_> {
    /// Asks the processor for the line that the search reads first.
    #[inline]
    pub fn prefetch(&self) {
        self.segment.prefetch(&self.probe);
    }
}

impl Index {
    /// An index in which `expected_records` fit with hardly a split: from a million up, at 16 bytes
    /// each at most.
    ///
    /// # Errors
    ///
    /// The system gives no memory.
    #[cfg(not(any(loom, shuttle)))]
    pub fn new(expected_records: u64, huge_pages: HugePages) -> io::Result<Self> {
        Self::with_pool(expected_records, Pool::new(huge_pages))
    }

    /// As in a build, but in boxes.
    ///
    /// # Errors
    ///
    /// None.
    #[cfg(any(loom, shuttle))]
    pub fn new(expected_records: u64) -> io::Result<Self> {
        Self::with_pool(expected_records, Pool::new())
    }

    fn with_pool(expected_records: u64, pool: Pool) -> io::Result<Self> {
        let guard = epoch::pin();
        let ranges = first_ranges(expected_records);
        let mut blanks = vec![pool.map(ranges.len())?];
        while blanks.len() < ranges.len() {
            blanks.push(pool.take(&guard)?);
        }
        let plant = |(blank, range)| {
            growth::plant(&blank, range);
            blank.place()
        };
        let segments: Vec<NonNull<Segment>> = blanks.into_iter().zip(ranges).map(plant).collect();
        Ok(Self {
            directory: Directory::new(&segments, &guard)?,
            pool: Arc::new(pool),
            segments: AtomicU64::new(segments.len() as u64),
            splits: AtomicU64::new(0),
            rebuilds: AtomicU64::new(0),
        })
    }

    /// Where the record of the key is that has `hash` and that `is_key` recognises.
    ///
    /// `is_key` is asked about each entry that resembles it: nearly always none or one.
    #[cfg(any(feature = "testing", loom, shuttle))]
    #[inline]
    pub fn find(
        &self,
        guard: &Guard,
        hash: Hash,
        is_key: impl FnMut(Location) -> bool,
    ) -> Option<Location> {
        self.find_from(guard, &self.start(guard, hash), is_key, false)
    }

    /// Where a search for `hash` begins.
    #[inline]
    pub fn start<'g>(&self, guard: &'g Guard, hash: Hash) -> Start<'g> {
        let probe = Probe::new(hash);
        Start { probe, segment: self.directory.locate(probe.x, guard) }
    }

    /// As [`find`](Self::find), of the key whose search has the `start`; with `note` the record
    /// counts as read from now on. That writes to the entry, the first time.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `Store::get`")]
    #[expect(clippy::unused_self, reason = "the index that `start` is of")]
    pub fn find_from<'g>(
        &self,
        guard: &'g Guard,
        &Start { ref probe, mut segment }: &Start<'g>,
        mut is_key: impl FnMut(Location) -> bool,
        note: bool,
    ) -> Option<Location> {
        loop {
            match segment.search(probe, &mut is_key) {
                Verdict::Found(slot, word) => {
                    if note {
                        slot.note_read(word);
                    }
                    return Some(word.location());
                }
                Verdict::Vacant(..) | Verdict::Exhausted => return None,
                Verdict::Replaced(successors) => segment = successors.pick(probe.x, guard),
            }
        }
    }

    /// The key's entry, or the place for it, in either case one that can be changed. Grows the
    /// index if the key is new and has no place.
    ///
    /// # Errors
    ///
    /// There is no room, or no memory to replace a frozen segment. Nothing is lost, and what is
    /// there can be found.
    #[inline]
    pub fn search<'g>(
        &'g self,
        guard: &'g Guard,
        records: &impl Records,
        start: Start<'g>,
        mut is_key: impl FnMut(Location) -> bool,
    ) -> Result<Place<'g>, IndexFull> {
        match self.search_at(&start, &mut is_key) {
            Some(place) => Ok(place),
            None => self.search_growing(guard, records, start, &mut is_key),
        }
    }

    /// The same where nothing but a look is needed, as nearly always. `None`: the index has changed
    /// since `start`, or must change.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `put_directly`: nothing goes by memory")]
    #[expect(clippy::unused_self, reason = "the index that `start` is of")]
    pub fn search_at<'g>(
        &self,
        start: &Start<'g>,
        mut is_key: impl FnMut(Location) -> bool,
    ) -> Option<Place<'g>> {
        match start.segment.search(&start.probe, &mut is_key) {
            Verdict::Found(slot, word) if !word.is_frozen() => {
                Some(Place::Occupied(Occupied { slot, word }))
            }
            Verdict::Vacant(slot, word, fingerprint) if !word.is_frozen() => {
                Some(Place::Vacant(Vacant { slot, fingerprint }))
            }
            Verdict::Found(..)
            | Verdict::Vacant(..)
            | Verdict::Exhausted
            | Verdict::Replaced(_) => None,
        }
    }

    /// As [`search`](Self::search), where the index has changed since `start`, or must change.
    #[cold]
    fn search_growing<'g>(
        &'g self,
        guard: &'g Guard,
        records: &impl Records,
        Start { probe, mut segment }: Start<'g>,
        is_key: &mut dyn FnMut(Location) -> bool,
    ) -> Result<Place<'g>, IndexFull> {
        let mut has_grown = false;
        loop {
            let verdict = segment.search(&probe, &mut |location| is_key(location));
            let mut plan = Plan { depth_max: self.depth_max(), must_split: false };
            match verdict {
                Verdict::Found(slot, word) if !word.is_frozen() => {
                    return Ok(Place::Occupied(Occupied { slot, word }));
                }
                Verdict::Vacant(slot, word, fingerprint) if !word.is_frozen() => {
                    return Ok(Place::Vacant(Vacant { slot, fingerprint }));
                }
                Verdict::Replaced(successors) => {
                    segment = successors.pick(probe.x, guard);
                    continue;
                }
                Verdict::Found(..) | Verdict::Vacant(..) => {}
                Verdict::Exhausted => {
                    let is_deepest = segment.range().depth >= plan.depth_max;
                    if is_deepest && (has_grown || !segment.has_deleted(&probe)) {
                        return Err(IndexFull::Crowded);
                    }
                    plan.must_split = has_grown;
                    has_grown = true;
                }
            }
            self.grow(segment, records, plan, guard)?;
        }
    }

    /// The key's entry, one that can be changed, if the key has any. Never makes room.
    ///
    /// # Errors
    ///
    /// The entry is in a frozen segment, and there is no memory to replace that.
    pub fn search_occupied<'g>(
        &'g self,
        guard: &'g Guard,
        records: &impl Records,
        hash: Hash,
        mut is_key: impl FnMut(Location) -> bool,
    ) -> Result<Option<Occupied<'g>>, IndexFull> {
        let probe = Probe::new(hash);
        let mut segment = self.directory.locate(probe.x, guard);
        loop {
            match segment.search(&probe, &mut is_key) {
                Verdict::Vacant(..) | Verdict::Exhausted => return Ok(None),
                Verdict::Replaced(successors) => segment = successors.pick(probe.x, guard),
                Verdict::Found(slot, word) if !word.is_frozen() => {
                    return Ok(Some(Occupied { slot, word }));
                }
                Verdict::Found(..) => {
                    let plan = Plan { depth_max: self.depth_max(), must_split: false };
                    self.grow(segment, records, plan, guard)?;
                }
            }
        }
    }

    /// Sees to it that `segment` has successors.
    #[cold]
    fn grow(
        &self,
        segment: &Segment,
        records: &impl Records,
        plan: Plan,
        guard: &Guard,
    ) -> Result<(), IndexFull> {
        let first = self.pool.take(guard).map_err(|_| IndexFull::Memory)?;
        let Ok(second) = self.pool.take(guard) else {
            Pool::give_back(&self.pool, guard, first);
            return Err(IndexFull::Memory);
        };
        let built = growth::build(segment, records, plan, (first, second));
        if let Some(spare) = built.spare {
            Pool::give_back(&self.pool, guard, spare);
        }
        let is_split = built.successors.split != 0;
        match segment.publish(built.successors) {
            Ok(()) => {
                // ORDERING: Relaxed. Statistics; the depth limit that is taken from `segments`
                // is a matter of degree.
                self.segments.fetch_add(u64::from(is_split), Relaxed);
                let counter = if is_split { &self.splits } else { &self.rebuilds };
                // ORDERING: as above.
                counter.fetch_add(1, Relaxed);
                self.directory.announce(segment, &self.pool, guard);
            }
            Err(lost) => {
                // SAFETY: (1) Never published. (2) Here alone.
                unsafe { Pool::retire(&self.pool, guard, lost.low) };
                if is_split {
                    // SAFETY: as above; not the same as `low`.
                    unsafe { Pool::retire(&self.pool, guard, lost.high) };
                }
            }
        }
        Ok(())
    }

    /// How deep a segment may be; see [`SLACK_LEVELS`].
    fn depth_max(&self) -> u32 {
        DEPTH_CAP.min(self.segments().max(1).ilog2() + SLACK_LEVELS)
    }

    /// Mapped bytes, unused segments included, and the directory's.
    pub fn bytes(&self) -> u64 {
        self.pool.bytes() + self.directory.bytes()
    }

    /// Segments in use.
    pub fn segments(&self) -> u64 {
        // ORDERING: Relaxed. A statistic.
        self.segments.load(Relaxed)
    }

    /// Segments replaced by two, so far.
    pub fn splits(&self) -> u64 {
        // ORDERING: Relaxed. A statistic.
        self.splits.load(Relaxed)
    }

    /// Segments replaced by one, so far.
    pub fn rebuilds(&self) -> u64 {
        // ORDERING: Relaxed. A statistic.
        self.rebuilds.load(Relaxed)
    }

    /// The segment that holds `x`, the newest there is.
    pub(super) fn newest<'g>(&'g self, x: u32, guard: &'g Guard) -> &'g Segment {
        let mut segment = self.directory.locate(x, guard);
        while let Some(successors) = segment.successors() {
            segment = successors.pick(x, guard);
        }
        segment
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // SAFETY: (1) `&mut self`: no call is under way, and none will come. What was retired is
        // not in the directory, and returns to the pool, which it keeps alive, later.
        unsafe { self.directory.clear() };
        epoch::advance(); // the memory goes now if nobody else is pinned
    }
}

/// Ranges, in order, that hold at most [`EXPECTED_SEGMENT_RECORDS`] of `records` each.
fn first_ranges(records: u64) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut open = vec![Range { depth: 0, prefix: 0, generation: 0 }];
    while let Some(range) = open.pop() {
        let share = u128::from(first_u(range.end()) - first_u(range.start()));
        let expected = (u128::from(records) * share) >> X_BITS;
        if expected > u128::from(EXPECTED_SEGMENT_RECORDS) && range.depth < DEPTH_CAP {
            let (low, high) = range.halves();
            open.extend([high, low]);
        } else {
            ranges.push(range);
        }
    }
    ranges
}

/// The least `u` with `spread(u) >= x`, or `2^32`.
fn first_u(x: u64) -> u64 {
    let (mut low, mut high) = (0_u64, 1 << X_BITS);
    while low < high {
        let middle = low.midpoint(high);
        match u32::try_from(middle) {
            Ok(u) if u64::from(spread(u)) < x => low = middle + 1,
            _ => high = middle,
        }
    }
    low
}

//! The records of a store by key: the index over the region, and what is counted about it.
//!
//! Invariants
//! - K1  A location in the index is that of a committed record whose wblock is not opened again
//!   while any thread that could have read the location is pinned. So every view handed out here
//!   borrows a guard that was taken before the index was read.
//! - K2  `records` counts the index entries that are values (expired ones until they are swept),
//!   `tombstones` those that are tombstones; each publication moves them by what it replaced.
//!
//! The counters are kept per stripe, so that two cores do not share a line, and summed when read:
//! one may be negative, the sum is not, once writers are quiet.

use super::ghost::Ghost;
use super::pressure::live_bytes;
use crate::format::{
    Checks, CommitWord, RECORD_HEADER_BYTES, RecordHead, RecordView, Seed, Shape, encode_head,
};
use crate::index::{
    Changed, Forgotten, Hash, Index, IndexFull, Occupied, Place, Records, Start, Vacant,
};
use crate::planted::{Bug, is_planted};
use crate::region::{Reservation, Stripes};
use crate::sync::epoch::Guard;
use crate::sync::{Arc, AtomicBool, AtomicI64, CachePadded, Relaxed, prefetch};
use crate::unit::{Location, RBLOCK_BYTES, Version};
use std::num::NonZeroU32;
use std::sync::OnceLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a commit word, which is only ever read as an atomic.
const WORD_BYTES: usize = size_of::<CommitWord>();

/// What every record has between its commit word and its key.
const FIXED_BYTES: usize = RECORD_HEADER_BYTES - WORD_BYTES;

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;
/// What a reader is taken to read of a record: the first lines, for behind three the processor
/// sees that they are read in order.
const READ_BYTES: usize = 3 * LINE_BYTES;

/// Index, region and counters.
#[derive(Debug)]
pub struct Keyspace {
    stripes: Arc<Stripes>,
    index: Index,
    hash_seed: u64,
    counts: Box<[CachePadded<Counts>]>,
    /// Versions of records that were taken out of the index while their bytes are still on the
    /// shadow.
    forgotten: Forgotten,
    /// Reads are noted in the index, for eviction.
    notes_reads: AtomicBool,
    ghost: OnceLock<Ghost>,
}

/// Changes of one stripe's writers.
#[derive(Debug, Default)]
struct Counts {
    records: AtomicI64,
    tombstones: AtomicI64,
}

/// What an index entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No entry.
    Absent,
    /// A value, perhaps expired.
    Value,
    /// A tombstone.
    Tombstone,
}

impl Kind {
    /// The kind of `record`, if there is one.
    pub fn of(record: Option<&RecordView<'_>>) -> Self {
        match record {
            None => Self::Absent,
            Some(record) if record.is_tombstone() => Self::Tombstone,
            Some(_) => Self::Value,
        }
    }
}

/// True for a record that `get` may return at `now_us`: it lives through its expiry instant.
#[inline]
pub fn is_live(record: &RecordView<'_>, now_us: impl FnOnce() -> u64) -> bool {
    !record.is_tombstone() && record.expires_at().is_none_or(|expires| now_us() <= expires)
}

impl Keyspace {
    /// An empty keyspace over `stripes`.
    pub fn new(stripes: Arc<Stripes>, index: Index, hash_seed: u64) -> Self {
        let counts = (0..stripes.geometry().stripes).map(|_| CachePadded::default()).collect();
        Self {
            stripes,
            index,
            hash_seed,
            counts,
            forgotten: Forgotten::new(),
            notes_reads: AtomicBool::new(false),
            ghost: OnceLock::new(),
        }
    }

    /// The region and its stripes.
    #[inline]
    pub fn stripes(&self) -> &Stripes {
        &self.stripes
    }

    /// The index.
    #[inline]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The hash of `key` in this store.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> Hash {
        Hash(xxh3_64_with_seed(key, self.hash_seed))
    }

    /// The record at `location`, which the caller read from the index under `guard` (K1), or
    /// has just committed.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `Store::get`")]
    pub fn view<'g>(&'g self, _guard: &'g Guard, location: Location) -> RecordView<'g> {
        let word = self.stripes.word_of(location);
        let bytes = word.rblocks().map_or(0, NonZeroU32::get) as usize * RBLOCK_BYTES as usize;
        let body = bytes.saturating_sub(WORD_BYTES);
        // SAFETY: (1) the index's edge, or the caller's own commit, orders the bytes before; (2)
        // the guard was taken before the index was read (K1) and outlives the slice; (3) the word
        // is left out.
        let body = unsafe { self.stripes.region().bytes(location, WORD_BYTES, body) };
        record_view(word, body)
    }

    /// The record of `key`, whatever it is: value, expired value or tombstone. Where eviction asks
    /// for it, the read is noted.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `Store::get`")]
    pub fn find<'g>(&'g self, guard: &'g Guard, hash: Hash, key: &[u8]) -> Option<RecordView<'g>> {
        // ORDERING: Relaxed. Policy: heeded a moment later it harms nobody.
        self.look_up(guard, hash, key, self.notes_reads.load(Relaxed))
    }

    /// As [`find`](Self::find), and not noted: for scans, which say nothing of what is wanted.
    pub fn peek<'g>(&'g self, guard: &'g Guard, hash: Hash, key: &[u8]) -> Option<RecordView<'g>> {
        self.look_up(guard, hash, key, false)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `Store::get`")]
    fn look_up<'g>(
        &'g self,
        guard: &'g Guard,
        hash: Hash,
        key: &[u8],
        note: bool,
    ) -> Option<RecordView<'g>> {
        let mut found = None;
        let is_key = |location| {
            self.prefetch_behind(location, READ_BYTES);
            let view = self.view(guard, location);
            let is_key = view.key() == key;
            if is_key {
                found = Some(view);
            }
            is_key
        };
        self.index.find_from(guard, &self.index.start(guard, hash), is_key, note)?;
        found
    }

    /// Whether reads are noted in the index.
    pub fn set_notes_reads(&self, notes_reads: bool) {
        // ORDERING: Relaxed, as in `find`.
        self.notes_reads.store(notes_reads, Relaxed);
    }

    /// The ghost of what was evicted, made for as many records as there are now.
    pub fn ghost(&self) -> &Ghost {
        self.ghost.get_or_init(|| Ghost::new(self.records()))
    }

    /// Bytes of the ghost; 0 if nothing was ever evicted.
    pub fn ghost_bytes(&self) -> u64 {
        self.ghost.get().map_or(0, Ghost::bytes)
    }

    /// Makes `location` the entry of a key that has none. A key that was evicted lately counts as
    /// read.
    ///
    /// # Errors
    ///
    /// As for `Vacant::insert`.
    #[inline]
    pub fn insert(
        &self,
        vacant: &Vacant<'_>,
        hash: Hash,
        location: Location,
    ) -> Result<(), Changed> {
        if self.ghost.get().is_some_and(|ghost| ghost.take(hash)) {
            return vacant.insert_referenced(location);
        }
        vacant.insert(location)
    }

    /// The place of `key` in the index, for a writer, and the record there. `None`: the index can
    /// grow no more.
    pub fn search<'g>(
        &'g self,
        guard: &'g Guard,
        hash: Hash,
        key: &[u8],
    ) -> Option<(Place<'g>, Option<RecordView<'g>>)> {
        let place = self.search_from(guard, self.index.start(guard, hash), key)?;
        let current = match &place {
            Place::Occupied(occupied) => Some(self.view(guard, occupied.location())),
            Place::Vacant(_) => None,
        };
        Some((place, current))
    }

    /// The place alone, of the key whose search has the `start`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `put_directly`: nothing goes by memory")]
    pub fn search_from<'g>(
        &'g self,
        guard: &'g Guard,
        start: Start<'g>,
        key: &[u8],
    ) -> Option<Place<'g>> {
        match self.index.search_at(&start, |location| self.is_at(guard, location, key)) {
            Some(place) => Some(place),
            None => self.search_growing(guard, start, key),
        }
    }

    /// Its part where the index has changed since `start`, or must change.
    #[cold]
    fn search_growing<'g>(
        &'g self,
        guard: &'g Guard,
        start: Start<'g>,
        key: &[u8],
    ) -> Option<Place<'g>> {
        let hasher = Hasher { keyspace: self, guard };
        let is_key = |location| self.is_at(guard, location, key);
        self.index.search(guard, &hasher, start, is_key).ok()
    }

    /// True if the record at `location` is that of `key`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `put_directly`: nothing goes by memory")]
    fn is_at(&self, guard: &Guard, location: Location, key: &[u8]) -> bool {
        self.prefetch_behind(location, READ_BYTES.min(RECORD_HEADER_BYTES + key.len()));
        self.view(guard, location).key() == key
    }

    /// The record that a search from `start` most likely finds, for who will read it: it is noted,
    /// where eviction asks for that, and the processor is asked for its lines. None: no key with
    /// this hash has one. The index line should be in the cache already.
    #[inline]
    pub fn likely_to_read<'g>(&self, guard: &'g Guard, start: &Start<'g>) -> Option<Location> {
        // ORDERING: Relaxed, as in `find`.
        self.likely(guard, start, READ_BYTES, self.notes_reads.load(Relaxed))
    }

    /// The same for who will replace it.
    #[inline]
    pub fn likely_to_replace<'g>(&self, guard: &'g Guard, start: &Start<'g>) -> Option<Location> {
        self.likely(guard, start, LINE_BYTES, false)
    }

    /// The first entry that resembles a key is nearly always its own: it is taken unseen.
    #[inline]
    fn likely<'g>(
        &self,
        guard: &'g Guard,
        start: &Start<'g>,
        bytes: usize,
        note: bool,
    ) -> Option<Location> {
        let location = self.index.find_from(guard, start, |_| true, note)?;
        prefetch(self.stripes.region().pointer(location).as_ptr());
        self.prefetch_behind(location, bytes);
        Some(location)
    }

    /// The entry of `key`, if it has one, for a writer that makes none.
    ///
    /// # Errors
    ///
    /// The entry is in a segment that is being replaced, and the index can grow no more.
    pub fn search_present<'g>(
        &'g self,
        guard: &'g Guard,
        hash: Hash,
        key: &[u8],
    ) -> Result<Option<(Place<'g>, Option<RecordView<'g>>)>, IndexFull> {
        let is_key = |location| self.view(guard, location).key() == key;
        let hasher = Hasher { keyspace: self, guard };
        let entry = self.index.search_occupied(guard, &hasher, hash, is_key)?;
        Ok(entry.map(|entry| {
            let current = self.view(guard, entry.location());
            (Place::Occupied(entry), Some(current))
        }))
    }

    /// The entry of the key with `hash` if it names the record at `location`.
    ///
    /// # Errors
    ///
    /// As for [`search_present`](Self::search_present).
    pub fn search_at<'g>(
        &'g self,
        guard: &'g Guard,
        hash: Hash,
        location: Location,
    ) -> Result<Option<Occupied<'g>>, IndexFull> {
        let hasher = Hasher { keyspace: self, guard };
        self.index.search_occupied(guard, &hasher, hash, |at| at == location)
    }

    /// Fills a reservation with a record, all but its commit word.
    #[inline]
    pub fn fill(
        &self,
        space: &mut Reservation<'_>,
        shape: &Shape,
        head: &RecordHead,
        (key, value): (&[u8], &[u8]),
    ) {
        let value_check = self.fill_body(space, shape, (key, value));
        self.fill_head(space, shape, head, (key, value_check));
    }

    /// Fills a reservation with key and value; returns the value's check, for the head.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `put_directly`")]
    pub fn fill_body(
        &self,
        space: &mut Reservation<'_>,
        shape: &Shape,
        (key, value): (&[u8], &[u8]),
    ) -> u32 {
        // The zeros go first, a store of known length, and the value over them.
        space.zero_tail();
        space.fill(shape.header_bytes, key);
        space.fill(shape.header_bytes + key.len(), value);
        if self.stripes.identity().has_shadow {
            Checks::of_value(self.seed(space), value)
        } else {
            Checks::NONE.value
        }
    }

    /// Fills in the head of a record whose body is there.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `put_directly`")]
    pub fn fill_head(
        &self,
        space: &mut Reservation<'_>,
        shape: &Shape,
        head: &RecordHead,
        (key, value_check): (&[u8], u32),
    ) {
        let checks = if self.stripes.identity().has_shadow {
            Checks::with_value(self.seed(space), head, shape, key, value_check)
        } else {
            Checks::NONE
        };
        let bytes = encode_head(shape, head, checks);
        // A copy of known length is a few stores; what only some heads have follows it.
        if let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() {
            space.fill(WORD_BYTES, fixed);
            if shape.header_bytes > RECORD_HEADER_BYTES {
                let rest = rest.get(..shape.header_bytes - RECORD_HEADER_BYTES).unwrap_or(rest);
                space.fill(RECORD_HEADER_BYTES, rest);
            }
        }
    }

    #[inline]
    fn seed(&self, space: &Reservation<'_>) -> Seed {
        Seed::new(self.stripes.identity().store_key, space.location(), space.word())
    }

    /// The record at `location` is committed and expires.
    #[inline]
    pub fn expires(&self, location: Location, expires_at: u64) {
        self.stripes.wblock(self.stripes.geometry().wblock(location)).lower_expiry(expires_at);
    }

    /// Before an entry is removed whose record, of `version`, stays on the shadow for a while.
    pub fn forget(&self, version: Version) {
        if !is_planted(Bug::ForgetTheForgotten) {
            self.forgotten.note(version);
        }
    }

    /// For a put that found no entry of its key: nothing above this version was forgotten.
    #[inline]
    pub fn forgotten(&self) -> Option<Version> {
        self.forgotten.bound()
    }

    /// Asks for the lines of the record at `location` behind its first, up to `bytes` from its
    /// start. Where key and value lie is told by the first line: without this, their misses would
    /// begin only when that has come.
    #[inline]
    fn prefetch_behind(&self, location: Location, bytes: usize) {
        let record = self.stripes.region().pointer(location).as_ptr();
        for behind in (LINE_BYTES..bytes).step_by(LINE_BYTES) {
            prefetch(record.wrapping_add(behind));
        }
        prefetch(record.wrapping_add(bytes - 1));
    }

    /// Takes the record at `location` out of the live bytes of its wblock.
    #[inline]
    pub fn bury(&self, location: Location, rblocks: u32) {
        self.stripes.wblock(self.stripes.geometry().wblock(location)).bury(rblocks);
    }

    /// Counts a publication by a writer of `stripe` (K2).
    #[inline]
    pub fn count(&self, stripe: u32, before: Kind, after: Kind) {
        if before == after {
            return;
        }
        let Some(counts) = self.counts.get(stripe as usize) else { return };
        for (kind, change) in [(before, -1), (after, 1)] {
            match kind {
                // ORDERING: Relaxed, both. Counters, read as sums.
                Kind::Value => counts.records.fetch_add(change, Relaxed),
                // ORDERING: Relaxed, as above.
                Kind::Tombstone => counts.tombstones.fetch_add(change, Relaxed),
                Kind::Absent => 0,
            };
        }
    }

    /// Values in the index, expired ones included.
    pub fn records(&self) -> u64 {
        // ORDERING: Relaxed, as in `count`.
        self.sum(|counts| counts.records.load(Relaxed))
    }

    /// Tombstones in the index.
    pub fn tombstones(&self) -> u64 {
        // ORDERING: Relaxed, as in `count`.
        self.sum(|counts| counts.tombstones.load(Relaxed))
    }

    fn sum(&self, read: impl Fn(&Counts) -> i64) -> u64 {
        let sum: i64 = self.counts.iter().map(|counts| read(counts)).sum();
        u64::try_from(sum).unwrap_or(0)
    }

    /// Bytes of records that count, padding to rblocks included.
    pub fn live_bytes(&self) -> u64 {
        live_bytes(&self.stripes)
    }
}

/// The view of a committed record. Its shape was checked when it was made, by `Shape`, or when it
/// was loaded, by its checksums.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a part of `Store::get`")]
pub(super) fn record_view(word: CommitWord, body: &[u8]) -> RecordView<'_> {
    RecordView::of_committed(word, body)
}

/// Tells the index, at a split, the hash of a record.
struct Hasher<'g> {
    keyspace: &'g Keyspace,
    guard: &'g Guard,
}

impl Records for Hasher<'_> {
    fn hash_at(&self, location: Location) -> Hash {
        self.keyspace.hash(self.keyspace.view(self.guard, location).key())
    }

    fn ask_for(&self, location: Location) {
        prefetch(self.keyspace.stripes.region().pointer(location).as_ptr());
        self.keyspace.prefetch_behind(location, LINE_BYTES);
    }
}

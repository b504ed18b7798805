//! Growth of one segment: freeze it, build what replaces it, publish that with one CAS.
//!
//! Any thread may do all of it, at any time, again and again: freezing is idempotent, building is
//! private, and of several results one is published. So a thread stopped anywhere in here stalls
//! nobody. Memory is taken before the freeze: without memory the segment stays writable.
//!
//! What replaces a segment is decided by who publishes first:
//! - *Rebuild*: one segment of the same depth, without the deleted entries. Where at most 85% of
//!   the slots are live: then one slot in twelve comes free (the first insert fails at 93% fill),
//!   which pays for the copy. Under churn that goes on for ever, segments whose live count strays
//!   over the limit are split and never merged; so the limit is high. Measured after each record
//!   was replaced 40 times: 17.2 bytes a record with a limit of 75%, 15.7 with 80%.
//! - *Split*: two of the next depth. Where more is live, or where the caller has seen that a
//!   rebuild makes no room for it.
//!
//! Invariants
//! - G1  What is published holds exactly the live entries of the frozen segment, in places that
//!   S4 could have led to: each stands in its probe sequence with no EMPTY slot before it.
//! - G2  Building always succeeds. Entries are placed anew, first fit, or in the place of one
//!   that can move to a later turn; should one find no room even so (the order is not the one
//!   they came in), the half is laid out as its parent was, with every slot DELETED that is not
//!   its own: then G1 holds because it held in the parent.
//! - G3  Growth ends: depth never passes `depth_max`, at which an insert that still finds no room
//!   after one rebuild is refused.
//!
//! Checked by: `loom-tests/tests/index_growth.rs`, `tests.rs`.

use super::entry::{BUCKET_SLOTS, BUCKETS, BucketIndex, Hash, Probe, SEGMENT_SLOTS, WINDOW, Word};
use super::pool::Blank;
use super::segment::{Range, Segment, Successors};
use crate::unit::Location;
use std::ptr::NonNull;

/// Most live entries of a segment that is rebuilt rather than split.
#[cfg(not(any(loom, shuttle)))]
const REBUILD_LIVE_MAX: usize = SEGMENT_SLOTS * 17 / 20;
/// See above.
#[cfg(loom)]
const REBUILD_LIVE_MAX: usize = 1;
/// See above.
#[cfg(shuttle)]
const REBUILD_LIVE_MAX: usize = 4;

/// What the index asks about records.
pub trait Records {
    /// The hash of the key of the record at `location`.
    ///
    /// Asked while the caller of the index is pinned, about locations that were current after it
    /// pinned. Only splits at the depths that the tag does not cover ask: those of the first
    /// 1,024 segments.
    fn hash_at(&self, location: Location) -> Hash;

    /// A hint: the hash of the record at `location` will be asked for soon.
    fn ask_for(&self, _location: Location) {}
}

/// What the thread that wants the growth knows.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// No segment gets deeper.
    pub depth_max: u32,
    /// A rebuild has not made the room that is wanted.
    pub must_split: bool,
}

/// A replacement that nobody else sees yet.
#[derive(Debug)]
pub struct Replacement {
    /// To be published.
    pub successors: Box<Successors>,
    /// The second blank, if one segment was enough.
    pub spare: Option<Blank>,
}

/// Freezes `parent` and builds what replaces it, in `blanks`.
pub fn build(
    parent: &Segment,
    records: &impl Records,
    plan: Plan,
    blanks: (Blank, Blank),
) -> Replacement {
    for (_, slot) in parent.slots() {
        slot.freeze();
    }
    let live = parent.slots().filter(|(_, slot)| slot.peek().is_live()).count();
    let may_split = parent.range().depth < plan.depth_max;
    let wants_split = plan.must_split || live > REBUILD_LIVE_MAX;
    let (first, second) = blanks;
    if !(may_split && wants_split) {
        let whole = Half { parent, high: None };
        if whole.place_into(first.place()) || !may_split && whole.copy_into(first.place()) {
            return whole.finish(first.place(), first.place(), Some(second));
        }
    }
    let uppers = Uppers::of(parent, records);
    let half = |high| Half { parent, high: Some((high, &uppers)) };
    for (half, blank) in [(half(false), &first), (half(true), &second)] {
        if !half.place_into(blank.place()) {
            half.copy_into(blank.place());
        }
    }
    half(false).finish(first.place(), second.place(), None)
}

/// Records asked for before their hashes are wanted: their misses overlap. With one after the
/// other, a split that has to ask took 240 us.
const AHEAD: usize = 16;

/// Which slots of a frozen segment go to its upper half, a bit each.
struct Uppers([u64; SEGMENT_SLOTS.div_ceil(u64::BITS as usize)]);

impl Uppers {
    fn of(parent: &Segment, records: &impl Records) -> Self {
        let depth = parent.range().depth;
        let mut uppers = Self([0; SEGMENT_SLOTS.div_ceil(u64::BITS as usize)]);
        let mut ahead = parent.slots().map(|(_, slot)| slot.read()).skip(AHEAD);
        for (index, (_, slot)) in parent.slots().enumerate() {
            if let Some(next) = ahead.next()
                && next.is_live()
                && next.split_bit(depth).is_none()
            {
                records.ask_for(next.location());
            }
            let word = slot.read();
            let is_upper = |word: Word| {
                word.split_bit(depth).unwrap_or_else(|| {
                    records.hash_at(word.location()).x() & parent.split_bit() != 0
                })
            };
            if word.is_live() && is_upper(word) {
                uppers.insert(index);
            }
        }
        uppers
    }

    fn insert(&mut self, index: usize) {
        if let Some(bits) = self.0.get_mut(index / u64::BITS as usize) {
            *bits |= 1 << (index % u64::BITS as usize);
        }
    }

    fn contains(&self, index: usize) -> bool {
        let bits = self.0.get(index / u64::BITS as usize).copied().unwrap_or(0);
        bits >> (index % u64::BITS as usize) & 1 == 1
    }
}

/// The entries of a frozen segment that go to one successor.
struct Half<'p> {
    parent: &'p Segment,
    /// `None` takes all.
    high: Option<(bool, &'p Uppers)>,
}

impl Half<'_> {
    /// First fit, in the order of the parent. False if an entry finds no room; then nothing of
    /// what was written counts.
    fn place_into(&self, blank: NonNull<Segment>) -> bool {
        let mut nursery = Nursery { blank, fills: [0; BUCKETS as usize] };
        for (index, (at, slot)) in self.parent.slots().enumerate() {
            let word = slot.read();
            if self.takes(index, word) && !nursery.place(&Probe::of_entry(word, at), word) {
                return false;
            }
        }
        nursery.clear_rest();
        self.write_header(blank);
        true
    }

    /// The layout of the parent (G2). Always true.
    fn copy_into(&self, blank: NonNull<Segment>) -> bool {
        for (index, (_, slot)) in self.parent.slots().enumerate() {
            let word = slot.read();
            let copy = if word.is_empty() {
                Word::EMPTY
            } else if self.takes(index, word) {
                word.with_location(word.location())
            } else {
                Word::DELETED
            };
            // SAFETY: (1) A blank is its taker's alone. (2) `slots` yields SEGMENT_SLOTS.
            unsafe { Segment::write_slot(blank, index, copy) };
        }
        self.write_header(blank);
        true
    }

    fn takes(&self, index: usize, word: Word) -> bool {
        word.is_live() && self.high.is_none_or(|(high, uppers)| high == uppers.contains(index))
    }

    fn write_header(&self, blank: NonNull<Segment>) {
        let range = self.parent.range().successor(self.high.map(|(high, _)| high));
        // SAFETY: (1) A blank is its taker's alone.
        unsafe { Segment::write_header(blank, range) };
    }

    fn finish(
        &self,
        low: NonNull<Segment>,
        high: NonNull<Segment>,
        spare: Option<Blank>,
    ) -> Replacement {
        let split = if self.high.is_some() { self.parent.split_bit() } else { 0 };
        Replacement { successors: Box::new(Successors { low, high, split }), spare }
    }
}

/// A segment being filled, known by how far each of its buckets is.
struct Nursery {
    blank: NonNull<Segment>,
    fills: [u8; BUCKETS as usize],
}

impl Nursery {
    /// Puts an entry where an insert would (S4), or makes room for it. False if neither can be.
    fn place(&mut self, probe: &Probe, entry: Word) -> bool {
        let mut at = probe.home();
        for turn in 0..WINDOW {
            if self.append(at, probe.fingerprint(turn).naming(entry)) {
                return true;
            }
            at = probe.next(at);
        }
        self.displace(probe, entry)
    }

    /// Moves an entry of the full sequence of `probe` to a later turn of its own. Full buckets
    /// stay full, so that no EMPTY slot comes to lie before any entry (G1).
    fn displace(&mut self, probe: &Probe, entry: Word) -> bool {
        let mut at = probe.home();
        for turn in 0..WINDOW {
            for index in at.get() * BUCKET_SLOTS..(at.get() + 1) * BUCKET_SLOTS {
                // SAFETY: (1) A blank is its taker's alone, and a full bucket was written.
                // (2) A bucket below BUCKETS, and a slot in it.
                let word = unsafe { Segment::private_word(self.blank, index) };
                if self.move_on(word, at) {
                    self.write(index, probe.fingerprint(turn).naming(entry));
                    return true;
                }
            }
            at = probe.next(at);
        }
        false
    }

    /// Appends a copy of `word`, which stands in bucket `at`, at a later turn.
    fn move_on(&mut self, word: Word, at: BucketIndex) -> bool {
        let (probe, mut at) = (Probe::of_entry(word, at), at);
        for turn in word.turn() + 1..WINDOW {
            at = probe.next(at);
            if self.append(at, probe.fingerprint(turn).naming(word)) {
                return true;
            }
        }
        false
    }

    fn append(&mut self, at: BucketIndex, word: Word) -> bool {
        match self.fills.get_mut(at.get()) {
            Some(fill) if usize::from(*fill) < BUCKET_SLOTS => {
                let index = at.get() * BUCKET_SLOTS + usize::from(*fill);
                *fill += 1;
                self.write(index, word);
                true
            }
            _ => false,
        }
    }

    fn clear_rest(&mut self) {
        for (at, fill) in BucketIndex::all().zip(self.fills) {
            for free in usize::from(fill)..BUCKET_SLOTS {
                self.write(at.get() * BUCKET_SLOTS + free, Word::EMPTY);
            }
        }
    }

    fn write(&mut self, index: usize, word: Word) {
        // SAFETY: (1) A blank is its taker's alone. (2) A bucket below BUCKETS, and a slot in it.
        unsafe { Segment::write_slot(self.blank, index, word) };
    }
}

/// Makes an empty segment of zeroed memory.
pub fn plant(blank: &Blank, range: Range) {
    // In a build, all zero is EMPTY, and stays untouched, so that no page is faulted in for it.
    #[cfg(any(loom, shuttle))]
    for index in 0..SEGMENT_SLOTS {
        // SAFETY: (1) A blank is its taker's alone. (2) As the loop says.
        unsafe { Segment::write_slot(blank.place(), index, Word::EMPTY) };
    }
    // SAFETY: (1) A blank is its taker's alone.
    unsafe { Segment::write_header(blank.place(), range) };
}

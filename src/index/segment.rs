//! One segment: 255 buckets of 8 entries behind one header line, searched without a lock.
//!
//! States of a slot, while its segment lives
//!
//! ```text
//! EMPTY --[insert]--> key K at some location --[remove]--> DELETED
//!                        `--[replace]--> K at another location
//! ```
//! and `FROZEN` may come on top of each of them, once. Of a segment:
//! `blank -> private -> live -> freezing -> frozen -> replaced -> unreachable -> blank`
//! (`growth` for the first half, `directory` for the end).
//!
//! Invariants
//! - S1  A slot never becomes EMPTY again, and the key of an entry never changes. DELETED stays.
//! - S2  So "this slot is not, and will never be, K's" holds for ever once seen: of DELETED slots
//!   and of those with another key. It may be learnt in any order and from old values.
//! - S3  A frozen word never changes: every change is a CAS from an unfrozen word.
//! - S4  An insert fills the first EMPTY slot of the key's probe sequence, and only that.
//! - S5  `successors` is set only after all slots are frozen.
//!
//! **One live entry per key.** An inserter of K has seen every slot before its own as never-K
//! (S2), and every slot after its own in the sequence that K could use was unreachable for K
//! while its own was EMPTY (S4), which its CAS proves. Two inserters of K read the same
//! never-K slots and meet at the same EMPTY one: one CAS wins, the other searches again and finds
//! K. No entry is ever tentative, and a search may stop at the first EMPTY slot.
//!
//! **A search decides on one word**: the match, or the first EMPTY, or any one of an exhausted
//! sequence. If that word is not frozen, then at its reading there was no successor (S5), and the
//! answer was the truth: for a match at that moment; for EMPTY or exhaustion, at that moment or
//! at the later removal of K that a slot before it showed (S2). If the word is frozen, the
//! successor is asked for: none, and the answer stands as of that question, because nothing can
//! be written elsewhere before a successor is published; else the search goes on there. Who has
//! seen, or was told of, an entry in a successor has the freeze and the publication in its past
//! (E2), so that no later search of its can rest on the frozen segment.
//!
//! **A frozen word names a record that may be gone**: the key may have moved on in the successor
//! long before this reader pinned. So the key of a frozen entry is compared only after
//! "no successor" was seen: then the location was current after the pin, and is not reused
//! while the pin is held. That of an unfrozen entry is current as read.
//!
//! Happens-before edges
//! - E1  `Slot::change` (Release) to `Slot::read` (Acquire): the record's bytes.
//! - E2  `publish` (Release) to `successors` (Acquire): the freeze, the successors' contents.
//!
//! Checked by: `loom-tests/tests/index_entry.rs` (S1-S4, E1), `index_growth.rs` (S5, E2).

use super::bucket;
use super::entry::{
    BUCKET_SLOTS, BUCKETS, BucketIndex, Probe, SEGMENT_SLOTS, Slot, WINDOW, Word, X_BITS,
};
use crate::sync::epoch::Guard;
use crate::sync::{Acquire, AtomicPtr, Release};
use crate::unit::Location;
use std::ptr::{self, NonNull};

/// Bytes, and alignment, of a segment.
pub const SEGMENT_BYTES: usize = 16 << 10;

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Segment>() == SEGMENT_BYTES);
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

/// See the file header.
#[derive(Debug)]
#[repr(C, align(16384))]
pub struct Segment {
    /// Null until replaced. Owned by this segment.
    successors: AtomicPtr<Successors>,
    /// Chains segments in one list at a time: blank ones in the pool, replaced ones in the
    /// directory. Only ever touched as an atomic: whoever loses a pop may still read it.
    pub next: AtomicPtr<Segment>,
    range: Range,
    /// Stands in for unmapping, which loom cannot see.
    #[cfg(any(loom, shuttle))]
    reclaimed: crate::sync::AtomicBool,
    buckets: [Bucket; BUCKETS as usize],
}

/// Which hashes a segment holds, and which of the segments that held them it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Top bits of `x` that all its keys share. Range: `0..=DEPTH_CAP`.
    pub depth: u32,
    /// These bits, as a number below `2^depth`.
    pub prefix: u32,
    /// One more than that of the segment it replaced: the segments of one hash are a chain.
    pub generation: u64,
}

impl Range {
    /// First `x` of the range.
    pub fn start(self) -> u64 {
        u64::from(self.prefix) << (X_BITS - self.depth)
    }

    /// First `x` after the range, at most `2^32`.
    pub fn end(self) -> u64 {
        (u64::from(self.prefix) + 1) << (X_BITS - self.depth)
    }

    /// The range of the one that replaces it alone, or of its lower or upper half.
    pub fn successor(self, half: Option<bool>) -> Self {
        let (low, high) = self.halves();
        match half {
            None => Self { generation: low.generation, ..self },
            Some(false) => low,
            Some(true) => high,
        }
    }

    /// The ranges of the two that replace it.
    pub fn halves(self) -> (Self, Self) {
        let (depth, prefix) = (self.depth + 1, self.prefix << 1);
        let generation = self.generation + 1;
        (Self { depth, prefix, generation }, Self { depth, prefix: prefix | 1, generation })
    }
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Bucket([Slot; BUCKET_SLOTS]);

impl Bucket {
    /// Two masks: entries that resemble `fingerprint`, and EMPTY ones.
    #[inline]
    fn scan(&self, fingerprint: Word) -> (u32, u32) {
        bucket::scan(&self.0, fingerprint)
    }

    /// The slot of the lowest bit of `mask`.
    #[inline]
    fn first(&self, mask: u32) -> Option<&Slot> {
        self.0.get(mask.trailing_zeros() as usize)
    }
}

/// What replaced a segment: one, or two with half the range each. Owned by the replaced one;
/// does not own what it names.
#[derive(Debug)]
pub struct Successors {
    /// For the lower half, or all.
    pub low: NonNull<Segment>,
    /// For the upper half; `low` again if there is only one.
    pub high: NonNull<Segment>,
    /// The bit of `x` that decides; 0 if there is only one.
    pub split: u32,
}

impl Successors {
    /// The one that holds `x`.
    pub fn pick<'g>(&self, x: u32, guard: &'g Guard) -> &'g Segment {
        let child = if x & self.split == 0 { self.low } else { self.high };
        // SAFETY: (1) `child` was whole before it was published. (2) Whoever holds `self` pinned
        // while the parent was reachable for `x`; the child becomes unreachable for `x` only
        // after that (`directory`, D3).
        unsafe { Segment::at(child, guard) }
    }
}

/// What the probe sequence of a key says.
#[derive(Debug)]
pub enum Verdict<'g> {
    /// The key is here.
    Found(&'g Slot, Word),
    /// The key is not here, and this EMPTY slot would be its. The second word is what would
    /// stand there, still without a location; the first what stands there.
    Vacant(&'g Slot, Word, Word),
    /// The key is not here, and has no room.
    Exhausted,
    /// Ask there.
    Replaced(&'g Successors),
}

impl Segment {
    /// The segment at `at`.
    ///
    /// # Safety
    ///
    /// 1. It is initialised, and was before `at` could be learnt.
    /// 2. It was reachable at some time after `guard` was made.
    #[inline]
    pub unsafe fn at<'g>(at: NonNull<Self>, _guard: &'g Guard) -> &'g Self {
        // SAFETY: (1), (2): retired through the epoch, so it lives as long as the guard.
        let segment: &'g Self = unsafe { at.as_ref() };
        #[cfg(any(loom, shuttle))]
        segment.assert_not_reclaimed();
        segment
    }

    /// Its range and generation.
    #[inline]
    pub fn range(&self) -> Range {
        self.range
    }

    /// The bit of `x` that a split of it decides by.
    pub fn split_bit(&self) -> u32 {
        1 << (X_BITS - 1 - self.range.depth)
    }

    /// What replaced it, if anything has.
    #[inline]
    pub fn successors(&self) -> Option<&Successors> {
        // ORDERING: Acquire, edge E2, pairs with `publish`.
        let successors = self.successors.load(Acquire);
        // SAFETY: null or from `Box::into_raw` in `publish`; freed only with the segment.
        unsafe { successors.as_ref() }
    }

    /// Makes `successors` the ones, unless there are some; then they come back.
    ///
    /// This is the linearization point of growth. All slots are frozen (S5).
    pub fn publish(&self, successors: Box<Successors>) -> Result<(), Box<Successors>> {
        debug_assert!(self.slots().all(|(_, slot)| slot.peek().is_frozen()), "S5");
        let new = Box::into_raw(successors);
        // ORDERING: Release, edge E2. Acquire on failure, E2 too: the loser goes on in what it
        // found.
        match self.successors.compare_exchange(ptr::null_mut(), new, Release, Acquire) {
            Ok(_) => Ok(()),
            // SAFETY: from `into_raw` above, and nobody else has seen it.
            Err(_) => Err(unsafe { Box::from_raw(new) }),
        }
    }

    /// Searches for the key of `probe` that `is_key` recognises.
    #[inline]
    pub fn search(&self, probe: &Probe, is_key: &mut impl FnMut(Location) -> bool) -> Verdict<'_> {
        let mut at = probe.home();
        let mut turn = 0;
        loop {
            #[cfg(all(test, not(any(loom, shuttle))))]
            super::tests::note_bucket();
            let bucket = self.bucket(at);
            let fingerprint = probe.fingerprint(turn);
            let (mut matches, empties) = bucket.scan(fingerprint);
            while let Some(slot) = bucket.first(matches) {
                matches &= matches - 1;
                let word = slot.read();
                if !word.is_live() || !word.resembles(fingerprint) {
                    continue; // removed meanwhile: never-K
                }
                if let Some(successors) = self.replaced(word) {
                    return Verdict::Replaced(successors);
                }
                if is_key(word.location()) {
                    return Verdict::Found(slot, word);
                }
            }
            if let Some(slot) = bucket.first(empties) {
                let word = slot.read();
                if !word.is_empty() {
                    continue; // filled meanwhile, perhaps by K; at most `BUCKET_SLOTS` times
                }
                return match self.replaced(word) {
                    Some(successors) => Verdict::Replaced(successors),
                    None => Verdict::Vacant(slot, word, fingerprint),
                };
            }
            turn += 1;
            if turn == WINDOW {
                return self.exhausted(bucket);
            }
            at = probe.next(at);
        }
    }

    #[cold]
    fn exhausted(&self, last: &Bucket) -> Verdict<'_> {
        let word = last.0.last().map_or(Word::EMPTY, Slot::read);
        self.replaced(word).map_or(Verdict::Exhausted, Verdict::Replaced)
    }

    /// The successors, if `word` was found frozen and there are some.
    #[inline]
    fn replaced(&self, word: Word) -> Option<&Successors> {
        if word.is_frozen() { self.successors() } else { None }
    }

    /// Some slot of the sequence holds a removed entry. Of an exhausted one: a rebuild may help.
    pub fn has_deleted(&self, probe: &Probe) -> bool {
        let mut at = probe.home();
        (0..WINDOW).any(|_| {
            let bucket = self.bucket(at);
            at = probe.next(at);
            bucket.0.iter().any(|slot| !slot.peek().is_live())
        })
    }

    /// Every slot and the bucket that it is in.
    pub fn slots(&self) -> impl Iterator<Item = (BucketIndex, &Slot)> {
        let slots_of = |at| self.bucket(at).0.iter().map(move |slot| (at, slot));
        BucketIndex::all().flat_map(slots_of)
    }

    /// Asks the processor for the line of `probe`'s first bucket.
    #[inline]
    pub fn prefetch(&self, probe: &Probe) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = ptr::from_ref(self.bucket(probe.home())).cast();
            // SAFETY: a hint, which cannot fault. SSE is part of x86_64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = probe;
    }

    #[inline]
    fn bucket(&self, at: BucketIndex) -> &Bucket {
        // SAFETY: a `BucketIndex` is below `BUCKETS`, the length.
        unsafe { self.buckets.get_unchecked(at.get()) }
    }
}

/// How a segment comes to be and to pass.
impl Segment {
    /// Writes all of a segment but its entries.
    ///
    /// # Safety
    ///
    /// 1. `blank` is valid for writes, and nobody else uses more of it than `next`, which is
    ///    initialised.
    pub unsafe fn write_header(blank: NonNull<Self>, range: Range) {
        let blank = blank.as_ptr();
        // SAFETY: within the segment (1).
        let successors = unsafe { &raw mut (*blank).successors };
        // SAFETY: (1).
        unsafe { successors.write(AtomicPtr::new(ptr::null_mut())) };
        // SAFETY: within the segment (1).
        let place = unsafe { &raw mut (*blank).range };
        // SAFETY: (1).
        unsafe { place.write(range) };
        #[cfg(any(loom, shuttle))]
        {
            // SAFETY: within the segment (1).
            let reclaimed = unsafe { &raw mut (*blank).reclaimed };
            // SAFETY: (1).
            unsafe { reclaimed.write(crate::sync::AtomicBool::new(false)) };
        }
    }

    /// Writes one entry of a private segment.
    ///
    /// # Safety
    ///
    /// 1. As for [`write_header`](Self::write_header).
    /// 2. `index < SEGMENT_SLOTS`, counted over all buckets.
    pub unsafe fn write_slot(blank: NonNull<Self>, index: usize, word: Word) {
        // SAFETY: (1), (2).
        let slot = unsafe { Self::private_slot(blank, index) };
        // SAFETY: (1).
        unsafe { slot.write(Slot::new(word)) };
    }

    /// Reads one entry of a private segment back.
    ///
    /// # Safety
    ///
    /// 1. As for [`write_header`](Self::write_header), and the entry was written.
    /// 2. `index < SEGMENT_SLOTS`, counted over all buckets.
    pub unsafe fn private_word(blank: NonNull<Self>, index: usize) -> Word {
        // SAFETY: (1), (2).
        let slot = unsafe { Self::private_slot(blank, index) };
        // SAFETY: (1).
        unsafe { &*slot }.peek()
    }

    /// # Safety
    ///
    /// 1. `blank` is mapped.
    /// 2. `index < SEGMENT_SLOTS`.
    unsafe fn private_slot(blank: NonNull<Self>, index: usize) -> *mut Slot {
        debug_assert!(index < SEGMENT_SLOTS, "within the segment");
        // SAFETY: within the segment (1).
        let buckets = unsafe { &raw mut (*blank.as_ptr()).buckets };
        let bucket = index / BUCKET_SLOTS;
        // SAFETY: below `BUCKETS` (2).
        let slots = unsafe { buckets.cast::<Bucket>().add(bucket) };
        // SAFETY: a bucket has as many.
        unsafe { slots.cast::<Slot>().add(index - bucket * BUCKET_SLOTS) }
    }

    /// Initialises the link of memory that was never a segment.
    ///
    /// # Safety
    ///
    /// 1. `fresh` is valid for writes, and nobody else uses it.
    pub unsafe fn write_link(fresh: NonNull<Self>) {
        // SAFETY: within the segment (1).
        let next = unsafe { &raw mut (*fresh.as_ptr()).next };
        // SAFETY: (1).
        unsafe { next.write(AtomicPtr::new(ptr::null_mut())) };
    }

    /// The link of a segment, blank or not.
    ///
    /// # Safety
    ///
    /// 1. `at` points to mapped memory whose link was initialised.
    pub unsafe fn link<'p>(at: NonNull<Self>) -> &'p AtomicPtr<Self> {
        // SAFETY: within the segment (1).
        let next = unsafe { &raw const (*at.as_ptr()).next };
        // SAFETY: (1), and the link is only ever used as an atomic.
        unsafe { &*next }
    }

    /// Frees what a segment owns; it is blank from here on.
    ///
    /// # Safety
    ///
    /// 1. Nobody can reach the segment any more, the caller aside.
    pub unsafe fn clear(at: NonNull<Self>) {
        // SAFETY: initialised, and not shared (1).
        let segment = unsafe { at.as_ref() };
        #[cfg(any(loom, shuttle))]
        segment.assert_not_reclaimed();
        // ORDERING: Acquire, edge E2: the box was perhaps made by another thread.
        let successors = segment.successors.swap(ptr::null_mut(), Acquire);
        if !successors.is_null() {
            // SAFETY: from `Box::into_raw` in `publish`, and nobody else has it any more (1).
            drop(unsafe { Box::from_raw(successors) });
        }
        #[cfg(any(loom, shuttle))]
        // ORDERING: Release, so that the model sees the reuse as early as it may be.
        segment.reclaimed.store(true, Release);
    }

    #[cfg(any(loom, shuttle))]
    fn assert_not_reclaimed(&self) {
        // ORDERING: Acquire: any later access would be to freed memory.
        assert!(!self.reclaimed.load(Acquire), "used after its reclamation");
    }
}

//! The packed words of the index: hash, probe sequence, entry.
//!
//! A 64-bit hash is used in two halves that share no bit:
//!
//! ```text
//! hash  [63 .......... 32][31 ........... 0]
//!        u, spread to x    home = low * BUCKETS >> 32
//! x     [31 ..... depth][............... 0]    top bits: the segment
//!             [21 .......... 4]                tag, in the entry; its low 4 bits: the step
//! ```
//!
//! **Spread.** `x = u + 88/256 * u * (1 - u)` approximates `log2(1 + u)`: uniform hashes get up to
//! twice as dense from one end of the `x` range to the other, and evenly so on a logarithmic
//! scale. Segments of one depth therefore fill, and split, one after the other while the store
//! grows. With uniform `x` all would split at once, and the memory per record would swing by 2.
//! Monotone: one step of `u` changes `u * !u >> 32` by -1 at least, and 88/256 of that by -1 at
//! least, so `x` never falls. In range: `x <= u + (2^32 - u) * 88/256`.
//! Source: spiral storage (G. N. N. Martin, 1979), the idea of a logarithmic spread.
//!
//! **Probe sequence.** Turn `t` of a key looks at bucket `home + t * step (mod BUCKETS)`, for `t`
//! in `0..WINDOW`. Both terms can be told from an entry and its place (tag and turn are in the
//! word), so a segment is rebuilt without a look at a record.
//! Measured (20,000 runs): with 16 turns the first insert fails at 93% fill on average, 1 in 100
//! below 86%; with 8 turns at 86% and 75%; with 8 neighbouring buckets at 76% and 63%. A key needs
//! 0.31 turns beyond its first at the end, and stops at the first EMPTY entry anyway.
//! Every orbit is longer than the window: `gcd(step, 255) <= 15` for steps of `1..=16`, and
//! `255 / 15 = 17`.
#![forbid(unsafe_code)]

use crate::sync::{Acquire, AtomicU64, Relaxed, Release};
use crate::unit::{LOCATION_BITS, Location};

/// Buckets in a segment: with one line for the header, 16 KiB.
#[cfg(not(any(loom, shuttle)))]
pub const BUCKETS: u32 = 255;
/// Entries in a bucket, one cache line.
#[cfg(not(any(loom, shuttle)))]
pub const BUCKET_SLOTS: usize = 8;
/// Buckets that a key may be in.
#[cfg(not(any(loom, shuttle)))]
pub const WINDOW: u32 = 16;
/// Distinct distances between the buckets of one key: `1..=STEPS`. A power of two.
#[cfg(not(any(loom, shuttle)))]
const STEPS: u64 = 16;

/// Under loom the third insert of one home bucket must grow the segment, and still leave an EMPTY
/// slot for other keys.
#[cfg(loom)]
pub const BUCKETS: u32 = 3;
/// See [`BUCKETS`].
#[cfg(loom)]
pub const BUCKET_SLOTS: usize = 1;
/// See [`BUCKETS`].
#[cfg(loom)]
pub const WINDOW: u32 = 2;
#[cfg(loom)]
const STEPS: u64 = 1;

/// Under shuttle: small, so that segments are soon replaced, and yet with buckets of several slots
/// and steps that differ.
#[cfg(shuttle)]
pub const BUCKETS: u32 = 5;
/// See [`BUCKETS`].
#[cfg(shuttle)]
pub const BUCKET_SLOTS: usize = 2;
/// See [`BUCKETS`].
#[cfg(shuttle)]
pub const WINDOW: u32 = 3;
#[cfg(shuttle)]
const STEPS: u64 = 2;

/// Entries in a segment.
pub const SEGMENT_SLOTS: usize = BUCKETS as usize * BUCKET_SLOTS;
/// Bits of `x`: no segment is deeper, see [`DEPTH_CAP`].
pub const X_BITS: u32 = 32;
/// Deepest segment: every split that leads to it finds its bit in the tag or asks the record.
pub const DEPTH_CAP: u32 = X_BITS - TAG_LOW;

const TAG_BITS: u32 = 18;
/// The lowest bit of `x` in the tag.
const TAG_LOW: u32 = 4;
const TURN_BITS: u32 = 4;
const FLAG_BITS: u32 = 2;

const LOCATION_MASK: u64 = (1 << LOCATION_BITS) - 1;
pub(super) const FROZEN: u64 = 1 << (LOCATION_BITS + 1);
const REFERENCED: u64 = 1 << LOCATION_BITS;
pub(super) const TURN_SHIFT: u32 = LOCATION_BITS + FLAG_BITS;
const TURN_MASK: u64 = ((1 << TURN_BITS) - 1) << TURN_SHIFT;
const TAG_SHIFT: u32 = TURN_SHIFT + TURN_BITS;

const _: () = assert!(TAG_BITS + TURN_BITS + FLAG_BITS + LOCATION_BITS == u64::BITS);
const _: () = assert!(WINDOW <= 1 << TURN_BITS, "a turn fits its field");
const _: () = assert!((WINDOW as u64 - 1) * STEPS < BUCKETS as u64, "one wrap at most");
const _: () = assert!(STEPS.is_power_of_two());
const _: () = assert!(BUCKETS <= 255, "fills and turns are counted in bytes");

/// Seeded hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Hash(pub u64);

impl Hash {
    /// The position on the directory's scale; see the file header.
    #[inline]
    pub fn x(self) -> u32 {
        spread((self.0 >> 32) as u32)
    }
}

/// Monotone; see the file header.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the bend is below 2^30")]
pub fn spread(u: u32) -> u32 {
    let bend = (u64::from(u) * u64::from(!u)) >> 32;
    u + ((bend * 88) >> 8) as u32
}

/// Number of a bucket in its segment, always below [`BUCKETS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketIndex(u32);

impl BucketIndex {
    /// Every bucket, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..BUCKETS).map(Self)
    }

    /// For a slice; below [`BUCKETS`].
    #[inline]
    pub fn get(self) -> usize {
        self.0 as usize
    }

    /// `distance < BUCKETS` further on, around the end.
    #[inline]
    fn forward(self, distance: u32) -> Self {
        let sum = self.0 + distance;
        Self(if sum >= BUCKETS { sum - BUCKETS } else { sum })
    }

    /// The inverse of `forward`.
    fn back(self, distance: u32) -> Self {
        if distance == 0 { self } else { self.forward(BUCKETS - distance) }
    }
}

/// Where a key may be, and what its entries look like.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Position on the directory's scale.
    pub x: u32,
    home: BucketIndex,
    step: u32,
    /// The tag in its place; all else zero.
    tag: u64,
}

impl Probe {
    /// Of the key with `hash`.
    #[inline]
    pub fn new(hash: Hash) -> Self {
        let x = hash.x();
        let home = ((hash.0 & 0xFFFF_FFFF) * u64::from(BUCKETS)) >> 32;
        let tag = u64::from(x >> TAG_LOW) << TAG_SHIFT;
        Self { x, home: BucketIndex(home as u32), step: step(tag), tag }
    }

    /// Of the key of `word`, an entry in bucket `at`, as far as its segment tells: without `x`.
    pub fn of_entry(word: Word, at: BucketIndex) -> Self {
        let tag = word.0 >> TAG_SHIFT << TAG_SHIFT;
        let step = step(tag);
        Self { x: 0, home: at.back(step * word.turn()), step, tag }
    }

    /// First bucket of the sequence.
    #[inline]
    pub fn home(&self) -> BucketIndex {
        self.home
    }

    /// The bucket after `at`.
    #[inline]
    pub fn next(&self, at: BucketIndex) -> BucketIndex {
        at.forward(self.step)
    }

    /// The word of this key at `turn`, still without a location.
    #[inline]
    pub fn fingerprint(&self, turn: u32) -> Word {
        Word(self.tag | (u64::from(turn) << TURN_SHIFT))
    }
}

#[inline]
fn step(tag: u64) -> u32 {
    1 + ((tag >> TAG_SHIFT) & (STEPS - 1)) as u32
}

/// One entry. Most significant field first.
///
/// | bits   | field      | meaning                                                          |
/// |--------|------------|------------------------------------------------------------------|
/// | 63..46 | `tag`      | bits 21..4 of `x`                                                |
/// | 45..42 | `turn`     | which bucket of the key's probe sequence this one is             |
/// | 41     | `FROZEN`   | this word is final; the segment is being, or has been, replaced  |
/// | 40     | `REFERENCED` | read since it was put or moved, where eviction asks            |
/// | 39..0  | `location` | rblocks; 0, which is no record's, in an empty or deleted entry   |
///
/// All zero (but for `FROZEN`) is EMPTY. Without a location but not EMPTY is DELETED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Word(u64);

impl Word {
    /// Never used.
    pub const EMPTY: Self = Self(0);
    /// Used once, and never again.
    pub const DELETED: Self = Self(TURN_MASK);

    /// The word as it is stored.
    #[cfg(any(test, all(target_arch = "x86_64", not(any(loom, shuttle, miri, portable)))))]
    #[inline]
    pub(super) fn raw(self) -> u64 {
        self.0
    }

    /// Any word.
    #[cfg(test)]
    pub(super) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Never used, frozen or not.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 & !FROZEN == 0
    }

    /// Names a record, frozen or not.
    #[inline]
    pub fn is_live(self) -> bool {
        self.0 & LOCATION_MASK != 0
    }

    /// Will never change again.
    #[inline]
    pub fn is_frozen(self) -> bool {
        self.0 & FROZEN != 0
    }

    /// Has the tag and the turn of `fingerprint`.
    #[inline]
    pub fn resembles(self, fingerprint: Self) -> bool {
        (self.0 ^ fingerprint.0) >> TURN_SHIFT == 0
    }

    /// Where the record is; 0 unless [`is_live`](Self::is_live).
    #[inline]
    pub fn location(self) -> Location {
        Location(self.0 & LOCATION_MASK)
    }

    /// The same key's word, unfrozen, with another location.
    #[inline]
    pub fn with_location(self, location: Location) -> Self {
        debug_assert!(location.0 != 0, "no record lies at location 0");
        debug_assert!(location.0 <= LOCATION_MASK, "a location has 40 bits");
        Self(self.0 & !(LOCATION_MASK | FROZEN) | location.0)
    }

    /// This word with the record of `other`, and what is known of its use.
    #[inline]
    pub fn naming(self, other: Self) -> Self {
        Self(self.0 & !(LOCATION_MASK | FROZEN) | other.0 & (LOCATION_MASK | REFERENCED))
    }

    /// Read since it was put or moved.
    #[inline]
    pub fn is_referenced(self) -> bool {
        self.0 & REFERENCED != 0
    }

    /// The same word, read or not.
    #[inline]
    pub fn referenced(self, is_referenced: bool) -> Self {
        Self(if is_referenced { self.0 | REFERENCED } else { self.0 & !REFERENCED })
    }

    /// Which bucket of its key's probe sequence it is made for.
    pub fn turn(self) -> u32 {
        ((self.0 & TURN_MASK) >> TURN_SHIFT) as u32
    }

    /// Bit of `x` that a split at `depth` reads, counted from the top; `None` if it is not in
    /// the tag.
    pub fn split_bit(self, depth: u32) -> Option<bool> {
        let bit = (X_BITS - 1).checked_sub(depth)?.checked_sub(TAG_LOW)?;
        (bit < TAG_BITS).then(|| self.0 >> (TAG_SHIFT + bit) & 1 == 1)
    }
}

/// The word was changed, or frozen, by somebody else: search again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed;

/// A word in a segment.
#[derive(Debug)]
#[repr(transparent)]
pub struct Slot(AtomicU64);

impl Slot {
    /// A slot that nobody else sees yet.
    pub fn new(word: Word) -> Self {
        Self(AtomicU64::new(word.0))
    }

    /// A hint: look again with [`read`](Self::read) before relying on it.
    #[inline]
    pub fn peek(&self) -> Word {
        // ORDERING: Relaxed. It only chooses which slots are read; that a slot belongs to another
        // key, or is deleted, is for ever, so that an old value misleads nobody (S2).
        Word(self.0.load(Relaxed))
    }

    /// The word, and with it the bytes of the record that it names.
    #[inline]
    pub fn read(&self) -> Word {
        // ORDERING: Acquire, edge E1, pairs with `change`. A freeze in between is an RMW and so
        // extends the release sequence.
        Word(self.0.load(Acquire))
    }

    /// Makes `to` of `from`; not if the word is anything else by now, or frozen.
    #[inline]
    pub fn change(&self, from: Word, to: Word) -> Result<(), Changed> {
        debug_assert!(!from.is_frozen(), "S3: a frozen word never changes");
        // ORDERING: Release, edge E1: the record is written before it can be found. Relaxed on
        // failure: the value seen is not used.
        match self.0.compare_exchange(from.0, to.0, Release, Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err(Changed),
        }
    }

    /// Notes that the record of `word` was read. Not if the word is anything else by now: then
    /// somebody else has noted it, or the record is another.
    #[inline]
    pub fn note_read(&self, word: Word) {
        if word.is_referenced() || word.is_frozen() {
            return;
        }
        // ORDERING: Relaxed. It carries nothing; as an RMW it extends the release sequence of the
        // record's publication (E1), so that who reads this word sees the record.
        let _ = self.0.compare_exchange(word.0, word.referenced(true).0, Relaxed, Relaxed);
    }

    /// Makes the word final.
    pub fn freeze(&self) {
        if self.peek().is_frozen() {
            return;
        }
        // ORDERING: Relaxed. Who builds the successor reads the frozen word with `read` (E1) and
        // publishes with Release (E2), which puts this before the publication.
        self.0.fetch_or(FROZEN, Relaxed);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn spread_is_monotone_and_covers_the_range() {
        assert_eq!((spread(0), spread(u32::MAX)), (0, u32::MAX));
        let mut before = 0;
        for step in 0..1_000_000_u32 {
            let u = step * 4294;
            assert!(spread(u) >= before, "at {u}");
            assert!(spread(u) <= spread(u + 1), "at {u}");
            before = spread(u);
        }
    }

    #[test]
    fn an_entry_and_its_place_tell_the_probe_sequence() {
        let mut hash = 1_u64;
        for _ in 0..10_000 {
            hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17) ^ 0x55;
            let probe = Probe::new(Hash(hash));
            let mut at = probe.home();
            for turn in 0..WINDOW {
                let word = probe.fingerprint(turn).with_location(Location(7));
                let told = Probe::of_entry(word, at);
                assert_eq!((told.home, told.step, told.tag), (probe.home, probe.step, probe.tag));
                at = probe.next(at);
            }
        }
    }

    #[test]
    fn a_split_reads_its_bit_from_the_tag_where_it_can() {
        let hash = Hash(0xDEAD_BEEF_1234_5678);
        let word = Probe::new(hash).fingerprint(3);
        for depth in 0..X_BITS {
            let bit = hash.x() >> (X_BITS - 1 - depth) & 1 == 1;
            let told = word.split_bit(depth);
            assert!(told.is_none_or(|told| told == bit), "depth {depth}");
            assert_eq!(told.is_some(), (10..DEPTH_CAP).contains(&depth), "depth {depth}");
        }
    }

    #[test]
    fn a_deleted_word_is_neither_live_nor_empty_even_frozen() {
        for word in [Word::DELETED, Word(Word::DELETED.0 | FROZEN)] {
            assert!(!word.is_live() && !word.is_empty());
        }
        assert!(Word(FROZEN).is_empty() && Word(FROZEN).is_frozen());
    }
}

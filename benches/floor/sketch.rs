//! The floor: the engine's data path with everything taken away that is not the path itself.
//!
//! A hash leads to a bucket of eight 8-byte entries, one cache line; an entry to a record in a log.
//! Both lie in huge pages, touched before. One thread; no pin, no version, no expiry, no checksum,
//! no states, no growth, no error: what is left is the hash, two misses and one copy.

#![expect(clippy::indexing_slicing, reason = "places and slots are of its own making")]

use memmap2::{Advice, MmapMut};
use xxhash_rust::xxh3::xxh3_64_with_seed;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::common::KEY_BYTES;

const SEED: u64 = 0x5eed;
/// What records start on, as in the engine.
const UNIT_BYTES: usize = 16;
/// Length of the value, in front of the key. The length of the key is known here.
const HEAD_BYTES: usize = 8;
/// Bytes of a bucket for each record: as many as the engine's index takes.
const INDEX_BYTES_A_RECORD: usize = 15;
/// Bits of an entry that say where its record is; the others are the tag.
const PLACE_BITS: u32 = 48;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(64))]
struct Bucket([u64; 8]);

/// Where an entry stands.
#[derive(Clone, Copy)]
struct Slot {
    bucket: usize,
    entry: usize,
}

/// Index and log.
pub struct Sketch {
    buckets: &'static mut [Bucket],
    log: &'static mut [u8],
    /// Unit: `UNIT_BYTES`. Place 0 is nobody's, so that no entry is 0.
    tail: usize,
}

impl Sketch {
    /// Room for `records` records, and `log_bytes` of log.
    pub fn new(records: usize, log_bytes: usize) -> Self {
        let buckets = (records * INDEX_BYTES_A_RECORD).next_multiple_of(64);
        let buckets = <[Bucket]>::mut_from_bytes(memory(buckets)).ok();
        Self { buckets: buckets.expect("pages are aligned"), log: memory(log_bytes), tail: 1 }
    }

    /// The value of `key`.
    #[inline]
    pub fn get(&self, key: &[u8; KEY_BYTES]) -> Option<&[u8]> {
        let (slot, _) = self.find(key).ok()?;
        let place = self.place(slot);
        let length = u64::from_le_bytes(*self.log.get(place..)?.first_chunk()?);
        let value = place + HEAD_BYTES + KEY_BYTES;
        self.log.get(value..value + usize::try_from(length).ok()?)
    }

    /// Asks for the bucket of each key, and then for the first `lines` lines of the record that it
    /// most likely leads to.
    pub fn ask_for(&self, keys: &[[u8; KEY_BYTES]], lines: usize) {
        for key in keys {
            prefetch(&raw const self.buckets[self.home(xxh3_64_with_seed(key, SEED))], 0);
        }
        for key in keys {
            let hash = xxh3_64_with_seed(key, SEED);
            let tag = hash & ((1 << (u64::BITS - PLACE_BITS)) - 1);
            let words = &self.buckets[self.home(hash)].0;
            let resembles = |word: &&u64| **word >> PLACE_BITS == tag;
            let Some(word) = words.iter().find(resembles) else { continue };
            let place = (word & ((1 << PLACE_BITS) - 1)) as usize * UNIT_BYTES;
            (0..lines).for_each(|line| prefetch(&raw const self.log[place], line * 64));
        }
    }

    /// Puts `value` under `key`. True: `key` had one.
    #[inline]
    pub fn put(&mut self, key: &[u8; KEY_BYTES], value: &[u8]) -> bool {
        let found = self.find(key);
        let (Ok((slot, tag)) | Err((slot, tag))) = found;
        let place = self.tail;
        let stored = HEAD_BYTES + KEY_BYTES + value.len();
        let start = place * UNIT_BYTES;
        let record = &mut self.log[start..start + stored];
        record[..HEAD_BYTES].copy_from_slice(&(value.len() as u64).to_le_bytes());
        record[HEAD_BYTES..HEAD_BYTES + KEY_BYTES].copy_from_slice(key);
        record[HEAD_BYTES + KEY_BYTES..].copy_from_slice(value);
        self.tail += stored.div_ceil(UNIT_BYTES);
        self.buckets[slot.bucket].0[slot.entry] = tag << PLACE_BITS | place as u64;
        found.is_ok()
    }

    /// The entry of `key`, or the first empty one that it could have; and its tag.
    #[inline]
    fn find(&self, key: &[u8; KEY_BYTES]) -> Result<(Slot, u64), (Slot, u64)> {
        let hash = xxh3_64_with_seed(key, SEED);
        let tag = hash & ((1 << (u64::BITS - PLACE_BITS)) - 1);
        let mut at = self.home(hash);
        loop {
            let (mut matches, mut empties) = (0_u32, 0_u32);
            for (entry, word) in self.buckets[at].0.iter().enumerate() {
                matches |= u32::from(word >> PLACE_BITS == tag) << entry;
                empties |= u32::from(*word == 0) << entry;
            }
            if let Some(slot) = self.pick(at, matches & !empties, key) {
                return Ok((slot, tag));
            }
            if empties != 0 {
                return Err((Slot { bucket: at, entry: empties.trailing_zeros() as usize }, tag));
            }
            at = if at + 1 == self.buckets.len() { 0 } else { at + 1 };
        }
    }

    /// The one of the entries `matches` of bucket `at` that is the key's.
    #[inline]
    fn pick(&self, at: usize, mut matches: u32, key: &[u8; KEY_BYTES]) -> Option<Slot> {
        while matches != 0 {
            let slot = Slot { bucket: at, entry: matches.trailing_zeros() as usize };
            if self.has_key(self.place(slot), key) {
                return Some(slot);
            }
            matches &= matches - 1;
        }
        None
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        let product = u128::from(hash) * self.buckets.len() as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// Where the record of an entry starts. Unit: bytes.
    #[inline]
    fn place(&self, slot: Slot) -> usize {
        let word = self.buckets[slot.bucket].0[slot.entry] & ((1 << PLACE_BITS) - 1);
        usize::try_from(word).unwrap_or(0) * UNIT_BYTES
    }

    /// By words: one wide load stalls if the key was just stored as words.
    #[inline]
    fn has_key(&self, place: usize, key: &[u8; KEY_BYTES]) -> bool {
        let words = |bytes: &[u8]| -> Option<[u64; 2]> {
            let (low, high) = bytes.split_at_checked(8)?;
            Some([
                u64::from_le_bytes(*low.first_chunk()?),
                u64::from_le_bytes(*high.first_chunk()?),
            ])
        };
        let stored = self.log.get(place + HEAD_BYTES..).and_then(words);
        stored.is_some() && stored == words(key)
    }
}

/// Asks the processor for the line `offset` bytes behind `at`.
fn prefetch<T>(at: *const T, offset: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which cannot fault. SSE is part of x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>().wrapping_add(offset)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, offset);
}

/// Zeroed memory in huge pages where the system has them, touched, for the rest of the process.
fn memory(bytes: usize) -> &'static mut [u8] {
    let map = MmapMut::map_anon(bytes.next_multiple_of(2 << 20)).expect("there is memory");
    let _ = map.advise(Advice::HugePage); // small pages serve as well
    let map: &'static mut MmapMut = Box::leak(Box::new(map));
    map.chunks_mut(4096).for_each(|page| page[0] = 0);
    &mut map[..bytes]
}

//! Reading: pin, hash, find, look at the expiry, lend.
//!
//! A read writes nothing shared: the pin is the thread's own word, and the index and the record
//! are only loaded from.
#![forbid(unsafe_code)]

use super::record::{Pin, Record};
use super::{Inner, Store};
use crate::format::RecordView;
use crate::index::{Hash, Start};
use crate::sync::epoch::{self, Guard};
use crate::unit::Location;
use crate::upkeep::is_live;

/// Keys looked up together by [`Store::get_many`]: their misses overlap. 16 to 32 saturate the
/// memory's parallelism here; more only grow the working set.
pub(super) const GROUP: usize = 32;

impl Store {
    /// The live record of `key`, read in place; `None`: absent, deleted or expired, or the store is
    /// closed.
    ///
    /// Sees every put that returned before it began. Costs two dependent cache misses on a large
    /// store (bucket, record) and one pin; no lock, no allocation, no system call.
    ///
    /// ```
    /// # use brindle::{Config, Store};
    /// # fn main() -> brindle::Result<()> {
    /// let store = Store::open(Config::new().data_size(8 << 20).wblock_size(64 << 10))?;
    /// store.put("user:1", "Ada")?;
    /// assert_eq!(store.get("user:1").as_deref(), Some(&b"Ada"[..]));
    /// assert!(store.get("user:2").is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Record<'_>> {
        #[cfg(any(feature = "metrics", feature = "top"))]
        let _sample = self.inner.sampler.measure(super::sample::Call::Get);
        self.inner.hold(self.inner.keyspace.hash(key.as_ref()), key.as_ref(), true)
    }

    /// Calls `read` with the live record of `key`, if there is one: the form for code that would
    /// otherwise hold a [`Record`] for too long.
    pub fn get_with<R>(
        &self,
        key: impl AsRef<[u8]>,
        read: impl FnOnce(&Record<'_>) -> R,
    ) -> Option<R> {
        self.get(key).map(|record| read(&record))
    }

    /// Pins the thread for many reads.
    pub fn pin(&self) -> Pin<'_> {
        Pin::new(self, epoch::pin())
    }

    /// The live record of each of `keys`, in their order; duplicates are welcome.
    ///
    /// The look-ups are prefetched in groups, so that their cache misses overlap: several times
    /// the rate of single gets on a store larger than the cache. All records are read after the
    /// call began, each at its own moment.
    pub fn get_many(&self, keys: &[impl AsRef<[u8]>]) -> Vec<Option<Record<'_>>> {
        let mut records = Vec::with_capacity(keys.len());
        // The prefetches look into memory that a forked child does not have.
        if !self.inner.is_readable() {
            records.resize_with(keys.len(), || None);
            return records;
        }
        for group in keys.chunks(GROUP) {
            let guard = epoch::pin();
            let starts = self.inner.starts(&guard, group.iter());
            let mut likely = [None; GROUP];
            for (likely, (_hash, start)) in likely.iter_mut().zip(starts.iter().flatten()) {
                *likely = self.inner.keyspace.likely_to_read(&guard, start);
            }
            let found = starts.iter().flatten().zip(likely).zip(group);
            records.extend(found.map(|(((hash, _start), likely), key)| {
                // No entry that resembles the key: it is absent.
                self.inner.hold_likely(&guard, (*hash, likely?), key.as_ref())
            }));
        }
        records
    }

    /// True if `key` has a live record.
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        self.inner.live(&epoch::pin(), key.as_ref()).is_some()
    }

    /// A hint: the index line of `key` will be wanted soon, while a request is still being parsed,
    /// for instance.
    pub fn prefetch(&self, key: impl AsRef<[u8]>) {
        if self.inner.is_readable() {
            let hash = self.inner.keyspace.hash(key.as_ref());
            self.inner.keyspace.index().start(&epoch::pin(), hash).prefetch();
        }
    }

    /// Records that `get` would find, expired ones included until they are swept. Costs a few
    /// loads a stripe; exact when no writer is running.
    pub fn len(&self) -> usize {
        usize::try_from(self.inner.keyspace.records()).unwrap_or(usize::MAX)
    }

    /// True if there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inner {
    /// The live record of `key`, whose hash is `hash`, under a pin of its own. With `note` the read
    /// may be noted, for eviction.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "most of a get: in one piece the next one overlaps")]
    pub(super) fn hold(&self, hash: Hash, key: &[u8], note: bool) -> Option<Record<'_>> {
        let is_live = |view: &RecordView<'_>| is_live(view, || self.clock.coarse_us());
        if !self.is_readable() {
            return None;
        }
        self.keyspace.hold(epoch::pin(), (hash, key), note, is_live).map(Record::new)
    }

    /// Where the searches for `keys` begin, a group at most, and their hashes. The processor is
    /// asked for the index lines, so that their misses overlap.
    #[inline]
    pub(super) fn starts<'g, K: AsRef<[u8]>>(
        &self,
        guard: &'g Guard,
        keys: impl Iterator<Item = K>,
    ) -> [Option<(Hash, Start<'g>)>; GROUP] {
        let mut starts = [const { None }; GROUP];
        for (place, key) in starts.iter_mut().zip(keys) {
            let hash = self.keyspace.hash(key.as_ref());
            let start = self.keyspace.index().start(guard, hash);
            start.prefetch();
            *place = Some((hash, start));
        }
        starts
    }

    /// The live record of `key`, which is `likely` the one there.
    #[inline]
    fn hold_likely(
        &self,
        guard: &Guard,
        (hash, likely): (Hash, Location),
        key: &[u8],
    ) -> Option<Record<'_>> {
        let is_live = |view: &RecordView<'_>| is_live(view, || self.clock.coarse_us());
        match self.keyspace.hold_at(guard, likely, key) {
            Some(held) if is_live(&held.view()) => Some(Record::new(held)),
            // Another key's; or dead by now, and a live one may have taken its place since.
            _ => self.hold_anew(hash, key),
        }
    }

    #[cold]
    fn hold_anew(&self, hash: Hash, key: &[u8]) -> Option<Record<'_>> {
        self.hold(hash, key, true)
    }

    /// The live record of `key`, under the caller's pin.
    #[inline]
    pub(super) fn live<'g>(&'g self, guard: &'g Guard, key: &[u8]) -> Option<RecordView<'g>> {
        if !self.is_readable() {
            return None;
        }
        let view = self.keyspace.find(guard, self.keyspace.hash(key), key)?;
        is_live(&view, || self.clock.coarse_us()).then_some(view)
    }
}
